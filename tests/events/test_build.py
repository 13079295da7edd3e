"""Laws of the import: ids stay exact, duplicates and the order of files change nothing."""

import datetime
import gzip
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.events.event_logs import EVENTS, HEADER, build, bytes_of, events_of, quality_of, write

from lowerfunnel.errors import DataError
from lowerfunnel.events.fingerprint import fingerprint
from lowerfunnel.events.schema import event_schema, item_schema, user_schema
from lowerfunnel.events.settings import LogConfig, SourceConfig

FEW = settings(max_examples=8, deadline=None)
INT64 = st.integers(-(2**63), 2**63 - 1)
ROWS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 5), st.sampled_from(["view", "checkout"]), st.integers(0, 9)),
    min_size=1,
    max_size=20,
)


def csv_of(rows):
    return HEADER + "".join(f"{user},{item},{action},{ts}\n" for user, item, action, ts in rows)


def folder():
    return tempfile.TemporaryDirectory()


@FEW
@given(st.lists(st.tuples(INT64, INT64), min_size=1, max_size=10), st.booleans())
def test_ids_of_64_bits_survive(pairs, as_parquet):
    with folder() as name:
        path = Path(name)
        if as_parquet:
            users, items = zip(*pairs, strict=True)
            table = {"user_id": pa.array(users, pa.int64()), "item_id": pa.array(items, pa.int64())}
            pq.write_table(pa.table(table), path / "events.parquet")
            source = SourceConfig(files="events.parquet", constants={"action": "view"})
        else:
            write(path, "events.csv", "user_id,item_id\n" + "".join(f"{u},{i}\n" for u, i in pairs))
            source = SourceConfig(files="events.csv", constants={"action": "view"})
        store = build(path, source)
        assert store.info.user_id_type == store.info.item_id_type == "int64"
        assert {(row["user_id"], row["item_id"]) for row in events_of(store)} == set(pairs)


@pytest.mark.parametrize(
    "identifier", ["007", "+7", " 7", "7.0", "1e3", "a", "9223372036854775808", "0x1F", "1_0", "-0"]
)
def test_an_id_that_is_no_canonical_integer_makes_all_of_its_kind_texts(tmp_path, identifier):
    write(tmp_path, "events.csv", f"{HEADER}{identifier},1,view,5\n8,2,view,5\n")
    store = build(tmp_path)
    assert (store.info.user_id_type, store.info.item_id_type) == ("string", "int64")
    assert {row["user_id"] for row in events_of(store)} == {identifier, "8"}


@FEW
@given(ROWS, st.data())
def test_a_duplicate_event_changes_nothing(rows, data):
    again = data.draw(st.lists(st.sampled_from(rows), max_size=5))
    with folder() as one, folder() as other:
        write(Path(one), "events.csv", csv_of(rows))
        write(Path(other), "events.csv", csv_of(rows + again))
        first, second = build(Path(one)), build(Path(other))
        assert bytes_of(first) == bytes_of(second)
        assert quality_of(second).duplicates == quality_of(first).duplicates + len(again)


@FEW
@given(ROWS, st.integers(1, 3), st.booleans())
def test_the_order_in_which_files_are_named_changes_nothing(rows, parts, compressed):
    with folder() as one, folder() as other:
        names = [f"part{number}.csv{'.gz' if compressed else ''}" for number in range(parts)]
        for number, name in enumerate(names):
            text = csv_of(rows[number::parts]).encode()
            for path in (one, other):
                write(Path(path), name, gzip.compress(text) if compressed else text)
        first = build(Path(one), SourceConfig(files=tuple(names)))
        second = build(Path(other), SourceConfig(files=tuple(reversed(names))))
        assert bytes_of(first) == bytes_of(second)


@FEW
@given(ROWS)
def test_the_same_rows_give_the_same_bytes_as_csv_and_as_parquet(rows):
    with folder() as one, folder() as other:
        write(Path(one), "events.csv", csv_of(rows))
        users, items, actions, ts = zip(*rows, strict=True)
        table = {"user_id": users, "item_id": items, "action": actions, "ts": ts}
        pq.write_table(pa.table(table), Path(other) / "events.parquet")
        assert bytes_of(build(Path(one))) == bytes_of(build(Path(other), SourceConfig(files="*.parquet")))


def test_more_threads_change_nothing(tmp_path):
    text = csv_of((row % 997, row % 1009, "view", row // 50) for row in range(200_000)) + "1,2\n"
    for name in ("one", "four"):
        write(tmp_path / name, "events.csv", text)
    assert bytes_of(build(tmp_path / "one")) == bytes_of(build(tmp_path / "four", threads=4))


def test_events_are_sorted_and_typed_as_promised(tmp_path):
    write(tmp_path, "events.csv", csv_of([(2, 1, "view", 9), (1, 3, "checkout", 7), (1, 2, "view", 3)]))
    store = build(tmp_path)
    for table in store.buckets():
        assert table.schema.equals(event_schema("int64", "int64"))
    assert [(row["user_id"], row["item_id"], row["seq"]) for row in events_of(store)] == [
        (1, 2, 0),
        (1, 3, 1),
        (2, 1, 0),
    ]
    assert store.items().schema.equals(item_schema("int64"))
    assert store.users().schema.equals(user_schema("int64"))
    assert store.info.order == "time"
    assert (store.info.first_ts_us, store.info.last_ts_us) == (3_000_000, 9_000_000)
    assert store.info.actions == {"view": 2, "checkout": 1}
    assert store.given_test() is None


def test_event_ids_tell_equal_events_apart_and_repeated_ones_are_removed(tmp_path):
    rows = "e1,1,1,view,5\ne2,1,1,view,5\ne1,1,1,view,5\ne2,1,9,view,6\n,1,1,view,5\n,1,1,view,5\n"
    write(tmp_path, "events.csv", "event_id,user_id,item_id,action,ts\n" + rows)
    store = build(tmp_path)
    assert [(row["event_id"], row["item_id"]) for row in events_of(store)] == [("e1", 1), ("e2", 1), (None, 1)]
    quality = quality_of(store)
    assert (quality.duplicates, quality.conflicting_event_ids) == (3, 1)


def test_a_log_without_time_holds_each_user_item_action_once(tmp_path):
    write(tmp_path, "events.csv", "user_id,item_id,action\n1,2,view\n1,2,view\n1,2,checkout\n1,1,view\n")
    store = build(tmp_path)
    assert store.info.order == "none"
    assert [(row["item_id"], row["action"], row["ts"]) for row in events_of(store)] == [
        (1, "view", None),
        (2, "checkout", None),
        (2, "view", None),
    ]


def test_an_order_column_orders_a_log_without_time(tmp_path):
    write(tmp_path, "events.csv", "user_id,item_id,position\n1,7,2\n1,8,1\n1,8,0\n")
    source = SourceConfig(files="events.csv", columns={"seq": "position"}, constants={"action": "checkout"})
    store = build(tmp_path, source)
    assert store.info.order == "sequence"
    assert [(row["item_id"], row["seq"], row["position"]) for row in events_of(store)] == [
        (8, 0, None),
        (8, 1, None),
        (7, 2, None),
    ]


@pytest.mark.parametrize(
    ("unit", "text", "us"),
    [
        ("s", "1569888000", 1_569_888_000_000_000),
        ("s", "1569888000.25", 1_569_888_000_250_000),
        ("ms", "1569888000001", 1_569_888_000_001_000),
        ("us", "1569888000000001", 1_569_888_000_000_001),
        ("ns", "1569888000000001999", 1_569_888_000_000_001),
        ("iso", "2019-10-01 00:00:00 UTC", 1_569_888_000_000_000),
        ("iso", "2019-10-01T02:00:00+02:00", 1_569_888_000_000_000),
        ("iso", "2019-10-01", 1_569_888_000_000_000),
        ("s", "-5", -5_000_000),
    ],
)
def test_times_are_read_in_their_unit(tmp_path, unit, text, us):
    write(tmp_path, "events.csv", f"{HEADER}1,1,view,{text}\n")
    assert build(tmp_path, SourceConfig(files="events.csv", time_unit=unit)).info.first_ts_us == us


def test_times_come_from_timestamps_of_parquet_and_from_other_formats(tmp_path):
    moment = datetime.datetime(2019, 10, 1, 0, 0, 0, 5)
    table = {"user_id": [1], "item_id": [1], "action": ["view"], "ts": [moment]}
    pq.write_table(pa.table(table), tmp_path / "events.parquet")
    assert build(tmp_path, SourceConfig(files="events.parquet")).info.first_ts_us == 1_569_888_000_000_005
    write(tmp_path, "events.csv", f"{HEADER}1,1,view,01.10.2019\n")
    assert (
        build(tmp_path, SourceConfig(files="events.csv", time_format="%d.%m.%Y")).info.first_ts_us
        == 1_569_888_000_000_000
    )


def test_columns_actions_and_constants_are_mapped(tmp_path):
    write(tmp_path, "pv.tsv", "who\twhat\tkind\twhen\tprice\n5\t6\tbuy\t7\t1.5\n5\t6\tping\t8\t\n5\t6\tview\t8\t\n")
    source = SourceConfig(
        files="pv.tsv",
        columns={"user_id": "who", "item_id": "what", "action": "kind", "ts": "when", "value": "price"},
        actions={"buy": "checkout"},
        ignore_actions=("ping",),
        constants={"surface": "search", "currency": "EUR"},
    )
    store = build(tmp_path, source)
    rows = events_of(store)
    assert [(row["action"], row["value"], row["surface"], row["currency"]) for row in rows] == [
        ("checkout", 1.5, "search", "EUR"),
        ("view", None, "search", "EUR"),
    ]
    assert quality_of(store).rows["events"].ignored == 1
    assert store.info.surfaces == {"search": 2}


def test_files_without_a_header_are_named_by_the_recipe(tmp_path):
    write(tmp_path, "events.csv", "1,2,pv,9\n")
    names = ("user_id", "item_id", "action", "ts")
    store = build(tmp_path, SourceConfig(files="events.csv", column_names=names, actions={"pv": "view"}))
    assert store.info.actions == {"view": 1}


def test_catalogue_and_users_have_every_id_and_the_first_row_of_each_wins(tmp_path):
    write(tmp_path, "events.csv", f"{HEADER}1,10,view,5\n2,12,view,5\n")
    write(tmp_path, "test.csv", "user_id,item_id\n3,13\n")
    write(tmp_path, "items.csv", "item_id,advertiser_id,price,colour\n11,a,1.5,red\n10,a,2,\n10,b,2,\n")
    write(tmp_path, "users.csv", "user_id,age\n9,30\n1,20\n1,20\n")
    store = build(
        tmp_path,
        items=(SourceConfig(files="items.csv", attributes=("colour",)),),
        users=(SourceConfig(files="users.csv", attributes=("age",)),),
        test=(SourceConfig(files="test.csv", constants={"action": "checkout"}),),
    )
    items = store.items().to_pylist()
    assert [(i["item_id"], i["advertiser_id"], i["price"], i["attributes"]) for i in items] == [
        (10, "a", 2.0, None),
        (11, "a", 1.5, ["colour=red"]),
        (12, None, None, None),
        (13, None, None, None),
    ]
    assert [(u["user_id"], u["attributes"]) for u in store.users().to_pylist()] == [
        (1, ["age=20"]),
        (2, None),
        (3, None),
        (9, ["age=30"]),
    ]
    test = store.given_test()
    assert test is not None
    assert test.to_pylist()[0]["ts"] is None
    quality = quality_of(store)
    assert (quality.repeated_items, quality.conflicting_items) == (1, 1)
    assert (quality.repeated_users, quality.conflicting_users) == (1, 0)
    assert (quality.items_not_in_catalogue, quality.catalogue_items_never_seen) == (1, 1)
    assert quality.test is not None
    assert quality.test.users_without_events == 1


def test_lists_become_several_tokens_and_vectors_stay_vectors(tmp_path):
    write(tmp_path, "events.csv", f"{HEADER}1,10,view,5\n")
    table = {
        "item_id": [10, 11],
        "tags": [["a", "b"], []],
        "content": [[1.0, 2.0], None],
        "attributes": [["new"], None],
    }
    pq.write_table(pa.table(table), tmp_path / "items.parquet")
    store = build(tmp_path, items=(SourceConfig(files="items.parquet", attributes=("tags",)),))
    items = store.items().to_pylist()
    assert items[0]["attributes"] == ["new", "tags=a", "tags=b"]
    assert items[0]["content"] == [1.0, 2.0]
    assert items[1]["attributes"] is None


def test_a_query_reshapes_a_source_with_other_tables(tmp_path):
    write(tmp_path, "events.csv", "who,what,category\n1,2,c\n1,3,d\nbroken\n")
    write(tmp_path, "tree.csv", "category,parent\nc,p\n")
    source = SourceConfig(
        files="events.csv",
        query="SELECT who AS user_id, what AS item_id, parent AS surface, row_number() OVER () AS ts "
        "FROM source LEFT JOIN tree USING (category) ORDER BY what",
        tables={"tree": "tree.csv"},
        constants={"action": "view"},
    )
    store = build(tmp_path, source, max_quarantined_share=0.5)
    assert [(row["item_id"], row["surface"]) for row in events_of(store)] == [(2, "p"), (3, None)]
    assert [(bad.file, bad.row, bad.example) for bad in quality_of(store).bad_rows] == [("events.csv", 3, "broken")]


def test_the_fingerprint_changes_with_content_and_settings_only(tmp_path):
    write(tmp_path, "events.csv", f"{HEADER}1,1,view,5\n")
    first = fingerprint(LogConfig(events=(EVENTS,)), tmp_path)
    write(tmp_path, "other.csv", "nothing to do with it")
    (tmp_path / "events.csv").touch()
    assert fingerprint(LogConfig(events=(EVENTS,)), tmp_path) == first
    assert fingerprint(LogConfig(events=(EVENTS,), buckets=3), tmp_path) != first
    write(tmp_path, "events.csv", f"{HEADER}1,1,view,6\n")
    assert fingerprint(LogConfig(events=(EVENTS,)), tmp_path) != first
    with pytest.raises(DataError, match="nothing in"):
        fingerprint(LogConfig(events=(SourceConfig(files="gone.csv"),)), tmp_path)
