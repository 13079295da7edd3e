import pytest

from lowerfunnel.errors import DataError

ROWS = (
    "1,2268318,2520377,pv,1511544070",
    "1,2268318,2520377,fav,1511544071",
    "1,2333346,2520771,cart,1511561733",
    "1,2333346,2520771,buy,1511561734",
    "100,2333346,145813,pv,1512316799",
)


@pytest.mark.parametrize("name", ["UserBehavior.csv", "UserBehavior.csv.gz", "UserBehavior.csv.zst"])
def test_the_first_row_is_a_row_and_each_behaviour_an_action(log, events, name):
    log.write(name, *ROWS)
    store = log.build("taobao")
    assert events(store, "user_id", "item_id", "action", "ts") == [
        (1, 2268318, "view", "2017-11-24 17:21:10"),
        (1, 2268318, "favorite", "2017-11-24 17:21:11"),
        (1, 2333346, "add_to_cart", "2017-11-24 22:15:33"),
        (1, 2333346, "checkout", "2017-11-24 22:15:34"),
        (100, 2333346, "view", "2017-12-03 15:59:59"),
    ]


def test_an_item_with_two_categories_keeps_one_of_them(log, items):
    log.write("UserBehavior.csv", *ROWS)
    assert items(log.build("taobao"), "item_id", "category_id") == [(2268318, "2520377"), (2333346, "145813")]


def test_rows_in_the_same_second_keep_the_order_of_the_file(log, events):
    log.write("UserBehavior.csv", *(f"1,{item},7,pv,1511544070" for item in (5, 3, 9, 1)))
    assert events(log.build("taobao"), "item_id") == [(5,), (3,), (9,), (1,)]


def test_times_outside_the_nine_days_are_set_aside_and_say_so(log, events, quarantined):
    log.write(
        "UserBehavior.csv",
        ROWS[0],
        "1,5,7,pv,1511539200",
        "1,5,7,pv,1511539199",
        "1,5,7,pv,1512316800",
        "1,5,7,pv,-2134949234",
        "1,5,7,pv,soon",
        "1,5,7,share,1511544070",
        "1,,7,pv,1511544070",
    )
    store = log.build("taobao")
    assert len(events(store, "user_id")) == 2
    assert quarantined(store) == [
        ("events", "action is unknown", "share"),
        ("events", "item_id is missing", None),
        ("events", "ts cannot be read as a time", "-2134949234 is before 2017-11-25"),
        ("events", "ts cannot be read as a time", "1511539199 is before 2017-11-25"),
        ("events", "ts cannot be read as a time", "1512316800 is after 2017-12-03"),
        ("events", "ts cannot be read as a time", "soon"),
    ]


def test_a_file_with_more_columns_is_refused(log):
    log.write("UserBehavior.csv", "1,2268318,2520377,pv,1511544070,1")
    with pytest.raises(DataError, match="has 6 columns in its first row, and the original has 5 without a header"):
        log.build("taobao")


def test_the_same_file_twice_is_refused(log):
    log.write("UserBehavior.csv", *ROWS)
    log.write("UserBehavior.csv.gz", *ROWS)
    with pytest.raises(DataError, match=r"UserBehavior\.csv and UserBehavior\.csv\.gz are the same table"):
        log.build("taobao")


def test_an_empty_file_is_refused(log):
    log.write("UserBehavior.csv")
    with pytest.raises(DataError, match=r"UserBehavior\.csv is empty"):
        log.build("taobao")
