"""REES46 eCommerce behaviour: views, carts and purchases with brand, category and price, one file a month.

Source: https://rees46.com/en/datasets and https://www.kaggle.com/datasets/mkechinov/ecommerce-behavior-data-from-multi-category-store
(and the cosmetics shop of the same publisher, with the same columns). Any number of months, `2019-Oct.csv`,
`2019-Nov.csv`, ..., each also as .gz or .zst:
event_time ("2019-10-01 00:00:00 UTC"), event_type (view, cart, remove_from_cart, purchase), product_id, category_id,
category_code ("electronics.smartphone"), brand, price, user_id, user_session.

Choices:

- **The brand stands for the advertiser.** The log has no advertisers; the brand is who would pay for its products.
- What is known of a product is what its first event with a value says (brand, category, first price), so the catalogue
  holds nothing from the later log. `category_code` gives one attribute per level: "category_code=electronics" and
  "category_code=electronics.smartphone".
- `purchase` is a `checkout` whose `value` is the price of its row; `user_session` is the `request_id`.
- `remove_from_cart` has no canonical action: it is left out and counted. The cart event before it stays.
- The publisher does not say the currency.

What the log cannot do: no impressions (views only), no positions, nothing known of users.
"""

from pathlib import Path

from lowerfunnel.events.readers.layout import PublishedTable, filled_in, find_table
from lowerfunnel.events.settings import LogConfig, SourceConfig

_COLUMNS = (
    "event_time", "event_type", "product_id", "category_id", "category_code", "brand", "price", "user_id",
    "user_session",
)  # fmt: skip
_MONTHS = PublishedTable(names=("[0-9][0-9][0-9][0-9]-[A-Z][a-z][a-z].csv",), columns=_COLUMNS)

_EVENTS = """
    SELECT
        user_id,
        product_id AS item_id,
        event_type AS action,
        event_time AS ts,
        user_session AS request_id,
        CASE WHEN event_type = 'purchase' THEN price END AS value
    FROM source
"""
# Times written as year-month-day hour:minute:second sort as texts; the value itself settles ties.
_ITEMS = """
    SELECT
        * EXCLUDE (code),
        [array_to_string(string_split(code, '.')[:level], '.')
            FOR level IN range(1, len(string_split(code, '.')) + 1)] AS category_code
    FROM (
        SELECT
            product_id AS item_id,
            arg_min(category_id, {'at': event_time, 'value': category_id}) AS category_id,
            arg_min(category_code, {'at': event_time, 'value': category_code}) AS code,
            arg_min(brand, {'at': event_time, 'value': brand}) AS advertiser_id,
            arg_min(price, {'at': event_time, 'value': price}) AS price
        FROM source
        WHERE product_id IS NOT NULL
        GROUP BY product_id
    )
    ORDER BY item_id
"""


def read_rees46(data_dir: Path, config: LogConfig) -> LogConfig:
    """Describe the original monthly files of REES46.

    Raises:
        DataError: If there is none or one has other columns.
    """
    files = find_table(data_dir, _MONTHS, of="REES46 eCommerce behaviour", parts=True)
    return filled_in(
        config,
        events=[
            SourceConfig(
                files=files,
                actions={"cart": "add_to_cart", "purchase": "checkout"},
                ignore_actions=("remove_from_cart",),
                time_format="%Y-%m-%d %H:%M:%S UTC",
                query=_EVENTS,
            )
        ],
        items=[SourceConfig(files=files, attributes=("category_code",), query=_ITEMS)],
    )
