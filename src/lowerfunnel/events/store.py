"""The store: a log in canonical form, divided by user and sorted, as a folder of Parquet files.

    STORE/ store.json  quality.json  events/bucket=000.parquet ...  items.parquet  users.parquet
           test.parquet (only if given)  quarantine.parquet

The same input gives the same bytes. `store.json` lists every file with its size, so a half-copied store is refused.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq

from lowerfunnel.config import load_settings, settings_to_dict
from lowerfunnel.errors import ConfigError, RunError
from lowerfunnel.events.schema import IdType
from lowerfunnel.files import sha256_of_file, write_json

STORE_VERSION = 3
Order = Literal["time", "sequence", "none"]


class _File(TypedDict):
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreInfo:
    """What a store holds."""

    version: int
    """Version of the layout."""
    user_id_type: IdType
    """Type of all user ids."""
    item_id_type: IdType
    """Type of all item ids."""
    buckets: int
    """Into how many files the events are divided."""
    events: int
    """Events, without duplicates."""
    users: int
    """Users of events, test and the users table together."""
    items: int
    """Items of catalogue, events and test together."""
    order: Order
    """What orders a user's events."""
    first_ts_us: int | None
    """Time of the first event, microseconds since 1970 UTC."""
    last_ts_us: int | None
    """Time of the last event."""
    actions: dict[str, int]
    """Events by action, in the order of the canonical actions."""
    surfaces: dict[str, int]
    """Events by surface, in the order of their names; events without one are left out."""
    has_given_test: bool
    """Whether there are held-out events of a published split."""
    synthetic: bool
    """Whether the log was generated."""
    columns: tuple[str, ...]
    """Canonical columns of the events that hold at least one value."""


class EventStore:
    """A store that was opened and found whole."""

    def __init__(self, path: Path, info: StoreInfo) -> None:
        self.path = path
        self.info = info

    @classmethod
    def open(cls, path: Path) -> "EventStore":
        """Open a store after checking its version and that every file is there in its full size.

        Raises:
            RunError: If there is no store, or one of another version, or a damaged one.
        """
        info_data, files = _read_manifest(path)
        version = info_data.get("version")
        if version != STORE_VERSION:
            raise RunError(
                f"the store {path} has version {version}, and this program reads version {STORE_VERSION}; import the log again"
            )
        try:
            info = load_settings(StoreInfo, info_data, source=f"{path / 'store.json'}")
        except ConfigError as error:
            raise RunError(f"the store {path} is damaged ({error}); import the log again") from error
        for name, file in files.items():
            part = path / name
            if not part.is_file():
                raise RunError(f"the store {path} is damaged: {name} is missing; copy it again or import the log again")
            if part.stat().st_size != file["bytes"]:
                raise RunError(
                    f"the store {path} is damaged: {name} has {part.stat().st_size:,} bytes and should have "
                    f"{file['bytes']:,}; copy it again or import the log again"
                )
        return cls(path, info)

    def verify(self) -> None:
        """Read every file and compare its hash, which finds what a size does not.

        Raises:
            RunError: If a file's content changed.
        """
        for name, file in _read_manifest(self.path)[1].items():
            if sha256_of_file(self.path / name) != file["sha256"]:
                raise RunError(f"the store {self.path} is damaged: the content of {name} changed; import the log again")

    def buckets(self) -> Iterator[pa.Table]:
        """Yield the events of one bucket of users after another, each sorted by (user_id, ts, seq); none is empty."""
        for file in self.event_files():
            table = pq.read_table(file, partitioning=None)
            if len(table):
                yield table

    def event_files(self) -> list[str]:
        """Return the files of the events, one per bucket."""
        return [str(self.path / "events" / bucket_name(number)) for number in range(self.info.buckets)]

    def items(self) -> pa.Table:
        """Return the catalogue, sorted by `item_id`; an item that only events or test know has only its id."""
        return pq.read_table(self.path / "items.parquet")

    def users(self) -> pa.Table:
        """Return the users, sorted by `user_id`."""
        return pq.read_table(self.path / "users.parquet")

    def given_test(self) -> pa.Table | None:
        """Return the held-out events of a published split, if the log came with them."""
        return pq.read_table(self.path / "test.parquet") if self.info.has_given_test else None

    def quarantine(self) -> pa.Table:
        """Return the rows that were set aside, up to 1,000 for each table and reason."""
        return pq.read_table(self.path / "quarantine.parquet")


def bucket_name(number: int) -> str:
    """Return the file name of a bucket."""
    return f"bucket={number:03d}.parquet"


def write_manifest(path: Path, info: StoreInfo) -> None:
    """Write `store.json` over all other files of a store's folder."""
    files = {
        child.relative_to(path).as_posix(): {"bytes": child.stat().st_size, "sha256": sha256_of_file(child)}
        for child in sorted(path.rglob("*"))
        if child.is_file() and child.name != "store.json"
    }
    write_json(path / "store.json", {"info": settings_to_dict(info), "files": files})


def _read_manifest(path: Path) -> tuple[dict[str, object], dict[str, _File]]:
    """Return what a store says of itself, and its files."""
    try:
        manifest = json.loads((path / "store.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{path} holds no store (there is no store.json); import a log there first") from error
    except (OSError, ValueError) as error:
        raise RunError(
            f"the store {path} is damaged: store.json cannot be read ({error}); import the log again"
        ) from error
    if not isinstance(manifest, dict) or not {"info", "files"} <= manifest.keys():
        raise RunError(f"the store {path} is damaged: store.json lists no files; import the log again")
    return manifest["info"], manifest["files"]
