"""The two-tower model: one tower for users, one for items, a cosine between them.

Shape letters: U distinct items of a batch, C candidates, R requests, D width of the towers, E width of their vectors, F
width of a feature vector.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lowerfunnel.errors import UnavailableError
from lowerfunnel.nn.embedding import EmbeddingTable
from lowerfunnel.retrieval.inputs import ItemInputs, UserInputs
from lowerfunnel.retrieval.item_parts import ItemParts
from lowerfunnel.retrieval.settings import RetrievalConfig
from lowerfunnel.retrieval.sizes import TableSizes
from lowerfunnel.retrieval.tower import Tower
from lowerfunnel.retrieval.user_parts import UserParts

SERVED = "conversion"
"""The task whose vectors are served; with one head it is the head of all tasks."""
_LEAST_TEMPERATURE = 0.01


class TwoTower(nn.Module):
    """Users and items as unit vectors of one space, for one head or for two.

    `ItemParts` and `UserParts` say what goes in, `Tower` what is made of it. With `popularity` one more coordinate holds
    an item's log share, and a learned weight on the user's side, so that the score is still one dot product.
    """

    def __init__(self, config: RetrievalConfig, sizes: TableSizes, *, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        tower, tasks = config.tower, config.objective.head_names
        self.item_parts = ItemParts(tower, sizes, generator=generator)
        self.user_parts = UserParts(tower, config.history, config.context, sizes, generator=generator)
        item_count = self.item_parts.count + int(sizes.counters_width > 0)
        self.item_body = Tower(tower, parts=item_count, tasks=tasks, generator=generator)
        self.user_body = Tower(tower, parts=self.user_parts.count, tasks=tasks, generator=generator)
        # A tenth of a cosine for each e-fold, which the temperature of a tenth makes the item's own log-odds.
        self.popularity_weight = nn.Parameter(torch.tensor(0.1)) if tower.popularity else None
        self.log_scale = nn.ParameterDict()
        if config.objective.learn_temperature:
            for task in tasks:
                self.log_scale[task] = nn.Parameter(torch.tensor(-math.log(config.objective.temperature)))
        self.group: EmbeddingTable | None = None
        if config.group_loss.weight and config.group_loss.form == "table":
            self.group = EmbeddingTable(sizes.groups, tower.width, init_std=tower.init_std, generator=generator)

    def embedding_tables(self) -> dict[str, EmbeddingTable]:
        """Return the tables by name, for their optimiser."""
        named = {**self.item_parts.tables, **self.user_parts.tables, **({"group": self.group} if self.group else {})}
        return {name: table for name, table in named.items() if isinstance(table, EmbeddingTable)}

    def inverse_temperature(self, task: str) -> Tensor | float:
        """Return what a task's cosines are multiplied with."""
        if task not in self.log_scale:
            return 1.0 / self.config.objective.temperature
        scale: Tensor = self.log_scale[task].clamp(max=-math.log(_LEAST_TEMPERATURE)).exp()
        return scale

    def item_input(self, parts: list[Float[Tensor, "U D"]]) -> Float[Tensor, "U D"]:
        """Return the sum of each item's parts: what it is in a history, and as the subject of a request."""
        return parts[0] if len(parts) == 1 else torch.stack(parts).sum(dim=0)

    def item_tower(
        self,
        parts: list[Float[Tensor, "U D"]],
        x_UD: Float[Tensor, "U D"],
        *,
        place_C: Int[Tensor, " C"] | None = None,
        counters_CF: Float[Tensor, "C F"],
        log_share_C: Float[Tensor, " C"],
    ) -> dict[str, Float[Tensor, "C E"]]:
        """Return each head's vectors of candidates: of unit length, and their popularity beside it if asked for.

        Without `place_C` the U items are the candidates. `x_UD` are their inputs: all that a tower without layers needs.
        """
        chosen = [x_UD] if self.item_body.body is None else parts
        if place_C is not None:
            chosen = [part.index_select(0, place_C) for part in chosen]
        vectors: dict[str, Tensor] = self.item_body(chosen + self.item_parts.counters(counters_CF))
        if self.popularity_weight is None:
            return vectors
        return {task: torch.cat([v_CD, log_share_C.unsqueeze(1)], dim=1) for task, v_CD in vectors.items()}

    def user_tower(
        self, users: UserInputs, x_UD: Float[Tensor, "U D"], *, dropout: torch.Generator | None = None
    ) -> dict[str, Float[Tensor, "R E"]]:
        """Return each head's vectors of requests, as `item_tower` does; `x_UD` are the inputs of the batch's items."""
        vectors: dict[str, Tensor] = self.user_body(self.user_parts(users, x_UD, dropout=dropout))
        if self.popularity_weight is None:
            return vectors
        weight = self.popularity_weight
        return {task: torch.cat([u_RD, weight.expand(len(u_RD), 1)], dim=1) for task, u_RD in vectors.items()}

    def require_head(self, task: str) -> None:
        """Make sure that the model has a head for `task`.

        Raises:
            UnavailableError: If it has none: with one head, the vectors of all tasks are those of "conversion".
        """
        if task not in self.config.objective.head_names:
            heads = ", ".join(self.config.objective.head_names)
            raise UnavailableError(
                f'this model has no head "{task}", only {heads}; train one with retrieval.objective.heads="multi"'
            )

    def encode_items(self, items: ItemInputs, counters_UF: Tensor, *, task: str = SERVED) -> tuple[Tensor, Tensor]:
        """Return inputs of items and their vectors of one head, [U, D] and [U, E]."""
        parts = self.item_parts(items)
        x_UD = self.item_input(parts)
        vectors = self.item_tower(parts, x_UD, counters_CF=counters_UF, log_share_C=items.log_share_U)
        return x_UD, vectors[task]
