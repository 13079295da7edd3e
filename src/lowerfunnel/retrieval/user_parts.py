"""What is known of a user and of its request, as the parts that the user tower is made of.

Shape letters: U distinct items of a batch, R requests, N history entries, D width.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lowerfunnel.events.schema import ACTIONS
from lowerfunnel.features.history import AGE_BUCKETS
from lowerfunnel.nn.layers import pool_rows
from lowerfunnel.retrieval.history_reader import HistoryReader
from lowerfunnel.retrieval.inputs import HistoryInputs, UserInputs
from lowerfunnel.retrieval.settings import ContextConfig, HistoryConfig, TowerConfig
from lowerfunnel.retrieval.sizes import TableSizes
from lowerfunnel.retrieval.tables import FeatureTables


class UserParts(FeatureTables):
    """A user's history, id embedding and attributes, how much of what it did, and the request it comes with.

    The history is the mean of its entries, weighted by learned weights of action, age and surface: of the items' inputs
    ("pooling"), or of a Transformer's outputs, with the latest output as a part of its own. `anyone` is what is left of
    a user of whom nothing is known.
    """

    def __init__(
        self,
        tower: TowerConfig,
        history: HistoryConfig,
        context: ContextConfig,
        sizes: TableSizes,
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__(width=tower.width, init_std=tower.init_std, generator=generator)
        if tower.user_id:
            self.add_table("user", sizes.users)
        self.add_table("user_attribute", sizes.user_attributes)
        self.add_table("surface", sizes.surfaces if context.surface else 0, unknown=True)
        self.add_table("word", sizes.words if context.query else 0)
        self.add_linear("activity", sizes.activity_width)
        self.action_weight = nn.Parameter(torch.zeros(len(ACTIONS)))
        self.age_weight = nn.Parameter(torch.zeros(AGE_BUCKETS))
        self.surface_weight = nn.Parameter(torch.zeros(sizes.surfaces + 1))
        self.history_gate = nn.Parameter(torch.ones(tower.width))
        self.anyone = nn.Parameter(torch.empty(tower.width).normal_(0.0, tower.init_std, generator=generator))
        self.subject_gate = nn.Parameter(torch.ones(tower.width)) if context.subject else None
        self.reader: HistoryReader | None = None
        self.latest_gate: nn.Parameter | None = None
        if history.encoder == "transformer" and history.length:
            self.reader = HistoryReader(history, width=tower.width, surfaces=sizes.surfaces, generator=generator)
            self.latest_gate = nn.Parameter(torch.zeros(tower.width))
        self.count = (
            1 + len(self.tables) + len(self.linears) + int(self.subject_gate is not None) + int(self.reader is not None)
        )

    def forward(
        self, users: UserInputs, x_UD: Float[Tensor, "U D"], *, dropout: torch.Generator | None
    ) -> list[Float[Tensor, "R D"]]:
        """Return the parts of each request, `count` of them, its history first; `x_UD` are the items' inputs."""
        parts = self._history(users.history, x_UD, dropout)
        if "user" in self.tables:
            parts.append(self.lookup("user", users.id) * users.has_id_R.unsqueeze(1))
        if "user_attribute" in self.tables:
            parts.append(self.bag("user_attribute", users.attributes))
        if "activity" in self.linears:
            parts.append(users.activity_RF @ self.linears["activity"])
        if "surface" in self.tables:
            parts.append(self.lookup("surface", users.surface))
        if self.subject_gate is not None:
            subject_RD = x_UD.index_select(0, users.subject_place_R) * users.has_subject_R.unsqueeze(1)
            parts.append(subject_RD * self.subject_gate)
        if "word" in self.tables:
            parts.append(self.bag("word", users.query))
        return parts

    def _history(
        self, history: HistoryInputs, x_UD: Float[Tensor, "U D"], dropout: torch.Generator | None
    ) -> list[Float[Tensor, "R D"]]:
        # One small table of (action, age, surface) and one look-up: every look-up's gradient is summed over all entries.
        weight_AG = self.action_weight.unsqueeze(1) + self.age_weight
        weight_K1 = (weight_AG.unsqueeze(2) + self.surface_weight).exp().view(-1, 1)
        surfaces = len(self.surface_weight)
        code_N = (history.action_N * AGE_BUCKETS + history.age_N) * surfaces + history.surface_N
        weight_N = nn.functional.embedding(code_N, weight_K1).squeeze(1)
        if self.reader is None or self.latest_gate is None:
            pooled_RD = pool_rows(x_UD, history.place_N, history.offsets_R1, weight_N)
            return [pooled_RD * self.history_gate + self.anyone]
        z_ND = self.reader(x_UD, history, dropout=dropout)
        entry_N = torch.arange(len(z_ND), device=z_ND.device)
        pooled_RD = pool_rows(z_ND, entry_N, history.offsets_R1, weight_N)
        has_history_R = (history.offsets_R1.diff() > 0).to(z_ND.dtype)
        # A request without history reads some other entry, or the zero row behind them, and hides it.
        last_R = (history.offsets_R1[1:] - 1).clamp_min(0)
        padded_ND = z_ND if len(z_ND) else z_ND.new_zeros(1, z_ND.shape[1])
        latest_RD = padded_ND.index_select(0, last_R) * has_history_R.unsqueeze(1)
        return [pooled_RD * self.history_gate + self.anyone, latest_RD * self.latest_gate]
