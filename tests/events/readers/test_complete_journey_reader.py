import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lowerfunnel.errors import DataError

TRANSACTIONS = (
    "household_key,BASKET_ID,DAY,PRODUCT_ID,QUANTITY,SALES_VALUE,STORE_ID,RETAIL_DISC,TRANS_TIME,WEEK_NO,COUPON_DISC,COUPON_MATCH_DISC",
    "2375,26984851472,1,1004906,1,1.39,364,-0.6,1631,1,0,0",
    "2375,26984851472,1,1033142,1,0.82,364,0,1631,1,0,0",
    "1364,26984896261,711,842930,0,0,31742,-0.34,0005,102,0,0",
)
PRODUCTS = (
    "PRODUCT_ID,MANUFACTURER,DEPARTMENT,BRAND,COMMODITY_DESC,SUB_COMMODITY_DESC,CURR_SIZE_OF_PRODUCT",
    "1004906,69,PRODUCE,Private,POTATOES,POTATOES RUSSET (BULK&BAG),5 LB",
    "1033142,2,PRODUCE,National,ONIONS,ONIONS SWEET (BULK&BAG), ",
)
HOUSEHOLDS = (
    "AGE_DESC,MARITAL_STATUS_CODE,INCOME_DESC,HOMEOWNER_DESC,HH_COMP_DESC,HOUSEHOLD_SIZE_DESC,KID_CATEGORY_DESC,household_key",
    "65+,A,35-49K,Homeowner,2 Adults No Kids,2,None/Unknown,2375",
)


def write_all(log, ending=""):
    log.write(f"transaction_data.csv{ending}", *TRANSACTIONS)
    log.write(f"product.csv{ending}", *PRODUCTS)
    log.write(f"hh_demographic.csv{ending}", *HOUSEHOLDS)


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_every_line_of_a_receipt_is_a_checkout_on_its_day(log, events, ending):
    write_all(log, ending)
    store = log.build("complete_journey")
    assert events(store, "user_id", "item_id", "action", "ts", "value", "currency", "request_id", "surface") == [
        (1364, 842930, "checkout", "1971-12-12 00:05:00", 0.0, "USD", "26984896261", "store"),
        (2375, 1004906, "checkout", "1970-01-01 16:31:00", 1.39, "USD", "26984851472", "store"),
        (2375, 1033142, "checkout", "1970-01-01 16:31:00", 0.82, "USD", "26984851472", "store"),
    ]


def test_the_manufacturer_is_the_advertiser(log, items):
    write_all(log)
    store = log.build("complete_journey")
    assert items(store, "item_id", "advertiser_id", "category_id", "title", "attributes") == [
        (842930, None, None, None, None),
        (
            1004906, "69", "POTATOES", "POTATOES RUSSET (BULK&BAG)",
            [
                "BRAND=Private", "CURR_SIZE_OF_PRODUCT=5 LB", "DEPARTMENT=PRODUCE",
                "SUB_COMMODITY_DESC=POTATOES RUSSET (BULK&BAG)",
            ],
        ),
        (
            1033142, "2", "ONIONS", "ONIONS SWEET (BULK&BAG)",
            ["BRAND=National", "DEPARTMENT=PRODUCE", "SUB_COMMODITY_DESC=ONIONS SWEET (BULK&BAG)"],
        ),
    ]  # fmt: skip


def test_households_have_their_demographics(log, users):
    write_all(log)
    assert users(log.build("complete_journey")) == [
        (1364, None),
        (
            2375,
            [
                "AGE_DESC=65+", "HH_COMP_DESC=2 Adults No Kids", "HOMEOWNER_DESC=Homeowner", "HOUSEHOLD_SIZE_DESC=2",
                "INCOME_DESC=35-49K", "KID_CATEGORY_DESC=None/Unknown", "MARITAL_STATUS_CODE=A",
            ],
        ),
    ]  # fmt: skip


def test_bad_rows_are_set_aside_with_their_reasons(log, events, quarantined):
    write_all(log)
    log.write(
        "transaction_data.csv",
        *TRANSACTIONS[:2],
        "2375,1,0,1004906,1,1.39,364,0,1631,1,0,0",
        "2375,1,1,1004906,1,1.39,364,0,2460,1,0,0",
        "2375,1,1,1004906,1,-1.39,364,0,1631,1,0,0",
        "2375,1,1,A7,1,1.39,364,0,1631,1,0,0",
        "2375,1,1,1004906",
    )
    store = log.build("complete_journey")
    assert len(events(store, "user_id")) == 1
    assert quarantined(store) == [
        ("events", "item_id is not a 64-bit integer", "A7"),
        ("events", "ts cannot be read as a time", "DAY 0 TRANS_TIME 1631"),
        ("events", "ts cannot be read as a time", "DAY 1 TRANS_TIME 2460"),
        ("events", "value is negative", "-1.39"),
        ("events", "wrong number of columns", None),
    ]


def write_r_package(log):
    at = datetime.datetime(2017, 1, 28, 19, 6, 53, tzinfo=datetime.UTC)
    tables = {
        "transactions": {
            "household_id": ["2261"], "store_id": ["309"], "basket_id": ["31625220889"], "product_id": ["940996"],
            "quantity": [1.0], "sales_value": [3.86], "retail_disc": [0.43], "coupon_disc": [0.0],
            "coupon_match_disc": [0.0], "week": [5], "transaction_timestamp": [at],
        },
        "products": {
            "product_id": ["940996"], "manufacturer_id": ["69"], "department": ["GROCERY"], "brand": ["Private"],
            "product_category": ["BREAD"], "product_type": ["WHITE BREAD"], "package_size": [None],
        },
        "demographics": {
            "household_id": ["2261"], "age": ["25-34"], "income": [None], "home_ownership": [None],
            "marital_status": ["Unmarried"], "household_size": ["1"], "household_comp": [None], "kids_count": ["0"],
        },
    }  # fmt: skip
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), log.folder / f"{name}.parquet")


def test_the_r_package_has_dates_and_the_same_meaning(log, events, items, users):
    write_r_package(log)
    store = log.build("complete_journey")
    assert events(store, "user_id", "item_id", "action", "ts", "value", "request_id") == [
        ("2261", "940996", "checkout", "2017-01-28 19:06:53", 3.86, "31625220889")
    ]
    assert items(store, "item_id", "advertiser_id", "category_id", "title", "attributes") == [
        (
            "940996", "69", "BREAD", "WHITE BREAD",
            ["brand=Private", "department=GROCERY", "product_type=WHITE BREAD"],
        )
    ]  # fmt: skip
    assert users(store) == [("2261", ["age=25-34", "household_size=1", "kids_count=0", "marital_status=Unmarried"])]


def test_the_r_package_may_be_written_as_csv(log, events, items):
    log.write(
        "transactions_sample.csv.gz",
        '"household_id","store_id","basket_id","product_id","quantity","sales_value","transaction_timestamp"',
        '"2261","309","31625220889","940996",1,3.86,2017-01-28T19:06:53Z',
    )
    log.write(
        "products.csv",
        "product_id,manufacturer_id,department,brand,product_category,product_type,package_size",
        "940996,69,GROCERY,Private,BREAD,NA,NA",
    )
    store = log.build("complete_journey")
    assert events(store, "user_id", "ts", "value") == [("2261", "2017-01-28 19:06:53", 3.86)]
    assert items(store, "title", "attributes") == [(None, ["brand=Private", "department=GROCERY"])]


def test_both_layouts_are_named_where_neither_is(log):
    log.write("readme.txt", "hello")
    with pytest.raises(DataError, match=r"lacks transaction_data\.csv or transactions\.parquet .*it holds readme\.txt"):
        log.build("complete_journey")


def test_missing_products_are_named(log):
    write_all(log)
    (log.folder / "product.csv").unlink()
    with pytest.raises(DataError, match=r"lacks product\.csv"):
        log.build("complete_journey")


def test_the_real_log_comes_in_whole(log, shared_data, quarantined, users):
    store = log.build("complete_journey", shared_data("complete_journey"), max_quarantined_share=0.0)
    assert store.info.actions == {"checkout": 75_000}
    assert (store.info.users, store.info.first_ts_us, store.info.last_ts_us) == (
        2_377, 1483273827000000, 1514778458000000,
    )  # fmt: skip
    catalogue = store.items()
    assert len(catalogue) - catalogue["advertiser_id"].null_count == 92_331
    assert quarantined(store) == []
    assert sum(attributes is not None for _, attributes in users(store)) == 801
