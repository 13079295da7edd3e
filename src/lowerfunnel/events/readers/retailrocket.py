"""RetailRocket: visits, carts and purchases of an online shop, May to September 2015.

Source: https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset. Files, each also as .gz or .zst:

- `events.csv`: timestamp (ms), visitorid, event (view, addtocart, transaction), itemid, transactionid
- `item_properties_part1.csv` and `item_properties_part2.csv`, or both in one as `item_properties.csv`: timestamp (ms),
  itemid, property, value
- `category_tree.csv`: categoryid, parentid (optional: without it, items know only their own category)

Choices:

- **Properties change over time** (weekly snapshots, stored as changes), and the catalogue has one row per item. Each
  property takes its *first* recorded value: nothing in the catalogue is newer than the start of an item's record, while
  the last value would tell the model of later prices, and of items that sold out. A value without a readable time
  counts as the last.
- `category_id` is the property `categoryid`; the categories above it become the attributes "category=...".
- `available` becomes the attribute "available=0" or "available=1": at the start of the record, not at the request.
- `price` is property 790, written as "n164400.000". The publisher hashed the names of the properties; that 790 is the
  price is what its users found, and its unit and currency are unknown.
- The other properties are hashed words without published meaning and are left out.
- A transaction is a `checkout`, and its `transactionid` the `request_id`.

What the log cannot do: no impressions, no advertisers, no amounts paid, nothing known of users.
"""

from pathlib import Path

from lowerfunnel.errors import DataError
from lowerfunnel.events.readers.layout import PublishedTable, file_stem, filled_in, find_optional_table, find_table
from lowerfunnel.events.settings import LogConfig, SourceConfig

_NAME = "RetailRocket"
_EVENTS = PublishedTable(names=("events.csv",), columns=("timestamp", "visitorid", "event", "itemid", "transactionid"))
_PARTS = ("item_properties_part1.csv", "item_properties_part2.csv")
_WHOLE = "item_properties.csv"
_PROPERTIES = PublishedTable(names=(*_PARTS, _WHOLE), columns=("timestamp", "itemid", "property", "value"))
_TREE = PublishedTable(names=("category_tree.csv",), columns=("categoryid", "parentid"))

_FIRST_VALUES = """
    SELECT
        itemid AS item_id,
        arg_min(value, recorded) FILTER (property = 'categoryid') AS category_id,
        arg_min(value, recorded) FILTER (property = 'available') AS available,
        arg_min(regexp_replace(value, '^n', ''), recorded) FILTER (property = '790') AS price
    FROM (
        SELECT
            *,
            {'ms': coalesce(TRY_CAST("timestamp" AS BIGINT), 9223372036854775807), 'value': value} AS recorded
        FROM source
    )
    GROUP BY itemid
"""
_ITEMS = f"SELECT * FROM ({_FIRST_VALUES}) ORDER BY item_id"
# UNION without ALL ends at a cycle in the tree instead of following it for ever.
_ITEMS_WITH_TREE = f"""
    WITH RECURSIVE above AS (
        SELECT categoryid AS category_id, parentid AS ancestor FROM tree WHERE parentid IS NOT NULL
        UNION
        SELECT above.category_id, tree.parentid
        FROM above JOIN tree ON tree.categoryid = above.ancestor
        WHERE tree.parentid IS NOT NULL
    ),
    ancestors AS (
        SELECT category_id, list(ancestor ORDER BY TRY_CAST(ancestor AS BIGINT), ancestor) AS category
        FROM above GROUP BY category_id
    )
    SELECT items.*, ancestors.category
    FROM ({_FIRST_VALUES}) AS items LEFT JOIN ancestors USING (category_id)
    ORDER BY item_id
"""


def read_retailrocket(data_dir: Path, config: LogConfig) -> LogConfig:
    """Describe the original files of RetailRocket.

    Raises:
        DataError: If they are missing, in part, or have other columns.
    """
    events = find_table(data_dir, _EVENTS, of=_NAME)
    properties = find_table(data_dir, _PROPERTIES, of=_NAME, parts=True)
    if len(properties) != (1 if file_stem(properties[0]) == _WHOLE else len(_PARTS)):
        raise DataError(
            f"{_NAME}: the item properties come in two parts, {' and '.join(_PARTS)}, or whole as {_WHOLE}, and "
            f"{data_dir} has {' and '.join(properties)}; keep one or the other, complete"
        )
    tree = find_optional_table(data_dir, _TREE, of=_NAME)
    return filled_in(
        config,
        events=[
            SourceConfig(
                files=events,
                columns={
                    "ts": "timestamp",
                    "user_id": "visitorid",
                    "action": "event",
                    "item_id": "itemid",
                    "request_id": "transactionid",
                },
                actions={"addtocart": "add_to_cart", "transaction": "checkout"},
                time_unit="ms",
            )
        ],
        items=[
            SourceConfig(
                files=properties,
                attributes=("available", "category") if tree else ("available",),
                tables={"tree": tree[0]} if tree else {},
                query=_ITEMS_WITH_TREE if tree else _ITEMS,
            )
        ],
    )
