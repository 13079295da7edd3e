import pytest

from lowerfunnel.errors import DataError

EVENTS = (
    "timestamp,visitorid,event,itemid,transactionid",
    "1433221332117,257597,view,355908,",
    "1433221400000,257597,addtocart,355908,",
    "1433221500500,257597,transaction,355908,4000",
    "1433221332117,111016,view,318965,",
)
PART_1 = (
    "timestamp,itemid,property,value",
    "1435460400000,355908,categoryid,1338",
    "1433041200000,355908,categoryid,213",
    "1433041200000,355908,790,n164400.000",
    "1435460400000,355908,790,n99000.000",
    "1433041200000,355908,888,1116713 960601 n277.200",
    "1433041200000,318965,available,1",
)
PART_2 = (
    "timestamp,itemid,property,value",
    "1439089200000,318965,available,0",
    "1439089200000,318965,categoryid,9",
    "1433041200000,70000,6,1094415",
)
TREE = ("categoryid,parentid", "213,1016", "1338,1016", "1016,500", "500,", "9,8", "8,9")


def write_all(log, ending=""):
    log.write(f"events.csv{ending}", *EVENTS)
    log.write(f"item_properties_part1.csv{ending}", *PART_1)
    log.write(f"item_properties_part2.csv{ending}", *PART_2)
    log.write(f"category_tree.csv{ending}", *TREE)


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_each_event_keeps_its_ids_time_and_transaction(log, events, ending):
    write_all(log, ending)
    store = log.build("retailrocket")
    assert events(store, "user_id", "item_id", "action", "ts", "request_id") == [
        (111016, 318965, "view", "2015-06-02 05:02:12", None),
        (257597, 355908, "view", "2015-06-02 05:02:12", None),
        (257597, 355908, "add_to_cart", "2015-06-02 05:03:20", None),
        (257597, 355908, "checkout", "2015-06-02 05:05:00", "4000"),
    ]
    assert store.info.first_ts_us == 1433221332117000
    assert (store.info.user_id_type, store.info.item_id_type, store.info.order) == ("int64", "int64", "time")


def test_the_catalogue_holds_each_propertys_first_value_and_the_categories_above(log, items):
    write_all(log)
    store = log.build("retailrocket")
    assert items(store, "item_id", "category_id", "price", "attributes", "advertiser_id") == [
        (70000, None, None, None, None),
        (318965, "9", None, ["available=1", "category=8", "category=9"], None),  # the tree's cycle ends
        (355908, "213", 164400.0, ["category=1016", "category=500"], None),
    ]


def test_without_the_tree_an_item_knows_its_own_category(log, items):
    write_all(log)
    (log.folder / "category_tree.csv").unlink()
    store = log.build("retailrocket")
    assert items(store, "item_id", "category_id", "attributes")[1:] == [
        (318965, "9", ["available=1"]),
        (355908, "213", None),
    ]


def test_bad_rows_are_set_aside_with_their_reasons(log, events, quarantined):
    write_all(log)
    log.write(
        "events.csv",
        *EVENTS[:2],
        "yesterday,257597,view,355908,",
        "1433221332117,,view,355908,",
        "1433221332117,257597,view,3.5,",
        "1433221332117,257597,wishlist,355908,",
        "1433221332117,257597,view",
        "9933221332117,257597,view,355908,",
    )
    log.write("item_properties_part2.csv", "timestamp,itemid,property,value", "1433041200000,5,790,n-1.000")
    store = log.build("retailrocket")
    assert len(events(store, "user_id")) == 1
    assert quarantined(store) == [
        ("events", "action is unknown", "wishlist"),
        ("events", "item_id is not a 64-bit integer", "3.5"),
        ("events", "ts cannot be read as a time", "yesterday"),
        ("events", "ts lies in the future", "9933221332117"),
        ("events", "user_id is missing", None),
        ("events", "wrong number of columns", None),
        ("items", "price is negative", "-1.000"),
    ]


def test_a_missing_part_of_the_properties_is_named(log):
    write_all(log)
    (log.folder / "item_properties_part2.csv").unlink()
    with pytest.raises(
        DataError, match=r"two parts, .*part1\.csv and .*part2\.csv, or .* has item_properties_part1\.csv;"
    ):
        log.build("retailrocket")


def test_the_properties_may_be_in_one_file_but_not_also_in_parts(log, items):
    write_all(log)
    log.write("item_properties.csv.gz", *PART_1, *PART_2[1:])
    with pytest.raises(DataError, match="keep one or the other"):
        log.build("retailrocket")
    for part in (1, 2):
        (log.folder / f"item_properties_part{part}.csv").unlink()
    store = log.build("retailrocket")
    assert items(store, "item_id", "category_id") == [(70000, None), (318965, "9"), (355908, "213")]


def test_a_folder_of_another_log_is_refused_with_what_it_holds(log):
    log.write("events.parquet", "not ours")
    with pytest.raises(DataError, match=r"lacks events\.csv \(also .*it holds events\.parquet"):
        log.build("retailrocket")


def test_a_file_of_the_same_name_with_other_columns_is_refused(log):
    write_all(log)
    log.write("events.csv", "timestamp,user,event,itemid", "1433221332117,1,view,2")
    with pytest.raises(DataError, match=r"events\.csv lacks visitorid, transactionid; .* has timestamp, user, event"):
        log.build("retailrocket")
