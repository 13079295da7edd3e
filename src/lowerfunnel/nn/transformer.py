"""A Transformer encoder over ragged histories that spends no arithmetic on padding.

Shape letters: N entries of all sequences, D width, F width of the feedforward layer, B1 offsets (sequences + 1),
R sequences of a group, H heads, L length of the group's longest sequence, E width of a head.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lowerfunnel.nn.layers import normal_linear
from lowerfunnel.nn.ragged import Group, RaggedLayout, layout_of


class JaggedTransformer(nn.Module):
    r"""Layers of self-attention within each sequence and a feedforward map of each entry, in flat layout.

    Each layer computes ``y = x + O attention(norm(x)); x' = y + W2 relu(W1 norm(y))``. Linear layers and norms run over
    the N entries as they are; attention alone runs over groups of sequences of equal or similar length. What a
    sequence becomes does not depend on the others, up to rounding.

    O and W2 start at zero: a fresh encoder is the identity on its input, and its first gradients reach O and W2.
    For the same reason there is no norm after the last layer, as most pre-norm encoders have; whoever reads the
    output may add one. Positions are not told apart: add them to the input.

    Args:
        heads: Attention heads; each is ``width / heads`` wide.
        feedforward: Width of the hidden layer of the feedforward map, F.
        dropout: Share of the entries of each residual branch's output that are set to zero, where a generator is given.
            Attention weights are not dropped, unlike in the paper.
        causal: Whether an entry sees only itself and those before it in its sequence.

    Raises:
        ValueError: If `heads` does not divide `width`, a size is below 1, or `dropout` is not in [0, 1).

    References:
        Vaswani et al., NeurIPS 2017; norms first as in Xiong et al., ICML 2020. Branches that start at zero as in
        Bachlechner et al., UAI 2021, but by their last weights instead of a factor.
    """

    def __init__(
        self,
        width: int,
        *,
        layers: int,
        heads: int,
        feedforward: int,
        dropout: float,
        causal: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        sizes = {"width": width, "layers": layers, "heads": heads, "feedforward": feedforward}
        if bad := {name: size for name, size in sizes.items() if size < 1}:
            raise ValueError(f"a Transformer needs sizes of at least 1: {bad}")
        if width % heads:
            raise ValueError(f"the heads must divide the width: width={width}, heads={heads}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1): {dropout}")
        self.width = width
        self.dropout = dropout
        self.layers = nn.ModuleList(_Layer(width, heads, feedforward, causal, generator) for _ in range(layers))

    def forward(
        self, x_ND: Float[Tensor, "N D"], offsets_B1: Int[Tensor, " B1"], *, dropout: torch.Generator | None = None
    ) -> Float[Tensor, "N D"]:
        """Return the entries, each told of the others of its sequence, in the order given.

        Args:
            x_ND: Entries of all sequences, one sequence after another; there may be none.
            offsets_B1: Where each sequence begins, and N at the end; sequences without entries are legal.
            dropout: Draws the masks of dropout, on its own device; None leaves nothing out, in training too.

        Raises:
            ValueError: If the offsets do not rise from 0 to N.
        """
        layout = layout_of(offsets_B1, x_ND.shape[0])
        if not layout.groups:
            return x_ND
        x_ND = layout.sort(x_ND)
        for layer in self.layers:
            x_ND = layer(x_ND, layout, self.dropout, dropout)
        return layout.unsort(x_ND)


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int, feedforward: int, causal: bool, generator: torch.Generator) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.attention_norm = nn.LayerNorm(width)
        self.query, self.key, self.value = (normal_linear(width, width, width**-0.5, generator) for _ in range(3))
        self.attention_out = normal_linear(width, width, 0.0, generator)
        self.feedforward_norm = nn.LayerNorm(width)
        self.up = normal_linear(width, feedforward, (2.0 / width) ** 0.5, generator)
        self.down = normal_linear(feedforward, width, 0.0, generator)

    def forward(
        self, x_ND: Float[Tensor, "N D"], layout: RaggedLayout, rate: float, dropout: torch.Generator | None
    ) -> Float[Tensor, "N D"]:
        normed_ND = self.attention_norm(x_ND)
        # Split and cat rather than slice: the gradient of each slice would be a tensor of all N entries.
        query, key, value = (part(normed_ND).split(layout.sizes) for part in (self.query, self.key, self.value))
        seen = list(map(self._attention, layout.groups, query, key, value))
        x_ND = x_ND + _dropped(self.attention_out(torch.cat(seen)), rate, dropout)
        hidden_NF = torch.relu(self.up(self.feedforward_norm(x_ND)))
        return x_ND + _dropped(self.down(hidden_NF), rate, dropout)

    def _attention(self, group: Group, query_VD: Tensor, key_VD: Tensor, value_VD: Tensor) -> Tensor:
        query_RHLE, key_RHLE, value_RHLE = (
            group.rectangle(x_VD).view(group.rows, group.length, self.heads, -1).transpose(1, 2)
            for x_VD in (query_VD, key_VD, value_VD)
        )
        # Padding comes last in a row, where no entry before it looks if attention is causal.
        mask = None if group.real_RL is None or self.causal else group.real_RL[:, None, None, :]
        seen_RHLE = nn.functional.scaled_dot_product_attention(
            query_RHLE, key_RHLE, value_RHLE, attn_mask=mask, is_causal=self.causal
        )
        return group.entries_of(seen_RHLE.transpose(1, 2).flatten(2))


def _dropped(x_ND: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """Return entries with a share of `rate` set to zero and the rest scaled up, drawn from `generator` alone."""
    if generator is None or rate == 0:
        return x_ND
    keep_ND = torch.empty(x_ND.shape, dtype=x_ND.dtype, device=generator.device)
    keep_ND.bernoulli_(1 - rate, generator=generator).div_(1 - rate)
    return x_ND * keep_ND.to(x_ND.device)
