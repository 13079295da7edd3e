"""Filling an online store with the log of a run, so that the users of the log are known from the first request on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import rich.console
import rich.progress
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn

from lowerfunnel.events.store import EventStore
from lowerfunnel.files import sha256_of_file, write_json
from lowerfunnel.retrieval.corpus import mixed_order
from lowerfunnel.serving.records import EventRecord
from lowerfunnel.serving.store.contract import OnlineStore
from lowerfunnel.serving.store.load import load_events

_AT_ONCE = 5_000
_COLUMNS = (
    "event_id", "user_id", "item_id", "action", "surface", "dwell_s", "request_id", "position", "value", "currency",
    "context_item_id", "query",
)  # fmt: skip


Progress = Callable[[int, int], None]
"""Called with the events stored and the events in all."""


@contextmanager
def loading_bar(console: rich.console.Console) -> Iterator[Progress]:
    """Show on a terminal how far the loading of a log has come."""
    columns = (TextColumn("storing the log"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with rich.progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task: TaskID | None = None

        def show(stored: int, events: int) -> None:
            nonlocal task
            if task is None:
                task = bar.add_task("", total=events)
            bar.update(task, completed=stored)

        yield show


def load_log(log: EventStore, store: OnlineStore, *, done: Path, progress: Progress | None = None) -> int:
    """Store the events of a log, once, and return how many were new.

    Events without an id of their own get one made of the log and their place in it, so that a load that was interrupted
    and begins again stores each event once. `done` is written when all are stored; where it names this log already, nothing
    is done.

    Raises:
        StoreError: If the store does not take them.
    """
    fingerprint = sha256_of_file(log.path / "store.json")
    if done.is_file() and done.read_text(encoding="utf-8").strip().strip('"') == fingerprint:
        return 0
    new = load_events(store, _events(log, fingerprint, progress))
    write_json(done, fingerprint)
    return new


def _events(log: EventStore, fingerprint: str, progress: Progress | None) -> Iterator[EventRecord]:
    place = 0
    for table in _tables(log):
        for start in range(0, len(table), _AT_ONCE):
            part = table.slice(start, _AT_ONCE)
            yield from _records(part, log.info.order, f"log-{fingerprint[:16]}-", place)
            place += len(part)
            if progress is not None:
                progress(place, log.info.events)


def _tables(log: EventStore) -> Iterator[pa.Table]:
    if log.info.order != "none":
        yield from log.buckets()
        return
    # A log without order is read in one fixed mixed order by the model, and the store keeps the order of arrival.
    whole = pa.concat_tables(list(log.buckets()))
    yield whole.take(pa.array(mixed_order(len(whole))))


def _records(table: pa.Table, order: str, prefix: str, place: int) -> list[EventRecord]:
    if order == "time":
        ts_us = pc.cast(table.column("ts"), pa.int64()).to_pylist()
    elif order == "sequence":
        ts_us = table.column("seq").to_pylist()
    else:
        ts_us = np.zeros(len(table), np.int64).tolist()
    columns = [table.column(name).to_pylist() for name in _COLUMNS]
    return [
        EventRecord(
            ts_us=at_us,
            **{**dict(zip(_COLUMNS, row, strict=True)), "event_id": row[0] or f"{prefix}{place + offset}"},
        )
        for offset, (at_us, *row) in enumerate(zip(ts_us, *columns, strict=True))
    ]
