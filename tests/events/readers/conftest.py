"""What the tests of the named readers share: writing files as they were published, and importing them."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lowerfunnel.events.build import build_store
from lowerfunnel.events.settings import LogConfig
from lowerfunnel.events.store import EventStore

Rows = list[tuple[Any, ...]]


class Import:
    """A folder of original files, and the store that a named reader makes of it."""

    def __init__(self, folder: Path, store_dir: Path) -> None:
        self.folder = folder
        self.store_dir = store_dir

    def write(self, name: str, *lines: str) -> None:
        """Write a file, compressed if its name says so. Each line ends with a newline."""
        text = "".join(f"{line}\n" for line in lines).encode()
        path = self.folder / name
        if name.endswith(".gz"):
            path.write_bytes(gzip.compress(text))
        elif name.endswith(".zst"):
            path.write_bytes(pa.Codec("zstd").compress(text, asbytes=True))
        else:
            path.write_bytes(text)

    def build(self, reader: str, folder: Path | None = None, **settings: Any) -> EventStore:
        """Import; the share of bad rows is not limited, as these logs are a few rows long."""
        config = LogConfig(reader=reader, **{"max_quarantined_share": 1.0, "buckets": 2} | settings)
        build_store(config, self.folder if folder is None else folder, self.store_dir, threads=1, memory_limit="500MB")
        return EventStore.open(self.store_dir)


@pytest.fixture
def log(tmp_path: Path) -> Import:
    folder = tmp_path / "original"
    folder.mkdir()
    return Import(folder, tmp_path / "store")


@pytest.fixture
def events() -> Callable[..., Rows]:
    """Give chosen columns of all events, sorted by (user_id, ts, seq); times as "2015-06-01 05:02:12"."""

    def rows_of(store: EventStore, *columns: str) -> Rows:
        table = pa.concat_tables(store.buckets()).sort_by([(name, "ascending") for name in ("user_id", "ts", "seq")])
        return _rows(table, columns)

    return rows_of


@pytest.fixture
def items() -> Callable[..., Rows]:
    """Give chosen columns of the catalogue, sorted by item; attributes in any order."""
    return lambda store, *columns: _rows(store.items(), columns)


@pytest.fixture
def users() -> Callable[[EventStore], Rows]:
    """Give the users with their attributes."""
    return lambda store: _rows(store.users(), ("user_id", "attributes"))


@pytest.fixture
def quarantined() -> Callable[[EventStore], Rows]:
    """Give the table, the reason and the value at fault of every row that was set aside."""
    return lambda store: sorted(_rows(store.quarantine(), ("table", "reason", "detail")), key=str)


def _rows(table: pa.Table, columns: tuple[str, ...]) -> Rows:
    return [tuple(_plain(row[column]) for column in columns) for row in table.select(columns).to_pylist()]


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return sorted(value)
    return f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, pa.lib.datetime.datetime) else value
