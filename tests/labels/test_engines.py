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
from lowerfunnel.labels.settings import LabelConfig

Row = tuple[int, int, int, int, str, str | None]
START = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
TIME = "%Y-%m-%d %H:%M:%S.%f"
MINUTE = datetime.timedelta(minutes=1, microseconds=1)

rows = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from([0, 1, 2**53, 2**53 + 1]),
        st.integers(0, 6),
        st.integers(0, 2),
        st.sampled_from(["view", "add_to_cart", "checkout", "lead"]),
        st.sampled_from(["home", "search", None]),
    ),
    min_size=1,
    max_size=40,
    unique=True,
)
config = LabelConfig(conversions=("checkout", "lead"), weights={"checkout": 1.0, "lead": 2.0, "view": 0.2})


def query(name: str, events: ir.Table) -> ir.Table:
    """Return one of the label queries; times and ties alike decide what is first and what is last."""
    timed = expressions.with_order(events, "time")
    if name == "positives":
        return expressions.positives(timed, config)
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
    "test",
)  # fmt: skip


def rows_of_duckdb(connection: ibis.BaseBackend, table: ir.Table) -> list[str]:
    found = connection.to_pyarrow(table).to_pylist()
    return sorted(repr([_plain(value) for value in row.values()]) for row in found)


def rows_of_sqlite(connection: ibis.BaseBackend, table: ir.Table) -> list[str]:
    # Not through Ibis's own fetch, which warns of pandas.
    cursor = connection.raw_sql(ibis.to_sql(table, dialect="sqlite"))
    return sorted(repr(list(row)) for row in cursor.fetchall())


def _plain(value: object) -> object:
    return value.strftime(TIME) if isinstance(value, datetime.datetime) else value


@settings(max_examples=15, deadline=None)
@given(rows)
def test_both_engines_give_the_same_rows(log: list[Row]) -> None:
    times = [START + row[2] * MINUTE for row in log]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.sqlite"
        database = sqlite3.connect(path)
        create = "(user_id BIGINT, item_id BIGINT, ts {}, seq BIGINT, action TEXT, surface TEXT)"
        # SQLite keeps times as text, in the form in which Ibis writes its literals.
        database.execute("CREATE TABLE events " + create.format("TIMESTAMPTZ"))
        database.executemany(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)",
            [(r[0], r[1], t.strftime(TIME), r[3], r[4], r[5]) for r, t in zip(log, times, strict=True)],
        )
        database.commit()
        database.close()
        sqlite, duck = ibis.sqlite.connect(path), ibis.duckdb.connect()
        try:
            duck.raw_sql("CREATE TABLE events " + create.format("TIMESTAMPTZ"))
            duck.con.executemany(
                "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)",
                [(r[0], r[1], t, r[3], r[4], r[5]) for r, t in zip(log, times, strict=True)],
            )
            for name in QUERIES:
                expected = rows_of_sqlite(sqlite, query(name, sqlite.table("events")))
                assert rows_of_duckdb(duck, query(name, duck.table("events"))) == expected, name
        finally:
            sqlite.disconnect()
            duck.disconnect()
