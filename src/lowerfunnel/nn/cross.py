r"""The cross network of DCN-V2: products of features with each other, of a degree that grows by one a layer.

Shape letters: B rows, D width, R rank, K experts.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lowerfunnel.nn.layers import normal_linear

CrossKind = Literal["full", "low_rank", "mixture"]


class CrossNetwork(nn.Module):
    r"""Layers that each multiply the network's input by a map of their own input, and add it: [B, D] in, [B, D] out.

    With x0 the input of the network, ``*`` by entry, and weights and a bias b of its own in each layer:

    - full: ``x' = x0 * (W x + b) + x``.
    - low_rank: ``x' = x0 * (U (V^T x) + b) + x``, with U and V of `rank` columns.
    - mixture: ``x' = sum_k G_k(x) E_k(x) + x`` with ``E_k(x) = x0 * (U_k g(C_k g(V_k^T x)) + b)``; of the paper's
      options this takes g = tanh in both places and a softmax gate, ``G(x) = softmax(A x)``.

    Choices and departures: each layer has a gate of its own, linear and without a bias, that starts at zero, so that
    the experts start with equal shares. Other weights start normal with variance 1 / fan in, half that of He's, as no
    ReLU follows; biases start at zero. As the gate sums to one, the layer is computed as
    ``x0 * (sum_k U_k (G_k z_k) + b) + x``: one product with all U_k side by side instead of K.

    Args:
        rank: Columns of U and V; used by low_rank and mixture only.
        experts: K; used by mixture only.

    Raises:
        ValueError: If there is no layer, or a size that the kind uses is below 1.

    References:
        Wang et al., DCN V2, WWW 2021 (arXiv 2008.13535).
    """

    def __init__(
        self, width: int, *, layers: int, kind: CrossKind, rank: int, experts: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        used = {"width": width, "layers": layers}
        if kind != "full":
            used["rank"] = rank
        if kind == "mixture":
            used["experts"] = experts
        if bad := {name: size for name, size in used.items() if size < 1}:
            raise ValueError(f"a {kind} cross network needs sizes of at least 1: {bad}")
        self.width = width
        self.layers = nn.ModuleList(_layer(width, kind, rank, experts, generator) for _ in range(layers))

    def forward(self, x_BD: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Return the rows with their products; with all weights at zero, the rows."""
        crossed_BD = x_BD
        for layer in self.layers:
            crossed_BD = torch.addcmul(crossed_BD, x_BD, layer(crossed_BD))
        return crossed_BD


def _layer(width: int, kind: CrossKind, rank: int, experts: int, generator: torch.Generator) -> nn.Module:
    """Return what a layer multiplies x0 by: a map of its input with a bias."""
    if kind == "full":
        return normal_linear(width, width, width**-0.5, generator)
    if kind == "low_rank":
        return _LowRank(width, rank, generator)
    return _Mixture(width, rank, experts, generator)


class _LowRank(nn.Module):
    """``U (V^T x) + b``."""

    def __init__(self, width: int, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        self.v_RD = nn.Parameter(_normal((rank, width), width**-0.5, generator))
        self.u_DR = nn.Parameter(_normal((width, rank), rank**-0.5, generator))
        self.bias_D = nn.Parameter(torch.zeros(width))

    def forward(self, x_BD: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        return nn.functional.linear(nn.functional.linear(x_BD, self.v_RD), self.u_DR, self.bias_D)


class _Mixture(nn.Module):
    """``sum_k G_k(x) U_k g(C_k g(V_k^T x)) + b``."""

    def __init__(self, width: int, rank: int, experts: int, generator: torch.Generator) -> None:
        super().__init__()
        self.gate_KD = nn.Parameter(torch.zeros(experts, width))
        self.v_KRD = nn.Parameter(_normal((experts, rank, width), width**-0.5, generator))
        self.c_KRR = nn.Parameter(_normal((experts, rank, rank), rank**-0.5, generator))
        self.u_KRD = nn.Parameter(_normal((experts, rank, width), rank**-0.5, generator))
        self.bias_D = nn.Parameter(torch.zeros(width))

    def forward(self, x_BD: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        experts, rank, _ = self.v_KRD.shape
        gate_BK = torch.softmax(nn.functional.linear(x_BD, self.gate_KD), dim=1)
        down_BKR = torch.tanh(nn.functional.linear(x_BD, self.v_KRD.flatten(0, 1))).view(-1, experts, rank)
        inner_BKR = torch.tanh(torch.einsum("bkr,ksr->bks", down_BKR, self.c_KRR))
        gated_BKR = gate_BK.unsqueeze(2) * inner_BKR
        return torch.addmm(self.bias_D, gated_BKR.flatten(1), self.u_KRD.flatten(0, 1))


def _normal(shape: tuple[int, ...], std: float, generator: torch.Generator) -> Tensor:
    return torch.empty(shape).normal_(0.0, std, generator=generator)
