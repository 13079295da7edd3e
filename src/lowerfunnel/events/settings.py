"""How a recipe describes a log: which files hold it and what their columns and actions mean.

```toml
[[log.events]]
files = "events.csv.gz"
columns = { user_id = "visitorid", item_id = "itemid", ts = "timestamp", action = "event" }
actions = { addtocart = "add_to_cart", transaction = "checkout" }
time_unit = "ms"

[[log.items]]
files = ["items/*.parquet"]
columns = { advertiser_id = "brand" }
attributes = ["colour", "size"]
```
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from lowerfunnel.events.schema import ACTIONS

EVENT_COLUMNS: tuple[str, ...] = (
    "event_id", "ts", "seq", "user_id", "item_id", "action", "surface", "request_id", "position", "dwell_s", "value",
    "currency", "context_item_id", "query", "propensity", "received_ts",
)  # fmt: skip
ITEM_COLUMNS: tuple[str, ...] = (
    "item_id", "advertiser_id", "category_id", "price", "currency", "title", "attributes", "content", "visual",
)  # fmt: skip
USER_COLUMNS: tuple[str, ...] = ("user_id", "attributes")

TimeUnit = Literal["s", "ms", "us", "ns", "iso"]
IdChoice = Literal["auto", "int64", "string"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceConfig:
    """One group of files with the same columns, and what those columns mean.

    A source column that already has a canonical name (`user_id`, `ts`, ...) stands for itself, unless it is named in
    `columns` for something else or in `skip_columns`; a canonical action likewise.
    """

    files: str | tuple[str, ...]
    """File names or patterns (`*`, `**`, `?`), relative to the data folder. They are read in the order of their names."""
    format: Literal["auto", "parquet", "csv"] = "auto"
    """`auto` goes by the name: .parquet or .pq; .csv, .tsv or .txt, also with .gz or .zst behind it."""
    delimiter: str | None = None
    """What separates the columns of a CSV file. Left out: the first of tab, comma, semicolon, bar that is commonest in
    the first line."""
    header: bool | None = None
    """Whether a CSV file begins with the names of its columns. Left out: it does, unless `column_names` is given."""
    column_names: tuple[str, ...] | None = None
    """The columns of CSV files that do not name them; if they do (`header = true`), these names replace theirs."""
    null_values: tuple[str, ...] = ("",)
    """Texts in a CSV file that mean "no value"."""
    columns: dict[str, str] = field(default_factory=dict)
    """Canonical column = source column."""
    skip_columns: tuple[str, ...] = ()
    """Source columns that do not mean what their canonical name says."""
    constants: dict[str, str] = field(default_factory=dict)
    """Canonical column = one value for all rows, for example `{ action = "checkout", surface = "search" }`."""
    actions: dict[str, str] = field(default_factory=dict)
    """Action in the source = canonical action."""
    ignore_actions: tuple[str, ...] = ()
    """Actions in the source that are left out on purpose; they are counted, and are no errors."""
    time_unit: TimeUnit = "s"
    """What a `ts` of numbers counts since 1970 UTC; `iso` reads texts such as 2019-10-01T00:00:00Z (UTC where no zone
    is given). A Parquet column of timestamps needs no unit."""
    time_format: str | None = None
    """Another way to write a time as text, in the codes of strptime, for example `%Y%m%d %H:%M`; always UTC."""
    attributes: tuple[str, ...] = ()
    """Items and users: source columns whose values become tokens "name=value"; a list gives several."""
    tables: dict[str, str] = field(default_factory=dict)
    """Further relations for `query`: name = file or pattern, read as `files` are."""
    query: str | None = None
    """A SELECT in DuckDB's SQL over the relation `source` (all the files together; every column of a CSV file is text),
    whose result is mapped instead. For events, it keeps the order of `source` or has an ORDER BY."""

    def __post_init__(self) -> None:
        """Refuse what cannot mean anything."""
        if not self.patterns or not all(self.patterns):
            raise ValueError('files names no file; write files = "events.csv" or a list of names')
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise ValueError(f"delimiter must be one character, got {self.delimiter!r}")
        if self.header is False and self.column_names is None:
            raise ValueError("files without a header need column_names, the names of their columns in order")
        if self.column_names is not None and len(set(self.column_names)) != len(self.column_names):
            raise ValueError(f"column_names holds a name twice: {', '.join(self.column_names)}")
        if both := sorted(self.columns.keys() & self.constants.keys()):
            raise ValueError(f"{', '.join(both)} stands in columns and in constants; keep one of them")
        if bad := sorted({action for action in self.actions.values() if action not in ACTIONS}):
            raise ValueError(f"actions maps to {', '.join(bad)}; the canonical actions are {', '.join(ACTIONS)}")
        if both := sorted(self.actions.keys() & set(self.ignore_actions)):
            raise ValueError(f"{', '.join(both)} stands in actions and in ignore_actions; keep one of them")
        if bad := sorted(name for name in self.tables if not _NAME.fullmatch(name) or name.lower() == "source"):
            raise ValueError(f"tables names {', '.join(bad)}; use a plain name other than source")
        if self.tables and self.query is None:
            raise ValueError("tables are there for query, and query is not given")

    @property
    def patterns(self) -> tuple[str, ...]:
        """`files` as a tuple, however it was written."""
        return (self.files,) if isinstance(self.files, str) else self.files


@dataclass(frozen=True, kw_only=True, slots=True)
class LogConfig:
    """Where a log comes from and how it becomes canonical."""

    reader: str = "generic"
    """`generic` takes the sources as they stand here; a named reader fills them in for a well-known public layout."""
    events: tuple[SourceConfig, ...] = ()
    """The events. Needed: `user_id`, `item_id`, `action`."""
    items: tuple[SourceConfig, ...] = ()
    """The catalogue. Needed: `item_id`. An item listed twice keeps what its first row says."""
    users: tuple[SourceConfig, ...] = ()
    """What is known of users. Needed: `user_id`."""
    test: tuple[SourceConfig, ...] = ()
    """Held-out events of a published split, kept apart from the log."""
    buckets: int = 16
    """Into how many files the events are divided by user. A reader holds one in memory at a time."""
    user_id_type: IdChoice = "auto"
    """`auto`: 64-bit integers if every user id is one and is written without leading zeros or signs, else strings."""
    item_id_type: IdChoice = "auto"
    """The same for items."""
    max_quarantined_share: float = 0.1
    """More bad rows than this share of one table stop the import."""
    synthetic: bool = False
    """Whether the log was generated; every figure made from it then says so."""

    def __post_init__(self) -> None:
        """Refuse what cannot mean anything."""
        if not 1 <= self.buckets <= 4096:
            raise ValueError(f"buckets must lie in 1..4096, got {self.buckets}")
        if not 0 <= self.max_quarantined_share <= 1:
            raise ValueError(f"max_quarantined_share must lie in 0..1, got {self.max_quarantined_share}")
        for table, sources, columns in (
            ("events", self.events, EVENT_COLUMNS),
            ("test", self.test, EVENT_COLUMNS),
            ("items", self.items, ITEM_COLUMNS),
            ("users", self.users, USER_COLUMNS),
        ):
            for number, source in enumerate(sources):
                _check_columns(f"{table}.{number}", source, columns)


def _check_columns(where: str, source: SourceConfig, columns: Sequence[str]) -> None:
    for setting, names in (("columns", source.columns), ("constants", source.constants)):
        if bad := sorted(names.keys() - set(columns)):
            raise ValueError(f"{where}.{setting} has {', '.join(bad)}; there is {', '.join(columns)}")
    if set(columns) == set(EVENT_COLUMNS) and source.attributes:
        raise ValueError(f"{where}.attributes: events have none; they belong to items and users")
    if set(columns) != set(EVENT_COLUMNS) and (source.actions or source.ignore_actions):
        raise ValueError(f"{where}.actions: items and users have none; they belong to events")
