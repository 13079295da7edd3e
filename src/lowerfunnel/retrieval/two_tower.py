"""The two-tower model: one tower for users, one for items, a cosine between them.

Shape letters: U distinct items of a batch, B queries, D width of the towers, E width of their vectors.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lowerfunnel.events.schema import ACTIONS
from lowerfunnel.features.history import AGE_BUCKETS
from lowerfunnel.nn.embedding import EmbeddingTable
from lowerfunnel.nn.layers import ResidualMLP, pool_rows
from lowerfunnel.retrieval.inputs import Bag, ItemInputs, Lookup, UserInputs
from lowerfunnel.retrieval.settings import TowerConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class TableSizes:
    """Rows of each table: what the vocabularies hold."""

    users: int
    items: int
    advertisers: int
    categories: int
    item_attributes: int
    user_attributes: int
    surfaces: int
    content_width: int
    has_price: bool


class TwoTower(nn.Module):
    """Users and items as unit vectors of one space.

    An item's input is the sum of its id embedding and what is known of it: advertiser, category, price, attributes,
    content. Its tower is a residual MLP on that sum. A user's input is the sum of its id embedding, the weighted mean
    of the *item inputs* of its history (weights learned by action and age), its attributes and the surface. Histories
    and candidates share one item input, so an item never seen in training still counts in a history, and the own cart
    lies near its owner.

    An id that was not trained, or is dropped, contributes nothing: the sum of the known parts is its embedding, and one
    learned vector for each tower (`anyone`, `anything`) is what is left when nothing is known.
    """

    def __init__(self, config: TowerConfig, sizes: TableSizes, *, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        width = config.width

        def table(rows: int, std: float = config.init_std) -> EmbeddingTable:
            return EmbeddingTable(rows, width, init_std=std, generator=generator)

        self.tables = nn.ModuleDict()
        if config.item_id:
            self.tables["item"] = table(sizes.items)
        if config.user_id:
            self.tables["user"] = table(sizes.users)
        # Row 0 of a feature's table stands for its unknown value, and says nothing until it is trained; a feature that
        # the log does not have gets no table.
        for name, values in (
            ("advertiser", sizes.advertisers),
            ("category", sizes.categories),
            ("surface", sizes.surfaces),
        ):
            if values:
                self.tables[name] = table(values + 1)
                with torch.no_grad():
                    self._table(name).weight[0] = 0.0
        for name, values in (("item_attribute", sizes.item_attributes), ("user_attribute", sizes.user_attributes)):
            if values:
                self.tables[name] = table(values)
        self.price = _linear(2, width, config.init_std, generator) if sizes.has_price else None
        self.content = _linear(sizes.content_width, width, config.init_std, generator) if sizes.content_width else None
        self.action_weight = nn.Parameter(torch.zeros(len(ACTIONS)))
        self.age_weight = nn.Parameter(torch.zeros(AGE_BUCKETS))
        self.history_gate = nn.Parameter(torch.ones(width))
        self.anyone = nn.Parameter(torch.empty(width).normal_(0.0, config.init_std, generator=generator))
        self.anything = nn.Parameter(torch.zeros(width))
        # A tenth of a cosine for each e-fold, which the temperature of a tenth makes the item's own log-odds.
        self.popularity_weight = nn.Parameter(torch.tensor(0.1)) if config.popularity else None
        self.user_mlp = ResidualMLP(width, config.user_hidden, generator=generator)
        self.item_mlp = ResidualMLP(width, config.item_hidden, generator=generator)

    def embedding_tables(self) -> dict[str, EmbeddingTable]:
        """Return the tables by name, for their optimiser."""
        return {name: table for name, table in self.tables.items() if isinstance(table, EmbeddingTable)}

    def item_input(self, items: ItemInputs) -> Float[Tensor, "U D"]:
        """Return what is known of each item, as one vector: the item tower's input and a history's entry."""
        x_UD = self.anything.expand(len(items.id_U), -1)
        if "item" in self.tables:
            x_UD = torch.addcmul(x_UD, self._table("item").rows(items.id_U), items.has_id_U.unsqueeze(1))
        if "advertiser" in self.tables:
            x_UD = x_UD + self._lookup("advertiser", items.advertiser)
        if "category" in self.tables:
            x_UD = x_UD + self._lookup("category", items.category)
        if "item_attribute" in self.tables:
            x_UD = x_UD + self._bag("item_attribute", items.attributes)
        if self.price is not None:
            x_UD = torch.addmm(x_UD, items.price_U2, self.price)
        if self.content is not None:
            x_UD = torch.addmm(x_UD, items.content_UF, self.content)
        return x_UD

    def item_tower(self, x_UD: Float[Tensor, "U D"], log_share_U: Float[Tensor, " U"]) -> Float[Tensor, "U E"]:
        """Return the vector of each item from its input: of unit length, and its popularity beside it if asked for."""
        v_UD = nn.functional.normalize(self.item_mlp(x_UD), dim=1)
        return v_UD if self.popularity_weight is None else torch.cat([v_UD, log_share_U.unsqueeze(1)], dim=1)

    def user_tower(self, users: UserInputs, x_UD: Float[Tensor, "U D"]) -> Float[Tensor, "B E"]:
        """Return the vector of each query, as `item_tower` does; `x_UD` are the inputs of the items in its history."""
        # One small table of (action, age) and one look-up: the gradient of two look-ups would be summed twice.
        weight_K1 = (self.action_weight.unsqueeze(1) + self.age_weight).exp().view(-1, 1)
        code_N = users.history_action_N * AGE_BUCKETS + users.history_age_N
        weight_N = nn.functional.embedding(code_N, weight_K1).squeeze(1)
        pooled_BD = pool_rows(x_UD, users.history_place_N, users.history_offsets_B1, weight_N)
        y_BD = pooled_BD * self.history_gate + self.anyone
        if "user" in self.tables:
            y_BD = y_BD + self._lookup("user", users.id) * users.has_id_B.unsqueeze(1)
        if "surface" in self.tables:
            y_BD = y_BD + self._lookup("surface", users.surface)
        if "user_attribute" in self.tables:
            y_BD = y_BD + self._bag("user_attribute", users.attributes)
        u_BD = nn.functional.normalize(self.user_mlp(y_BD), dim=1)
        if self.popularity_weight is None:
            return u_BD
        return torch.cat([u_BD, self.popularity_weight.expand(len(u_BD), 1)], dim=1)

    def _table(self, name: str) -> EmbeddingTable:
        table = self.tables[name]
        assert isinstance(table, EmbeddingTable)  # noqa: S101 - narrows the type, cannot fail
        return table

    def _lookup(self, name: str, lookup: Lookup) -> Tensor:
        return self._table(name).rows(lookup.row).index_select(0, lookup.place)

    def _bag(self, name: str, bag: Bag) -> Tensor:
        row_UD = self._table(name).rows(bag.token.row)
        weight_N = torch.ones(len(bag.token.place), device=row_UD.device)
        return pool_rows(row_UD, bag.token.place, bag.offsets, weight_N)


def _linear(fan_in: int, width: int, init_std: float, generator: torch.Generator) -> nn.Parameter:
    std = init_std / max(fan_in, 1) ** 0.5
    return nn.Parameter(torch.empty(fan_in, width).normal_(0.0, std, generator=generator))
