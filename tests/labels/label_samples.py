"""Small logs, from rows of a test to a store on disk, and their labels."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from lowerfunnel.events.build import build_store
from lowerfunnel.events.settings import LogConfig, SourceConfig
from lowerfunnel.events.store import EventStore
from lowerfunnel.labels.build import LabelInfo, build_labels
from lowerfunnel.labels.settings import DwellConfig, LabelConfig, SplitConfig

DAY_US = 86_400_000_000
START_US = 1_700_000_000_000_000
"""Where the logs of the tests begin, microseconds since 1970 UTC."""

Id = int | str


class Event(NamedTuple):
    """`t` counts from `START_US` in microseconds, or is a place in a sequence, or means nothing."""

    user: Id
    item: Id
    action: str = "checkout"
    t: int = 0
    surface: str | None = None
    request: str | None = None
    dwell_s: float | None = None
    query: str | None = None
    context: Id | None = None


def store_of(
    folder: Path,
    events: Sequence[Event],
    *,
    order: str = "time",
    items: pa.Table | None = None,
    users: pa.Table | None = None,
    test: Sequence[Event] | None = None,
) -> EventStore:
    """Write the rows as Parquet files and import them."""
    (folder / "data").mkdir()

    def source(name: str, table: pa.Table, **more: object) -> tuple[SourceConfig, ...]:
        pq.write_table(table, folder / "data" / f"{name}.parquet")
        return (SourceConfig(files=f"{name}.parquet", **more),)

    def rows(name: str, given: Sequence[Event], place: dict[str, pa.Array]) -> tuple[SourceConfig, ...]:
        columns = {
            "user_id": pa.array([event.user for event in given]),
            "item_id": pa.array([event.item for event in given]),
            "action": pa.array([event.action for event in given], pa.string()),
            **place,
        }
        optional = {
            "surface": [event.surface for event in given],
            "request_id": [event.request for event in given],
            "dwell_s": [event.dwell_s for event in given],
            "query": [event.query for event in given],
            "context_item_id": [event.context for event in given],
        }
        columns |= {name: pa.array(values) for name, values in optional.items() if any(v is not None for v in values)}
        return source(name, pa.table(columns), time_unit="us")

    place = {}
    if order == "time":
        place["ts"] = pa.array([START_US + event.t for event in events], pa.int64())
    elif order == "sequence":
        place["seq"] = pa.array([event.t for event in events], pa.int64())
    config = LogConfig(
        events=rows("events", events, place),
        test=() if test is None else rows("test", test, {}),
        items=() if items is None else source("items", items),
        users=() if users is None else source("users", users),
        buckets=2,
    )
    build_store(config, folder / "data", folder / "store", threads=1, now_us=START_US + 1000 * DAY_US)
    return EventStore.open(folder / "store")


def labels_of(store: EventStore, config: LabelConfig, *, seed: int = 0, name: str = "labels") -> tuple[Path, LabelInfo]:
    """Write the labels beside the store; return their folder and what was made."""
    out = store.path.parent / name
    out.mkdir()
    return out, build_labels(store, config, out, seed=seed)


def config_of(
    strategy: str,
    *,
    split: dict[str, object] | None = None,
    dwell: dict[str, object] | None = None,
    **labels: object,
) -> LabelConfig:
    return LabelConfig(
        split=SplitConfig(strategy=strategy, **(split or {})), dwell=DwellConfig(**(dwell or {})), **labels
    )


def table(labels: Path, name: str) -> list[dict[str, object]]:
    return pq.read_table(labels / f"{name}.parquet").to_pylist()


def pairs(rows: Iterable[dict[str, object]]) -> list[tuple[object, object]]:
    return [(row["user_id"], row["item_id"]) for row in rows]


def micros(labels: Path, name: str, column: str) -> list[int | None]:
    """Read a column of times as microseconds since `START_US`, or of places as they are."""
    values = pq.read_table(labels / f"{name}.parquet").column(column)
    if pa.types.is_timestamp(values.type):
        return [None if v is None else v - START_US for v in values.cast(pa.int64()).to_pylist()]
    return values.to_pylist()


def bytes_of(labels: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in labels.iterdir()}
