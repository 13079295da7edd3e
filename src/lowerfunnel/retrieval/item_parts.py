"""What is known of items, as the parts that the item tower is made of.

Shape letters: U distinct items of a batch, C candidates, D width, F width of a feature vector.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lowerfunnel.retrieval.inputs import ItemInputs
from lowerfunnel.retrieval.settings import TowerConfig
from lowerfunnel.retrieval.sizes import TableSizes
from lowerfunnel.retrieval.tables import FeatureTables


class ItemParts(FeatureTables):
    """An item's id embedding and what is known of it: one vector of width D for each feature that the log has.

    The sum of the parts is an item's *input*: what it is in a history and as the subject of a request. Histories and
    candidates share it, so an item never seen in training still counts in a history, and the own cart lies near its
    owner. An id that was not trained, or is dropped, contributes nothing; `anything` is what is left when nothing is
    known. How an item performed is no part of its input, as it changes from day to day: `counters` adds it to candidates.
    """

    def __init__(self, config: TowerConfig, sizes: TableSizes, *, generator: torch.Generator) -> None:
        super().__init__(width=config.width, init_std=config.init_std, generator=generator)
        if config.item_id:
            self.add_table("item", sizes.items)
        self.add_table("advertiser", sizes.advertisers, unknown=True)
        self.add_table("category", sizes.categories, unknown=True)
        self.add_table("item_attribute", sizes.item_attributes)
        self.add_table("category_path", sizes.category_paths)
        self.add_table("price_bucket", sizes.price_buckets, unknown=True)
        self.add_linear("price", 3 if sizes.price_buckets else 0)
        self.add_linear("content", sizes.content_width)
        self.add_linear("visual", sizes.visual_width)
        self.add_linear("counters", sizes.counters_width)
        self.anything = nn.Parameter(torch.zeros(config.width))
        self.count = 1 + sum(
            name in self.tables or name in self.linears
            for name in ("advertiser", "category", "item_attribute", "category_path", "price", "content", "visual")
        )

    def forward(self, items: ItemInputs) -> list[Float[Tensor, "U D"]]:
        """Return the parts of each item, `count` of them, its id first."""
        own_UD = self.anything.expand(len(items.id_U), -1)
        if "item" in self.tables:
            own_UD = torch.addcmul(own_UD, self.table("item").rows(items.id_U), items.has_id_U.unsqueeze(1))
        parts = [own_UD]
        if "advertiser" in self.tables:
            parts.append(self.lookup("advertiser", items.advertiser))
        if "category" in self.tables:
            parts.append(self.lookup("category", items.category))
        if "item_attribute" in self.tables:
            parts.append(self.bag("item_attribute", items.attributes))
        if "category_path" in self.tables:
            parts.append(self.bag("category_path", items.path))
        if "price" in self.linears:
            parts.append(items.price_U3 @ self.linears["price"] + self.lookup("price_bucket", items.price_bucket))
        if "content" in self.linears:
            parts.append(items.content_UF @ self.linears["content"])
        if "visual" in self.linears:
            parts.append(items.visual_UF @ self.linears["visual"])
        return parts

    def counters(self, counters_CF: Float[Tensor, "C F"]) -> list[Float[Tensor, "C D"]]:
        """Return what candidates' performance adds to their parts: one part, or none."""
        return [counters_CF @ self.linears["counters"]] if "counters" in self.linears else []
