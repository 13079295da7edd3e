"""Group commit: writes of many threads, made durable by one flush to the disk.

A flush takes as long for one write as for a thousand. So one thread does all the writing: while it flushes, writes queue
up, and what has queued up makes the next transaction.
"""

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from lowerfunnel.errors import StoreError

T = TypeVar("T")

_MOST_ROWS = 20_000


class GroupCommit:
    """The one thread that writes to a database.

    Args:
        connect: Opens the connection to write with. Called again after an error, as a connection that met one (a full
            disk, a failed flush) may remember what never reached the disk.
        explain: Turns an error of SQLite into one for people.
    """

    def __init__(
        self, connect: Callable[[], sqlite3.Connection], explain: Callable[[sqlite3.Error], StoreError]
    ) -> None:
        self._connect = connect
        self._explain = explain
        self._connection: sqlite3.Connection | None = None
        self._writes: SimpleQueue[_Write | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="store writer", daemon=True)
        self._thread.start()

    def write(self, apply: Callable[[sqlite3.Connection], T], *, rows: int, timeout_s: float) -> T:
        """Run `apply` in a transaction, together with the writes of other threads; return its result once that is durable.

        Args:
            apply: Only changes the database; it may run a second time after an error.
            rows: About how many rows it writes.
            timeout_s: Seconds to wait.

        Raises:
            StoreError: If the transaction failed, none of it happened; if it took too long, it may yet happen.
        """
        write = _Write(apply, rows)
        with self._lock:
            if self._ended:
                raise StoreError("the store was closed; open it again to write")
            self._writes.put(write)
        try:
            result: T = write.future.result(timeout_s)
        except TimeoutError as error:
            raise StoreError(
                f"a write was not on the disk after {timeout_s:g} s, and may still get there; repeat it"
            ) from error
        return result

    def close(self) -> None:
        """Finish what was begun, and close the connection."""
        self._end()
        self._thread.join()

    def _end(self) -> None:
        with self._lock:
            if not self._ended:
                self._ended = True
                self._writes.put(None)

    def _run(self) -> None:
        batch: list[_Write] = []
        try:
            while (first := self._writes.get()) is not None:
                batch = [first]
                last = self._gather(batch)
                self._commit(batch)
                if last:
                    break
        finally:
            self._end()
            self._close_connection()
            for write in [*batch, *self._left()]:
                if not write.future.done():
                    write.future.set_exception(StoreError("the store stopped before this write; open it again"))

    def _gather(self, batch: list["_Write"]) -> bool:
        """Add what is waiting to a batch; return whether the end was met."""
        rows = batch[0].rows
        with suppress(Empty):
            while rows < _MOST_ROWS:
                write = self._writes.get_nowait()
                if write is None:
                    return True
                batch.append(write)
                rows += write.rows
        return False

    def _commit(self, batch: list["_Write"]) -> None:
        try:
            if self._connection is None:
                self._connection = self._connect()
            self._connection.execute("BEGIN IMMEDIATE")
            results = [write.apply(self._connection) for write in batch]
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._close_connection()
            for write in batch:
                write.future.set_exception(self._explain(error))
        except StoreError as error:
            for write in batch:
                write.future.set_exception(error)
        else:
            for write, result in zip(batch, results, strict=True):
                write.future.set_result(result)

    def _close_connection(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()  # undoes a transaction that was not committed
            self._connection = None

    def _left(self) -> list["_Write"]:
        left = []
        with suppress(Empty):
            while True:
                if (write := self._writes.get_nowait()) is not None:
                    left.append(write)
        return left


class _Write:
    """One write that waits for its transaction."""

    def __init__(self, apply: Callable[[sqlite3.Connection], Any], rows: int) -> None:
        self.apply = apply
        self.rows = rows
        self.future: Future[Any] = Future()
