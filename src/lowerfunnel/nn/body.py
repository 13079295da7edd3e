"""The body of a tower: a cross network and a multilayer perceptron on the same input.

Shape letters: B rows, D width in, O width out.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lowerfunnel.nn.cross import CrossKind, CrossNetwork
from lowerfunnel.nn.layers import MLP

Arrangement = Literal["parallel", "stacked", "mlp", "cross"]


class TowerBody(nn.Module):
    """Explicit products and learned ones, side by side or one after the other: [B, D] in, [B, O] out.

    - parallel: ``[cross(x); mlp(x)]``, D + the last of `hidden` wide.
    - stacked: ``mlp(cross(x))``.
    - mlp and cross: the one alone. An mlp without `hidden` is the identity.

    `width` is the width of the output, O. The MLP ends in a ReLU, so a linear layer is meant to follow. Cross weights
    are drawn before those of the MLP. The paper finds either arrangement best, by data set.

    Args:
        hidden: Widths of the MLP's layers; not used by cross.
        cross_layers: As are the other three, of `CrossNetwork`; not used by mlp.

    Raises:
        ValueError: If parallel or stacked is given no `hidden`: the MLP would be the identity unseen; or if a size
            that is used is below 1.

    References:
        Wang et al., DCN V2, WWW 2021 (arXiv 2008.13535).
    """

    def __init__(
        self,
        width_in: int,
        *,
        arrangement: Arrangement,
        hidden: tuple[int, ...],
        cross_layers: int,
        cross_kind: CrossKind,
        cross_rank: int,
        cross_experts: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if arrangement in ("parallel", "stacked") and not hidden:
            raise ValueError(
                f"a {arrangement} body needs the widths of its MLP: hidden is empty; "
                "give it one or more, or arrange the body as 'cross'"
            )
        self.arrangement = arrangement
        self.cross = (
            None
            if arrangement == "mlp"
            else CrossNetwork(
                width_in,
                layers=cross_layers,
                kind=cross_kind,
                rank=cross_rank,
                experts=cross_experts,
                generator=generator,
            )
        )
        self.mlp = None if arrangement == "cross" else MLP(width_in, hidden, generator=generator, last="relu")
        mlp_width = 0 if self.mlp is None else self.mlp.width
        self.width = width_in + mlp_width if arrangement == "parallel" else mlp_width or width_in

    def forward(self, x_BD: Float[Tensor, "B D"]) -> Float[Tensor, "B O"]:
        """Return each row's crossed and hidden features, as arranged."""
        crossed_BD: Tensor = x_BD if self.cross is None else self.cross(x_BD)
        if self.mlp is None:
            return crossed_BD
        hidden_BO: Tensor = self.mlp(x_BD if self.arrangement == "parallel" else crossed_BD)
        return torch.cat([crossed_BD, hidden_BO], dim=1) if self.arrangement == "parallel" else hidden_BO
