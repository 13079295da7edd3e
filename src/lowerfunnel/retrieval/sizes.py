"""How many rows a model's tables have, and how wide its features are."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class TableSizes:
    """Rows of each table, and widths of each feature vector: what the vocabularies and the features hold; 0 is none."""

    users: int
    items: int
    advertisers: int = 0
    categories: int = 0
    category_paths: int = 0
    item_attributes: int = 0
    user_attributes: int = 0
    surfaces: int = 0
    words: int = 0
    groups: int = 0
    price_buckets: int = 0
    content_width: int = 0
    visual_width: int = 0
    counters_width: int = 0
    activity_width: int = 0
