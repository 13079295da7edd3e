"""The Complete Journey: two years of the groceries of 2,500 households, by dunnhumby / 84.51°.

Two layouts are recognised, by their names and columns:

- **the original CSV files**, https://www.dunnhumby.com/source-files/: `transaction_data.csv` (household_key, BASKET_ID,
  DAY, PRODUCT_ID, QUANTITY, SALES_VALUE, STORE_ID, RETAIL_DISC, TRANS_TIME, WEEK_NO, COUPON_DISC, COUPON_MATCH_DISC),
  `product.csv` (PRODUCT_ID, MANUFACTURER, DEPARTMENT, BRAND, COMMODITY_DESC, SUB_COMMODITY_DESC,
  CURR_SIZE_OF_PRODUCT) and `hh_demographic.csv` (household_key and seven traits, which some releases call
  `classification_1`, ...), each also as .gz or .zst;
- **the tables of the R package** `completejourney` (CC0, one year, 2,469 households), saved as Parquet or CSV:
  `transactions` or `transactions_sample`, `products`, `demographics`.

Households without demographics, or a folder without that file, are fine.

Choices:

- **The manufacturer stands for the advertiser**; private labels have manufacturers too. `brand` (National or Private),
  department, type and size are attributes; the category is the product category (COMMODITY_DESC).
- Every line of a receipt is a `checkout` on the surface "store" with the basket as `request_id` and the sales value as
  `value`, in US dollars. Lines without a value (free, or taken back) stay: the product was chosen.
- The original counts days from 1 and has no dates: DAY 1 becomes 1970-01-01, TRANS_TIME (hour and minute, 1631) the
  time of that day. Lengths of time are right, dates mean nothing. The R package has dates of 2017, taken as UTC.
- Ids are integers in the original and texts in the R package, where the product 900000 is called "9e+05".
- Quantities, discounts, coupons, campaigns and displays are not read.

What the log cannot do: purchases alone, so no impressions, clicks, views or carts; no prices in the catalogue.
"""

from pathlib import Path

from lowerfunnel.events.readers.layout import PublishedTable, filled_in, find_optional_table, find_table, first_columns
from lowerfunnel.events.settings import LogConfig, SourceConfig

_NAME = "The Complete Journey"
_CONSTANTS = {"action": "checkout", "surface": "store", "currency": "USD"}

_CSV_TRANSACTIONS = PublishedTable(
    names=("transaction_data.csv",),
    columns=("household_key", "BASKET_ID", "DAY", "PRODUCT_ID", "SALES_VALUE", "TRANS_TIME"),
)
_CSV_PRODUCT_TRAITS = ("DEPARTMENT", "BRAND", "SUB_COMMODITY_DESC", "CURR_SIZE_OF_PRODUCT")
_CSV_PRODUCTS = PublishedTable(
    names=("product.csv",), columns=("PRODUCT_ID", "MANUFACTURER", "COMMODITY_DESC", *_CSV_PRODUCT_TRAITS)
)
_CSV_HOUSEHOLDS = PublishedTable(names=("hh_demographic.csv",), columns=("household_key",))

_R_TRANSACTIONS = PublishedTable(
    names=("transactions.parquet", "transactions_sample.parquet", "transactions.csv", "transactions_sample.csv"),
    columns=("household_id", "basket_id", "product_id", "sales_value", "transaction_timestamp"),
)
_R_PRODUCT_TRAITS = ("department", "brand", "product_type", "package_size")
_R_PRODUCTS = PublishedTable(
    names=("products.parquet", "products.csv"),
    columns=("product_id", "manufacturer_id", "product_category", *_R_PRODUCT_TRAITS),
)
_R_HOUSEHOLDS = PublishedTable(names=("demographics.parquet", "demographics.csv"), columns=("household_id",))
_R_NULLS = ("", "NA")
_CSV_NULLS = ("", " ")
"""The original writes a blank where a category or a size is not known."""

# A day or time of day that is none becomes a text that is no time and shows both.
_CSV_EVENTS = """
    SELECT household_key AS user_id, PRODUCT_ID AS item_id, BASKET_ID AS request_id, SALES_VALUE AS value, CASE
        WHEN day_number >= 1 AND hour_minute BETWEEN 0 AND 2359 AND hour_minute % 100 < 60
        THEN CAST(
            (day_number - 1) * 86400 + hour_minute // 100 * 3600 + hour_minute % 100 * 60 AS VARCHAR
        )
        ELSE 'DAY ' || coalesce("DAY", '') || ' TRANS_TIME ' || coalesce(TRANS_TIME, '')
    END AS ts
    FROM (
        SELECT *, TRY_CAST("DAY" AS INTEGER) AS day_number, TRY_CAST(TRANS_TIME AS INTEGER) AS hour_minute FROM source
    )
"""


def read_complete_journey(data_dir: Path, config: LogConfig) -> LogConfig:
    """Describe the purchases of The Complete Journey in either of its layouts.

    Raises:
        DataError: If transactions or products are missing or have other columns.
    """
    if transactions := find_optional_table(data_dir, _CSV_TRANSACTIONS, of=_NAME):
        return _original(data_dir, config, transactions)
    if transactions := find_optional_table(data_dir, _R_TRANSACTIONS, of=_NAME):
        return _r_package(data_dir, config, transactions)
    both = PublishedTable(names=(*_CSV_TRANSACTIONS.names, *_R_TRANSACTIONS.names), columns=())
    return _r_package(data_dir, config, find_table(data_dir, both, of=_NAME))


def _original(data_dir: Path, config: LogConfig, transactions: tuple[str, ...]) -> LogConfig:
    return filled_in(
        config,
        events=[SourceConfig(files=transactions, constants=_CONSTANTS, time_unit="s", query=_CSV_EVENTS)],
        items=[
            SourceConfig(
                files=find_table(data_dir, _CSV_PRODUCTS, of=_NAME),
                columns={
                    "item_id": "PRODUCT_ID",
                    "advertiser_id": "MANUFACTURER",
                    "category_id": "COMMODITY_DESC",
                    "title": "SUB_COMMODITY_DESC",
                },
                attributes=_CSV_PRODUCT_TRAITS,
                null_values=_CSV_NULLS,
            )
        ],
        users=_households(data_dir, _CSV_HOUSEHOLDS, null_values=_CSV_NULLS),
    )


def _r_package(data_dir: Path, config: LogConfig, transactions: tuple[str, ...]) -> LogConfig:
    return filled_in(
        config,
        events=[
            SourceConfig(
                files=transactions,
                columns={
                    "user_id": "household_id",
                    "item_id": "product_id",
                    "request_id": "basket_id",
                    "value": "sales_value",
                    "ts": "transaction_timestamp",
                },
                constants=_CONSTANTS,
                time_unit="iso",
                null_values=_R_NULLS,
            )
        ],
        items=[
            SourceConfig(
                files=find_table(data_dir, _R_PRODUCTS, of=_NAME),
                columns={
                    "item_id": "product_id",
                    "advertiser_id": "manufacturer_id",
                    "category_id": "product_category",
                    "title": "product_type",
                },
                attributes=_R_PRODUCT_TRAITS,
                null_values=_R_NULLS,
            )
        ],
        users=_households(data_dir, _R_HOUSEHOLDS, null_values=_R_NULLS),
        user_id_type="string",
        item_id_type="string",
    )


def _households(data_dir: Path, table: PublishedTable, *, null_values: tuple[str, ...]) -> list[SourceConfig]:
    """Describe the demographics, every column but the household's id as a trait; nothing where there are none."""
    files = find_optional_table(data_dir, table, of=_NAME)
    if not files:
        return []
    household, *_ = table.columns
    traits = tuple(name for name in first_columns(data_dir / files[0]) if name != household)
    return [SourceConfig(files=files, columns={"user_id": household}, attributes=traits, null_values=null_values)]
