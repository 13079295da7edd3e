"""The online store in one SQLite file, embedded in the process: the default.

A write returns when it is on the disk (write-ahead log, flushed at every commit; writes of many threads share a flush). Reads
have connections of their own and are never held up by writes. Several processes may use one file.

Threads: a timeline is one call into SQLite that returns one row. A query that returned a row per event would give up and
regain the interpreter's lock for every event, and wait for whoever took it meanwhile.
"""

import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from lowerfunnel.serving.records import EligibilityChange, EventRecord, ItemChange, ItemRecord
from lowerfunnel.serving.requests import Id
from lowerfunnel.serving.store.encoding import (
    check_events,
    check_id,
    check_int64,
    check_text,
    item_of,
    item_text,
    rest_text,
    timeline_of,
    timeline_parts,
)
from lowerfunnel.serving.store.group_commit import GroupCommit
from lowerfunnel.serving.store.in_time import InTime
from lowerfunnel.serving.store.sqlite_file import connect_to_read, connect_to_write, explained, prepare
from lowerfunnel.serving.user_timeline import UserTimeline

T = TypeVar("T")

_READERS = 16

# group_concat keeps the order of its subquery (SQLite never drops the ORDER BY of a subquery below it), and the tree has it.
# It joins bytes as they are, zeros among them; `sqlite_file.prepare` makes sure that the SQLite at hand does.
_TIMELINE = """
SELECT CAST(group_concat(numbers, '') AS BLOB), CAST(group_concat(texts, '') AS BLOB)
FROM (SELECT numbers, texts FROM timelines WHERE user_id = ? {} ORDER BY ts_us, arrival)
"""
_WHOLE = _TIMELINE.format("")
_BEFORE = _TIMELINE.format("AND ts_us < ?")
# From each user straight to the next: DISTINCT would walk over all of their events.
_USERS = """
WITH RECURSIVE users (user_id) AS (
    SELECT min(user_id) FROM timelines
    UNION ALL
    SELECT (SELECT min(user_id) FROM timelines WHERE user_id > users.user_id) FROM users WHERE user_id IS NOT NULL
)
SELECT user_id FROM users WHERE user_id IS NOT NULL LIMIT ?
"""


class SqliteStore:
    """An `OnlineStore` in a SQLite file.

    Deadlines: `timeline` and `ping` with a `timeout_s` stop waiting in time whatever holds them up, a lock or a disk that
    hangs. Without one, a read waits up to 5 s for a lock, and for a disk without limit.
    """

    def __init__(self, path: Path, *, write_timeout_s: float) -> None:
        self._path = path
        self._write_timeout_s = write_timeout_s
        # While one connection is open, SQLite does not read its log again from the start, and so never takes writes for
        # committed whose flush had failed.
        self._keeper = connect_to_read(path)
        self._writer = GroupCommit(lambda: connect_to_write(path), lambda error: explained(error, path))
        self._idle: deque[sqlite3.Connection] = deque()
        self._closed = False
        self._in_time = InTime(_READERS, name=str(path))

    @classmethod
    def open(cls, path: Path, *, write_timeout_s: float = 30.0) -> "SqliteStore":
        """Open a store, or begin one where there is no file yet.

        Args:
            path: The file; SQLite keeps two more beside it while it is open.
            write_timeout_s: Seconds that a write waits for the disk before it raises.

        Raises:
            StoreError: For a foreign, newer or damaged file, or a place that cannot be written.
        """
        prepare(path)
        return cls(path, write_timeout_s=write_timeout_s)

    def add_events(self, events: Sequence[EventRecord]) -> list[bool]:
        """See `OnlineStore.add_events`; all or none."""
        check_events(events)
        rows = [(e.event_id, e.user_id, e.ts_us, *timeline_parts(e), rest_text(e)) for e in events]

        def apply(connection: sqlite3.Connection) -> list[bool]:
            insert = "INSERT INTO event_ids VALUES (?) ON CONFLICT DO NOTHING"
            new = [connection.execute(insert, row[:1]).rowcount == 1 for row in rows]
            fresh = [row for row, is_new in zip(rows, new, strict=True) if is_new]
            first = _take(connection, "arrival", len(fresh))
            connection.executemany(
                "INSERT INTO timelines (user_id, ts_us, arrival, numbers, texts, rest) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    (user, ts_us, first + place, numbers, texts, rest)
                    for place, (_, user, ts_us, numbers, texts, rest) in enumerate(fresh)
                ),
            )
            return new

        return self._write(apply, rows=len(rows)) if rows else []

    def timeline(self, user_id: Id, *, before_us: int | None = None, timeout_s: float | None = None) -> UserTimeline:
        """See `OnlineStore.timeline`."""
        check_id(user_id, "user_id")
        if before_us is not None:
            check_int64(before_us, "before_us")

        def read() -> UserTimeline:
            with self._reading() as connection:
                found = connection.execute(
                    *((_WHOLE, (user_id,)) if before_us is None else (_BEFORE, (user_id, before_us)))
                )
                numbers, texts = found.fetchone()
            return timeline_of(numbers, texts)

        return read() if timeout_s is None else self._in_time.call(read, timeout_s=timeout_s)

    def put_items(self, items: Sequence[ItemRecord]) -> int:
        """See `OnlineStore.put_items`."""
        return self._change_items([(item.item_id, item_text(item)) for item in items])

    def delete_items(self, item_ids: Sequence[Id]) -> int:
        """See `OnlineStore.delete_items`."""
        for item_id in item_ids:
            check_id(item_id, "item_id")
        return self._change_items([(item_id, None) for item_id in item_ids])

    def items_since(self, sequence: int) -> list[ItemChange]:
        """See `OnlineStore.items_since`."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT sequence, item_id, record FROM items WHERE sequence > ? ORDER BY sequence", (sequence,)
            ).fetchall()
        return [
            ItemChange(sequence=place, item_id=item_id, record=None if text is None else item_of(item_id, text))
            for place, item_id, text in rows
        ]

    def set_eligibility(self, *, advertisers: dict[str, bool], items: dict[Id, bool]) -> int:
        """See `OnlineStore.set_eligibility`; all or none."""
        for advertiser_id in advertisers:
            check_text(advertiser_id, "advertiser_id")
        for item_id in items:
            check_id(item_id, "item_id")
        rows: list[tuple[str, Id, bool]] = [("advertiser", key, bool(value)) for key, value in advertisers.items()]
        rows += [("item", key, bool(value)) for key, value in items.items()]

        def apply(connection: sqlite3.Connection) -> int:
            first = _take(connection, "sequence", len(rows))
            connection.executemany(
                "INSERT OR REPLACE INTO eligibility (sequence, kind, id, eligible) VALUES (?, ?, ?, ?)",
                ((first + place, *row) for place, row in enumerate(rows)),
            )
            return _last(connection, "eligibility")

        return self._write(apply, rows=len(rows))

    def eligibility_since(self, sequence: int) -> list[EligibilityChange]:
        """See `OnlineStore.eligibility_since`."""
        query = "SELECT sequence, kind, id, eligible FROM eligibility WHERE sequence > ? ORDER BY sequence"
        with self._reading() as connection:
            rows = connection.execute(query, (sequence,)).fetchall()
        return [
            EligibilityChange(
                sequence=place,
                advertiser_id=key if kind == "advertiser" else None,
                item_id=key if kind == "item" else None,
                eligible=bool(eligible),
            )
            for place, kind, key, eligible in rows
        ]

    def users(self, *, limit: int) -> list[Id]:
        """See `OnlineStore.users`; integers first, in ascending order."""
        with self._reading() as connection:
            return [user_id for (user_id,) in connection.execute(_USERS, (limit,))]

    def ping(self, *, timeout_s: float) -> None:
        """See `OnlineStore.ping`."""

        def read() -> None:
            with self._reading() as connection:
                connection.execute("SELECT value FROM counters").fetchall()

        self._in_time.call(read, timeout_s=timeout_s)

    def close(self) -> None:
        """Finish the writes that wait, and close the file."""
        self._closed = True
        self._in_time.close()
        self._writer.close()
        while self._idle:
            self._idle.pop().close()
        self._keeper.close()

    def _change_items(self, rows: list[tuple[Id, str | None]]) -> int:
        def apply(connection: sqlite3.Connection) -> int:
            first = _take(connection, "sequence", len(rows))
            connection.executemany(
                "INSERT OR REPLACE INTO items (sequence, item_id, record) VALUES (?, ?, ?)",
                ((first + place, *row) for place, row in enumerate(rows)),
            )
            return _last(connection, "items")

        return self._write(apply, rows=len(rows))

    def _write(self, apply: Callable[[sqlite3.Connection], T], *, rows: int) -> T:
        return self._writer.write(apply, rows=rows, timeout_s=self._write_timeout_s)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection to one thread; there come to be as many as there are reads at once."""
        try:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = connect_to_read(self._path)
            yield connection
        except sqlite3.Error as error:  # the connection is not used again: what it met may stick to it
            raise explained(error, self._path) from error
        if self._closed:
            connection.close()
        else:
            self._idle.append(connection)


def _take(connection: sqlite3.Connection, counter: str, count: int) -> int:
    """Take `count` numbers from a counter; return the first."""
    query = "UPDATE counters SET value = value + ? WHERE name = ? RETURNING value"
    ((value,),) = connection.execute(query, (count, counter)).fetchall()
    return int(value) - count + 1


def _last(connection: sqlite3.Connection, table: str) -> int:
    """Return the highest sequence of a table, 0 while it is empty."""
    (value,) = connection.execute(f"SELECT coalesce(max(sequence), 0) FROM {table}").fetchone()
    return int(value)
