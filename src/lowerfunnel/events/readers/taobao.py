"""Taobao user behaviour: views, favourites, carts and purchases of a million users, 25 November to 3 December 2017.

Source: https://tianchi.aliyun.com/dataset/649. One file without a header, `UserBehavior.csv` (also .gz or .zst):
user id, item id, category id, behaviour (pv, buy, cart, fav), time (s).

Choices:

- `pv` is the view of an item's page ("equivalent to a click", says the publisher): a `view`, not an `impression`.
- The file holds some times far outside the nine days it was drawn from, from decades before to decades after. They
  are quarantined as times that cannot be read: one of them would stretch every split in time. Days are those of China
  (UTC+8).
- The category comes with each event and belongs to the item; an item with several keeps the smallest as text.

What the log cannot do: no impressions, no advertisers, no prices, no sessions, nothing known of users.
"""

from pathlib import Path

from lowerfunnel.events.readers.layout import PublishedTable, filled_in, find_table
from lowerfunnel.events.settings import LogConfig, SourceConfig

_COLUMNS = ("user_id", "item_id", "category_id", "behavior", "timestamp")
_TABLE = PublishedTable(names=("UserBehavior.csv",), columns=_COLUMNS, header=False)

_FIRST_S = 1511539200
"""2017-11-25 00:00 in China."""
_END_S = 1512316800
"""2017-12-04 00:00 in China."""

# A time outside is turned into a text that is no time and says why; one that is no number at all stays as it is.
_EVENTS = f"""
    SELECT user_id, item_id, behavior, CASE
        WHEN TRY_CAST("timestamp" AS BIGINT) < {_FIRST_S} THEN "timestamp" || ' is before 2017-11-25'
        WHEN TRY_CAST("timestamp" AS BIGINT) >= {_END_S} THEN "timestamp" || ' is after 2017-12-03'
        ELSE "timestamp"
    END AS ts
    FROM source
"""
# A row without an item is counted among the events, and not again here.
_ITEMS = """
    SELECT item_id, min(category_id) AS category_id FROM source WHERE item_id IS NOT NULL GROUP BY item_id
    ORDER BY item_id
"""


def read_taobao(data_dir: Path, config: LogConfig) -> LogConfig:
    """Describe the original file of the Taobao user behaviour.

    Raises:
        DataError: If it is missing or has other columns.
    """
    files = find_table(data_dir, _TABLE, of="Taobao user behaviour")
    return filled_in(
        config,
        events=[
            SourceConfig(
                files=files,
                delimiter=",",
                column_names=_COLUMNS,
                columns={"action": "behavior"},
                actions={"pv": "view", "fav": "favorite", "cart": "add_to_cart", "buy": "checkout"},
                time_unit="s",
                query=_EVENTS,
            )
        ],
        items=[SourceConfig(files=files, delimiter=",", column_names=_COLUMNS, query=_ITEMS)],
    )
