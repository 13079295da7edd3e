"""A Transformer that reads histories: item, action, surface, dwell, time since, order.

Shape letters: U distinct items of a batch, N history entries (ragged over R requests), D width.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lowerfunnel.events.schema import ACTIONS
from lowerfunnel.features.history import AGE_BUCKETS
from lowerfunnel.nn.transformer import JaggedTransformer
from lowerfunnel.retrieval.inputs import HistoryInputs
from lowerfunnel.retrieval.settings import HistoryConfig


class HistoryReader(nn.Module):
    """Each entry of a history as the entries around it make it appear.

    An entry goes in as its item's input plus learned vectors of its action, surface, age bucket and place from the end,
    and a linear map of how long it was looked at. All of these and the encoder's own branches start at zero: a fresh
    reader returns the items' inputs, and is then what pooling is. Nothing at or after the request is in a history, so the
    past may see itself in both directions.
    """

    def __init__(self, config: HistoryConfig, *, width: int, surfaces: int, generator: torch.Generator) -> None:
        super().__init__()
        self._length = config.length
        self.action = nn.Parameter(torch.zeros(len(ACTIONS), width))
        self.age = nn.Parameter(torch.zeros(AGE_BUCKETS, width))
        self.back = nn.Parameter(torch.zeros(config.length, width))
        self.surface = nn.Parameter(torch.zeros(surfaces + 1, width)) if surfaces else None
        self.dwell = nn.Parameter(torch.zeros(2, width))
        self.encoder = JaggedTransformer(
            width,
            layers=config.layers,
            heads=config.heads,
            feedforward=config.feedforward,
            dropout=config.dropout,
            causal=config.causal,
            generator=generator,
        )

    def forward(
        self, x_UD: Float[Tensor, "U D"], history: HistoryInputs, *, dropout: torch.Generator | None
    ) -> Float[Tensor, "N D"]:
        """Return the outputs of all entries, from the inputs of the batch's items."""
        embed = nn.functional.embedding
        z_ND = x_UD.index_select(0, history.place_N) + embed(history.action_N, self.action)
        z_ND = z_ND + embed(history.age_N, self.age) + embed(history.back_N.clamp(max=self._length - 1), self.back)
        if self.surface is not None:
            z_ND = z_ND + embed(history.surface_N, self.surface)
        known_N = ~history.dwell_s_N.isnan()
        dwell_N2 = torch.stack([torch.log1p(history.dwell_s_N.nan_to_num()), known_N.to(z_ND.dtype)], dim=1)
        z_ND = torch.addmm(z_ND, dwell_N2, self.dwell)
        out_ND: Tensor = self.encoder(z_ND, history.offsets_R1, dropout=dropout)
        return out_ND
