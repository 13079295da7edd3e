"""Small dense layers.

Shape letters: B rows, D width, O width out, N ragged entries, U distinct rows.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class MLP(nn.Module):
    """Linear layers with a ReLU after each, or after each but the last: [B, D] in, [B, O] out.

    Weights are He-normal and biases zero at first: the variance of a weight is 2 / fan in before a ReLU and 1 / fan in
    where `last` is "linear". Without `widths` it is the identity. `width` is the width of its output.

    Raises:
        ValueError: If a width is below 1.

    References:
        He et al., ICCV 2015.
    """

    def __init__(
        self, width_in: int, widths: tuple[int, ...], *, generator: torch.Generator, last: Literal["relu", "linear"]
    ) -> None:
        super().__init__()
        if min(width_in, *widths, 1) < 1:
            raise ValueError(f"every layer needs a width of at least 1: width_in={width_in}, widths={widths}")
        layers: list[nn.Module] = []
        before = width_in
        for number, after in enumerate(widths, start=1):
            rectified = number < len(widths) or last == "relu"
            layers.append(normal_linear(before, after, ((2.0 if rectified else 1.0) / before) ** 0.5, generator))
            if rectified:
                layers.append(nn.ReLU())
            before = after
        self.layers = nn.Sequential(*layers)
        self.width = before

    def forward(self, x_BD: Float[Tensor, "B D"]) -> Float[Tensor, "B O"]:
        """Return what the layers make of each row."""
        out_BO: Tensor = self.layers(x_BD)
        return out_BO


def normal_linear(fan_in: int, fan_out: int, std: float, generator: torch.Generator) -> nn.Linear:
    """Return a linear layer with normal weights and a bias of zero at first, drawn from `generator` alone.

    `nn.Linear` would also draw from the global generator when built, so it is built without storage. A `std` of zero
    draws nothing that shows, yet moves the generator on: what is built next does not depend on it.
    """
    linear = nn.Linear(fan_in, fan_out, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        linear.weight.normal_(0.0, std, generator=generator)
        linear.bias.zero_()
    return linear


def pool_rows(
    row_UD: Float[Tensor, "U D"],
    index_N: Int[Tensor, " N"],
    offsets_B1: Int[Tensor, " B1"],
    weight_N: Float[Tensor, " N"],
) -> Float[Tensor, "B D"]:
    """Return, per query, the weighted mean of its ragged entries; zero for a query without entries."""
    sum_BD = nn.functional.embedding_bag(
        index_N, row_UD, offsets_B1, mode="sum", per_sample_weights=weight_N, include_last_offset=True
    )
    total_B = torch.segment_reduce(weight_N, "sum", offsets=offsets_B1)
    return sum_BD / total_B.clamp_min(torch.finfo(total_B.dtype).tiny).unsqueeze(1)
