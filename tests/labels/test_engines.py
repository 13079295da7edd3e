"""The label queries are written once: DuckDB and SQLite, which shares no code with it, give the same rows."""

import datetime
import sqlite3
import tempfile
from pathlib import Path

import ibis
import ibis.expr.types as ir
from hypothesis import given, settings
from hypothesis import strategies as st

from lowerfunnel.labels import expressions
from lowerfunnel.labels.settings import DwellConfig, LabelConfig

Row = tuple[int, int, int, int, str, str | None, str | None, int | None, str | None, float | None]
START = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
TIME = "%Y-%m-%d %H:%M:%S.%f"
MINUTE = datetime.timedelta(minutes=1, microseconds=1)

rows = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from([0, 1, 2**53, 2**53 + 1]),
        st.integers(0, 6),
        st.integers(0, 2),
        st.sampled_from(["impression", "click", "hide", "view", "add_to_cart", "checkout", "lead"]),
        st.sampled_from(["home", "search", None]),
        st.sampled_from(["r1", "r2", None]),
        st.sampled_from([2**53 + 1, None]),
        st.sampled_from(["shoes", None]),
        st.sampled_from([0.0, 0.25, 3.0, 59.9, 60.0, 1e9, None]),
    ),
    min_size=1,
    max_size=40,
    unique=True,
)
CREATE = (
    "CREATE TABLE events (user_id BIGINT, item_id BIGINT, ts TIMESTAMPTZ, seq BIGINT, action TEXT, surface TEXT, "
    "request_id TEXT, context_item_id BIGINT, query TEXT, dwell_s DOUBLE)"
)
INSERT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
WEIGHTS = {"checkout": 1.0, "lead": 2.0, "view": 0.2, "click": 0.3}
config = LabelConfig(conversions=("checkout", "lead"), weights=WEIGHTS)


def query(name: str, events: ir.Table) -> ir.Table:
    """Return one of the label queries; times and ties alike decide what is first and what is last."""
    timed = expressions.with_order(events, "time")
    if name == "positives":
        return expressions.positives(timed, config)
    if name.startswith("weighed by dwell, "):
        dwell = DwellConfig(weight=name.removeprefix("weighed by dwell, "), t_max_s=60.0)
        return expressions.weighed_by_dwell(expressions.positives(timed, config), dwell)
    if name == "credited":
        return expressions.credited(expressions.positives(timed, config), timed, window_h=1 / 20)
    if name.startswith("ignored by "):
        ordered = expressions.with_order(events, name.removeprefix("ignored by "))
        return expressions.ignored(ordered, expressions.positives(ordered, config).filter(ibis._.action == "lead"))
    if name == "last conversions by time":
        return expressions.last_conversions(timed, config)
    if name == "last conversions by sequence":
        return expressions.last_conversions(expressions.with_order(events, "sequence"), config)
    if name == "conversions without order":
        return expressions.conversions(expressions.with_order(events, "none"), config)
    stop = None if name == "test" else START + 5 * MINUTE
    return expressions.between(timed, config, START + 2 * MINUTE, stop)


QUERIES = (
    "positives", "last conversions by time", "last conversions by sequence", "conversions without order", "validation",
    "test", "weighed by dwell, log2", "weighed by dwell, log", "credited", "ignored by time", "ignored by sequence",
    "ignored by none",
)  # fmt: skip


def rows_of_duckdb(connection: ibis.BaseBackend, table: ir.Table) -> list[str]:
    found = connection.to_pyarrow(table).to_pylist()
    return sorted(repr([_plain(value) for value in row.values()]) for row in found)


def rows_of_sqlite(connection: ibis.BaseBackend, table: ir.Table) -> list[str]:
    # Not through Ibis's own fetch, which warns of pandas.
    cursor = connection.raw_sql(ibis.to_sql(table, dialect="sqlite"))
    return sorted(repr([_plain(value) for value in row]) for row in cursor.fetchall())


def _plain(value: object) -> object:
    if isinstance(value, float):
        # Their logarithms may differ in the last digit.
        return round(value, 12)
    return value.strftime(TIME) if isinstance(value, datetime.datetime) else value


@settings(max_examples=15, deadline=None)
@given(rows)
def test_both_engines_give_the_same_rows(log: list[Row]) -> None:
    times = [START + row[2] * MINUTE for row in log]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.sqlite"
        database = sqlite3.connect(path)
        # SQLite keeps times as text, in the form in which Ibis writes its literals.
        database.execute(CREATE)
        database.executemany(INSERT, [(*r[:2], t.strftime(TIME), *r[3:]) for r, t in zip(log, times, strict=True)])
        database.commit()
        database.close()
        sqlite, duck = ibis.sqlite.connect(path), ibis.duckdb.connect()
        try:
            duck.raw_sql(CREATE)
            duck.con.executemany(INSERT, [(*r[:2], t, *r[3:]) for r, t in zip(log, times, strict=True)])
            for name in QUERIES:
                expected = rows_of_sqlite(sqlite, query(name, sqlite.table("events")))
                assert rows_of_duckdb(duck, query(name, duck.table("events"))) == expected, name
        finally:
            sqlite.disconnect()
            duck.disconnect()
