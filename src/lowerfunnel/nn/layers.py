"""Small dense layers.

Shape letters: B rows, D width, N ragged entries, U distinct rows.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class ResidualMLP(nn.Module):
    """``x + mlp(x)``: the identity at first (the last layer starts at zero), as wide out as in."""

    def __init__(self, width: int, hidden: tuple[int, ...], *, generator: torch.Generator) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = width
        for after in hidden:
            layers += [_linear(before, after, (2.0 / before) ** 0.5, generator), nn.ReLU()]
            before = after
        if layers:
            layers.append(_linear(before, width, 0.0, generator))
        self.layers = nn.Sequential(*layers)

    def forward(self, x_BD: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Return the rows plus what the layers make of them; without hidden layers, the rows."""
        return x_BD + self.layers(x_BD) if len(self.layers) else x_BD


def _linear(fan_in: int, fan_out: int, std: float, generator: torch.Generator) -> nn.Linear:
    """Return a linear layer with normal weights and no bias at first, drawn from `generator` alone."""
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
