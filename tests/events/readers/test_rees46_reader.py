import pytest

from lowerfunnel.errors import DataError

HEADER = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"
OCTOBER = (
    HEADER,
    "2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,,shiseido,35.79,541312140,72d",
    "2019-10-01 00:00:04 UTC,cart,1004237,2053013555631882655,electronics.smartphone,,1081.98,535871217,c6b",
    "2019-10-01 00:01:00 UTC,remove_from_cart,1004237,2053013555631882655,electronics.smartphone,,1081.9,535871217,c6b",
)
NOVEMBER = (
    HEADER,
    "2019-11-01 10:00:00 UTC,purchase,1004237,2053013555631882655,electronics.smartphone,apple,999.00,535871217,77aa",
    "2019-11-01 10:00:00 UTC,purchase,1004237,2053013555631882655,electronics.smartphone,apple,999.00,535871217,77aa",
    "2019-11-02 10:00:00 UTC,view,44600062,2103807459595387724,,shiseido,30.00,535871217,",
)


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_the_months_make_one_log(log, events, ending):
    log.write(f"2019-Oct.csv{ending}", *OCTOBER)
    log.write(f"2019-Nov.csv{ending}", *NOVEMBER)
    store = log.build("rees46")
    assert events(store, "user_id", "item_id", "action", "ts", "value", "request_id") == [
        (535871217, 1004237, "add_to_cart", "2019-10-01 00:00:04", None, "c6b"),
        (535871217, 1004237, "checkout", "2019-11-01 10:00:00", 999.0, "77aa"),
        (535871217, 44600062, "view", "2019-11-02 10:00:00", None, None),
        (541312140, 44600062, "view", "2019-10-01 00:00:00", None, "72d"),
    ]


def test_a_removal_is_ignored_and_no_error(log, quarantined):
    log.write("2019-Oct.csv", *OCTOBER)
    store = log.build("rees46", max_quarantined_share=0.0)
    assert quarantined(store) == []
    assert store.info.actions == {"view": 1, "add_to_cart": 1}


def test_a_product_is_what_its_first_event_says_with_its_brand_as_advertiser(log, items):
    log.write("2019-Nov.csv", *NOVEMBER)
    log.write("2019-Oct.csv", *OCTOBER)
    store = log.build("rees46")
    assert items(store, "item_id", "advertiser_id", "category_id", "price", "currency", "attributes") == [
        (
            1004237, "apple", "2053013555631882655", 1081.98, None,
            ["category_code=electronics", "category_code=electronics.smartphone"],
        ),
        (44600062, "shiseido", "2103807459595387724", 35.79, None, None),
    ]  # fmt: skip


def test_bad_rows_are_set_aside_with_their_reasons(log, events, quarantined):
    log.write(
        "2019-Oct.csv",
        *OCTOBER[:2],
        "2019-10-01,view,44600062,2103807459595387724,,shiseido,35.79,541312140,72d",
        "2019-10-01 00:00:00 UTC,purchase,44600062,2103807459595387724,,shiseido,-1.00,541312140,72d",
        "2019-10-01 00:00:00 UTC,purchase,44600062,2103807459595387724,,shiseido,nan,541312140,72d",
        "2019-10-01 00:00:00 UTC,refund,44600062,2103807459595387724,,shiseido,35.79,541312140,72d",
        "2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,,shiseido,35.79",
    )
    store = log.build("rees46")
    assert len(events(store, "user_id")) == 1
    assert [row for row in quarantined(store) if row[0] == "events"] == [
        ("events", "action is unknown", "refund"),
        ("events", "ts cannot be read as a time", "2019-10-01"),
        ("events", "value is NaN or infinite", "nan"),
        ("events", "value is negative", "-1.00"),
        ("events", "wrong number of columns", None),
    ]


def test_files_that_are_no_months_are_refused(log):
    log.write("2019-Oct.zip", *OCTOBER)
    with pytest.raises(DataError, match=r"it holds 2019-Oct\.zip\. Put the original files .* unpacked from archives"):
        log.build("rees46")


def test_a_month_with_other_columns_is_named(log):
    log.write("2019-Oct.csv", *OCTOBER)
    log.write("2019-Nov.csv", "event_time,event_type,product_id", "2019-11-01 10:00:00 UTC,view,1")
    with pytest.raises(DataError, match=r"2019-Nov\.csv lacks category_id, category_code"):
        log.build("rees46")
