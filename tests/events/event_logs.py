"""Small logs for the tests of the import: written as files, built into stores, read back."""

from pathlib import Path

import pyarrow as pa

from lowerfunnel.events.build import build_store
from lowerfunnel.events.quality import Quality, read_quality
from lowerfunnel.events.settings import LogConfig, SourceConfig
from lowerfunnel.events.store import EventStore

NOW_US = 1_700_000_000_000_000
HEADER = "user_id,item_id,action,ts\n"
EVENTS = SourceConfig(files="events.csv")


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def build(folder: Path, *events: SourceConfig, threads: int = 1, **settings: object) -> EventStore:
    config = LogConfig(events=events or (EVENTS,), buckets=2, **settings)  # type: ignore[arg-type]
    out = folder / "store"
    build_store(config, folder, out, threads=threads, memory_limit="500MB", now_us=NOW_US)
    return EventStore.open(out)


def events_of(store: EventStore) -> list[dict[str, object]]:
    tables = list(store.buckets())
    rows = pa.concat_tables(tables).to_pylist() if tables else []
    return sorted(rows, key=lambda row: (str(row["user_id"]), row["seq"]))


def quality_of(store: EventStore) -> Quality:
    return read_quality(store.path)


def bytes_of(store: EventStore) -> dict[str, bytes]:
    return {path.relative_to(store.path).as_posix(): path.read_bytes() for path in store.path.rglob("*.parquet")}
