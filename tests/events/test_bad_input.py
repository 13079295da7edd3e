"""Every bad input has one clear sentence, and every bad row a reason; nothing is dropped in silence."""

import errno
import gzip
import json
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.events.event_logs import EVENTS, HEADER, NOW_US, build, events_of, quality_of, write

from lowerfunnel.config import load_settings
from lowerfunnel.errors import ConfigError, DataError, LowerfunnelError, RunError
from lowerfunnel.events.build import build_store
from lowerfunnel.events.settings import LogConfig, SourceConfig
from lowerfunnel.events.store import EventStore

GOOD = "".join(f"{user},1,view,5\n" for user in range(20))


def error_of(kind: type[LowerfunnelError], folder: Path, *sources: SourceConfig, **settings: object) -> str:
    with pytest.raises(kind) as caught:
        build(folder, *sources, **settings)
    message = str(caught.value)
    assert "\n" not in message
    assert not (folder / "store").exists()
    return message


BAD_ROWS = {
    ",2,view,5": "user_id is missing",
    "1,,view,5": "item_id is missing",
    "1,2,,5": "action is missing",
    "1,2,view,": "ts is missing",
    "1,2,view,yesterday": "ts cannot be read as a time",
    "1,2,view,99999999999999999999": "ts cannot be read as a time",
    "1,2,view,nan": "ts cannot be read as a time",
    f"1,2,view,{NOW_US // 1_000_000 + 2 * 86_400}": "ts lies in the future",
    "1,2,bought,5": "action is unknown",
    "1,2,view": "wrong number of columns",
    "1,2,view,5,6": "wrong number of columns",
    '1,"a"b,view,5': "a quote that is not closed",
}


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS.items())
def test_a_bad_row_is_set_aside_with_its_place_and_reason(tmp_path, row, reason):
    write(tmp_path, "events.csv", f"{HEADER}{GOOD}{row}\n30,1,view,5\n")
    store = build(tmp_path)
    assert store.info.events == 21
    (bad,) = quality_of(store).bad_rows
    assert (bad.table, bad.reason, bad.rows, bad.file, bad.row) == ("events", reason, 1, "events.csv", 21)
    (kept,) = store.quarantine().to_pylist()
    assert (kept["reason"], kept["row"], kept["raw"]) == (reason, 21, bad.example)
    if reason.startswith("wrong") or "quote" in reason:
        assert bad.example == row
    else:
        assert [value or "" for value in json.loads(bad.example).values()] == row.split(",")


def test_text_that_is_not_utf_8_is_set_aside(tmp_path):
    write(tmp_path, "events.csv", f"{HEADER}{GOOD}".encode() + b"1,\xff\xfe,view,5\n")
    assert quality_of(build(tmp_path)).quarantined == {"text that is not UTF-8": 1}


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("value", "-1", "value is negative"),
        ("value", "NaN", "value is NaN or infinite"),
        ("value", "inf", "value is NaN or infinite"),
        ("value", "much", "value is not a number"),
        ("dwell_s", "-0.5", "dwell_s is negative"),
        ("position", "1.5", "position is not a whole number"),
        ("position", "99999999999", "position is not a whole number"),
        ("seq", "x", "seq is not a whole number"),
        ("propensity", "0", "propensity is not above 0 and at most 1"),
        ("propensity", "1.01", "propensity is not above 0 and at most 1"),
        ("propensity", "-0.1", "propensity is negative"),
        ("propensity", "nan", "propensity is NaN or infinite"),
        ("propensity", "high", "propensity is not a number"),
    ],
)
def test_a_bad_number_is_set_aside(tmp_path, column, value, reason):
    rows = "".join(f"{row},1\n" for row in GOOD.splitlines())
    write(tmp_path, "events.csv", f"user_id,item_id,action,ts,{column}\n{rows}30,1,view,5,{value}\n")
    assert quality_of(build(tmp_path)).quarantined == {reason: 1}


@pytest.mark.parametrize(
    ("received", "reason"),
    [
        ("soon", "received_ts cannot be read as a time"),
        (str(NOW_US // 1_000_000 + 2 * 86_400), "received_ts lies in the future"),
        ("399", "received_ts is more than 10 minutes before ts"),
    ],
)
def test_a_bad_time_of_arrival_is_set_aside(tmp_path, received, reason):
    rows = "".join(f"{user},1,view,1000,1000\n" for user in range(20))
    header = "user_id,item_id,action,ts,received_ts\n"
    write(tmp_path, "events.csv", f"{header}{rows}30,1,view,1000,{received}\n31,1,view,1000,\n32,1,view,1000,500\n")
    store = build(tmp_path)
    assert quality_of(store).quarantined == {reason: 1}
    received_s = {row["user_id"]: row["received_ts"] and row["received_ts"].timestamp() for row in events_of(store)}
    assert (received_s[0], received_s[31], received_s[32]) == (1000, None, 500)


def test_reports_of_one_event_that_only_arrived_twice_do_not_contradict_each_other(tmp_path):
    header = "event_id,user_id,item_id,action,ts,received_ts\n"
    write(
        tmp_path,
        "events.csv",
        f"{header}a,1,1,checkout,5,6\na,1,1,checkout,5,900\nb,1,1,checkout,5,6\nb,1,2,checkout,5,6\n",
    )
    store = build(tmp_path)
    assert store.info.events == 2
    assert quality_of(store).conflicting_event_ids == 1


@pytest.mark.parametrize(
    ("price", "reason"),
    [("-3", "price is negative"), ("nan", "price is NaN or infinite"), ("free", "price is not a number")],
)
def test_an_item_with_a_bad_price_is_set_aside_and_known_by_its_id(tmp_path, price, reason):
    write(tmp_path, "events.csv", HEADER + GOOD)
    write(tmp_path, "items.csv", "item_id,price\n" + "".join(f"{i},2\n" for i in range(50, 90)) + f"1,{price}\n")
    store = build(tmp_path, items=(SourceConfig(files="items.csv"),))
    assert [(bad.table, bad.reason) for bad in quality_of(store).bad_rows] == [("items", reason)]
    assert store.items().to_pylist()[0] | {"item_id": 1, "price": None} == store.items().to_pylist()[0]


def test_an_id_that_must_be_an_integer_and_is_not_is_set_aside(tmp_path):
    write(tmp_path, "events.csv", f"{HEADER}{GOOD}guest,1,view,5\n")
    store = build(tmp_path, user_id_type="int64")
    assert store.info.user_id_type == "int64"
    assert quality_of(store).quarantined == {"user_id is not a 64-bit integer": 1}


def test_counts_are_exact_and_samples_bounded(tmp_path):
    write(tmp_path, "events.csv", HEADER + GOOD + "1,2,view,x\n" * 1500 + "1,2\n" * 1200)
    store = build(tmp_path, max_quarantined_share=1.0)
    assert quality_of(store).quarantined == {"ts cannot be read as a time": 1500, "wrong number of columns": 1200}
    assert quality_of(store).rows["events"].read == 2720
    reasons = store.quarantine()["reason"].to_pylist()
    assert {reason: reasons.count(reason) for reason in reasons} == {
        "ts cannot be read as a time": 1000,
        "wrong number of columns": 1000,
    }


def test_rows_keep_their_numbers_behind_lines_that_are_no_rows(tmp_path):
    write(tmp_path, "events.csv", f"{HEADER}1,1\n1,1\n1,1,view,x\n1,1\n1,1,view,y\n{GOOD}")
    bad = quality_of(build(tmp_path, max_quarantined_share=0.9)).bad_rows
    assert {each.reason: (each.rows, each.row) for each in bad} == {
        "wrong number of columns": (3, 1),
        "ts cannot be read as a time": (2, 3),
    }


def test_too_many_bad_rows_stop_the_import(tmp_path):
    write(tmp_path, "events.csv", f"{HEADER}1,2,view,soon\n1,2\n1,2,view,later\n1,2,view,5\n")
    assert error_of(DataError, tmp_path) == (
        "events: 3 of 4 rows cannot be used (75.0%, and at most 10.0% may be by max_quarantined_share): ts cannot be read as "
        "a time (2); wrong number of columns (1); for example row 1 of events.csv: "
        '{"user_id":"1","item_id":"2","action":"view","ts":"soon"}'
    )


def test_actions_that_map_nothing_stop_the_import(tmp_path):
    write(tmp_path, "events.csv", f"{HEADER}1,2,pv,5\n1,2,buy,5\n")
    message = error_of(DataError, tmp_path)
    assert message.startswith(
        "events.0: none of its actions is known; the files say 'buy', 'pv': write what each means in"
    )


def write_parquet(folder: Path, **columns: object) -> SourceConfig:
    pq.write_table(pa.table(columns), folder / "events.parquet")
    return SourceConfig(files="events.parquet", constants={"action": "view"})


def test_an_id_that_went_through_a_float_is_refused(tmp_path):
    source = write_parquet(tmp_path, user_id=[1.0], item_id=[1])
    assert error_of(DataError, tmp_path, source) == (
        "events.parquet: the column 'user_id' for user_id is of type DOUBLE, and an id that went through a fraction may have "
        "lost digits; write it as an integer or as text"
    )


def test_a_wrong_column_is_named_with_what_was_meant(tmp_path):
    write(tmp_path, "events.csv", "visitorid,itemid,event,timestamp\n1,2,view,5\n")
    source = SourceConfig(files="events.csv", columns={"user_id": "visitorId", "item_id": "itemid", "action": "event"})
    assert error_of(DataError, tmp_path, source) == (
        "events.0.columns: events.csv has no column 'visitorId' (did you mean 'visitorid'?)"
    )


def test_a_needed_column_that_nothing_gives_is_named(tmp_path):
    write(tmp_path, "events.csv", "user_id,item,action\n1,2,view\n")
    assert error_of(DataError, tmp_path) == (
        "events.0: nothing gives item_id; name its column in events.0.columns or its value in events.0.constants "
        "(events.csv has user_id, item, action)"
    )


def test_a_file_that_is_not_there_is_named_with_what_was_meant(tmp_path):
    write(tmp_path, "event.csv", HEADER + GOOD)
    assert error_of(DataError, tmp_path) == (
        f"events.0.files has 'events.csv', and nothing in {tmp_path} is named so (did you mean 'event.csv'?)"
    )
    nowhere = tmp_path / "nowhere"
    with pytest.raises(DataError) as caught:
        build_store(LogConfig(events=(EVENTS,)), nowhere, tmp_path / "store")
    assert str(caught.value) == f"the data folder {nowhere} does not exist; give the right one with --data"
    assert "leads out of the data folder" in error_of(ConfigError, tmp_path, SourceConfig(files="../x.csv"))


def test_empty_files_are_refused(tmp_path):
    write(tmp_path, "events.csv", "")
    assert error_of(DataError, tmp_path) == "events.csv is empty (0 bytes); a table was expected there"
    write(tmp_path, "events.csv", HEADER)
    assert error_of(DataError, tmp_path) == (
        "events: its files hold no rows, only the names of columns; at least one row is needed"
    )


@pytest.mark.parametrize("ending", ["gz", "zst"])
@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_damaged_compressed_file_is_refused_and_not_half_read(tmp_path, ending, damage):
    text = (HEADER + "".join(f"{user},{user * 7919 % 1000},view,5\n" for user in range(20_000))).encode()
    whole = gzip.compress(text) if ending == "gz" else pa.compress(text, codec="zstd", asbytes=True)
    middle = len(whole) // 2
    bad = whole[:middle] if damage == "cut" else whole[:middle] + b"\xff\x00\xff\x00\xff" + whole[middle + 5 :]
    write(tmp_path, f"events.csv.{ending}", whole)
    assert build(tmp_path, SourceConfig(files="events.csv.*")).info.events == 20_000
    write(tmp_path / "other", f"events.csv.{ending}", bad)
    message = error_of(DataError, tmp_path / "other", SourceConfig(files="events.csv.*"))
    assert message.startswith(
        (f"events.csv.{ending} is cut off or damaged after ", f"events.csv.{ending} holds a NUL byte")
    )


def test_a_damaged_parquet_file_is_refused(tmp_path):
    source = write_parquet(tmp_path, user_id=[1], item_id=[1])
    whole = (tmp_path / "events.parquet").read_bytes()
    write(tmp_path, "events.parquet", whole[: len(whole) // 2])
    message = error_of(DataError, tmp_path, source)
    assert message.startswith("events.parquet is no whole Parquet file (")
    assert message.endswith("); copy it again")


def test_nul_bytes_and_quotes_without_end_are_refused(tmp_path):
    write(tmp_path, "events.csv", f"{HEADER}1,2\0,view,5\n")
    assert error_of(DataError, tmp_path) == (
        "events.csv holds a NUL byte at byte 29, so it is no UTF-8 text; save it as UTF-8, or set its format"
    )
    write(tmp_path, "events.csv", f'{HEADER}1,"2,view,5\n{GOOD}')
    assert error_of(DataError, tmp_path) == (
        "events.csv: row 1 opens a quote that is not closed, so the rows after it cannot be told apart; mend the row, "
        "which begins '1,\"2,view,5'"
    )


def test_sources_of_events_must_agree_on_their_order(tmp_path):
    write(tmp_path, "events.csv", HEADER + GOOD)
    write(tmp_path, "more.csv", "user_id,item_id,action\n1,2,view\n")
    assert error_of(DataError, tmp_path, EVENTS, SourceConfig(files="more.csv")) == (
        "events.1 gives no ts and the files before it give one; a log is ordered by one thing throughout"
    )


@pytest.mark.parametrize("column", ["content", "visual"])
def test_vectors_of_two_lengths_are_refused(tmp_path, column):
    write(tmp_path, "events.csv", HEADER + GOOD)
    write(tmp_path, "items.csv", f'item_id,{column}\n1,"[1,2]"\n2,"[1]"\n')
    assert error_of(DataError, tmp_path, items=(SourceConfig(files="items.csv"),)) == (
        f"items: {column} vectors must have one length, and item 2 has 1 numbers, item 1 has 2"
    )


@pytest.mark.parametrize("column", ["content", "visual"])
@pytest.mark.parametrize("value", ["[1,nan]", "[inf,1]", "[]", "[1,null]", "red", "3"])
def test_a_vector_that_is_none_is_set_aside_and_two_vectors_are_two_columns(tmp_path, column, value):
    write(tmp_path, "events.csv", HEADER + GOOD)
    good = "".join(f'{item},"[1,2]","[3,4,5]"\n' for item in range(50, 90))
    bad = f'1,"{value}",\n' if column == "content" else f'1,,"{value}"\n'
    write(tmp_path, "items.csv", f"item_id,content,visual\n{good}{bad}")
    store = build(tmp_path, items=(SourceConfig(files="items.csv"),))
    assert [each.reason for each in quality_of(store).bad_rows] == [f"{column} is not a vector of finite numbers"]
    rows = {row["item_id"]: row for row in store.items().to_pylist()}
    assert (rows[1]["content"], rows[1]["visual"]) == (None, None)
    assert (rows[50]["content"], rows[50]["visual"]) == ([1, 2], [3, 4, 5])


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT nothing FROM source", "events.0.query cannot be run"),
        ("DROP TABLE files", "must be one SELECT"),
        ("SELECT 1; SELECT 2", "must be one SELECT"),
        ("SELECT * FROM read_csv('/etc/passwd')", "events.0.query cannot be run"),
    ],
)
def test_a_query_can_only_select_from_the_source(tmp_path, query, words):
    write(tmp_path, "events.csv", HEADER + GOOD)
    assert words in error_of(ConfigError, tmp_path, SourceConfig(files="events.csv", query=query))


def test_an_unknown_reader_is_refused(tmp_path):
    assert "did you mean 'generic'?" in error_of(ConfigError, tmp_path, reader="generics")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"events": [{"files": "e.csv", "column": {}}]}, "did you mean events.0.columns"),
        ({"events": [{"files": "e.csv", "columns": {"user": "u"}}]}, "events.0.columns has user; there is event_id"),
        ({"events": [{"files": "e.csv", "actions": {"buy": "purchase"}}]}, "actions maps to purchase; the canonical"),
        ({"events": [{"files": []}]}, "files names no file"),
        ({"events": [{"files": "e.csv", "header": False}]}, "need column_names"),
        ({"events": [{"files": "e.csv", "attributes": ["x"]}]}, "events have none"),
        ({"items": [{"files": "e.csv", "actions": {"a": "view"}}]}, "items and users have none"),
        ({"events": [{"files": "e.csv", "tables": {"t": "t.csv"}}]}, "query is not given"),
        ({"buckets": 0}, "buckets must lie in 1..4096, got 0"),
    ],
)
def test_bad_settings_are_told_with_their_place(table, words):
    with pytest.raises(ConfigError) as caught:
        load_settings(LogConfig, table, source="recipe")
    assert words in str(caught.value)


def test_a_store_that_is_not_whole_is_refused(tmp_path):
    write(tmp_path, "events.csv", HEADER + GOOD)
    store = build(tmp_path)
    store.verify()
    items = store.path / "items.parquet"
    whole = items.read_bytes()
    items.write_bytes(whole[:-1] + b"?")
    with pytest.raises(RunError, match=r"the content of items\.parquet changed"):
        EventStore.open(store.path).verify()
    items.write_bytes(whole[:-1])
    with pytest.raises(RunError, match=r"items\.parquet has .* bytes and should have"):
        EventStore.open(store.path)
    items.unlink()
    with pytest.raises(RunError, match=r"items\.parquet is missing; copy it again or import the log again"):
        EventStore.open(store.path)
    with pytest.raises(RunError, match="holds no store"):
        EventStore.open(tmp_path)
    write(store.path, "store.json", '{"info": {"version": 99}, "files": {}}')
    with pytest.raises(RunError, match="has version 99, and this program reads version 3"):
        EventStore.open(store.path)
    write(store.path, "store.json", "{")
    with pytest.raises(RunError, match=r"store\.json cannot be read"):
        EventStore.open(store.path)


def test_a_failed_import_leaves_the_old_store_alone(tmp_path):
    write(tmp_path, "events.csv", HEADER + GOOD)
    before = events_of(build(tmp_path))
    write(tmp_path, "events.csv", "")
    with pytest.raises(DataError):
        build(tmp_path)
    assert events_of(EventStore.open(tmp_path / "store")) == before


@pytest.mark.parametrize("error", ["python", "engine"])
def test_a_full_disk_is_told_as_such(tmp_path, monkeypatch, error):
    def full(*_: object, **__: object) -> None:
        if error == "python":
            raise OSError(errno.ENOSPC, "No space left on device")
        raise duckdb.IOException('IO Error: Could not write file "x": No space left on device')

    write(tmp_path, "events.csv", HEADER + GOOD)
    monkeypatch.setattr(pq, "write_table", full)
    assert error_of(RunError, tmp_path).startswith("no space left on the disk")


def test_a_memory_limit_that_is_no_size_is_told(tmp_path):
    write(tmp_path, "events.csv", HEADER + GOOD)
    with pytest.raises(RunError, match="the engine does not start with threads=1, memory_limit='lots'"):
        build_store(LogConfig(events=(EVENTS,)), tmp_path, tmp_path / "store", threads=1, memory_limit="lots")
