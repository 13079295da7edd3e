"""What a log is like and what it cannot do: the content of `quality.json`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lowerfunnel.config import load_settings, settings_to_dict
from lowerfunnel.errors import ConfigError, RunError


@dataclass(frozen=True, kw_only=True, slots=True)
class TableRows:
    """What became of the rows of one table of the source."""

    read: int
    """Rows in the files, bad ones too."""
    kept: int
    """Rows that could be used, before duplicates were removed."""
    ignored: int
    """Rows whose action the recipe leaves out."""
    quarantined: int
    """Rows that were set aside with a reason."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BadRow:
    """One reason for setting rows aside, and the first row it befell."""

    table: str
    """`events`, `test`, `items` or `users`."""
    reason: str
    """In words."""
    rows: int
    """How many rows."""
    file: str
    """File of the first of them."""
    row: int
    """Its number there, from 1, a header not counted."""
    example: str
    """The row as it stands in the source."""
    values: dict[str, int]
    """Commonest values at fault, for unknown actions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Day:
    """Events of one day (or week) by action."""

    day: str
    """Its first day, such as 2017-11-25 (UTC)."""
    counts: dict[str, int]
    """Events by action."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FunnelRate:
    """How many of the user-item pairs with one action have another too."""

    origin: str
    """The action to begin with."""
    target: str
    """The action that may go with it."""
    pairs: int
    """Distinct user-item pairs with `origin`."""
    rate: float
    """Share of them that have `target` too."""
    meaning: str
    """What is divided by what."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Delay:
    """How long after the first `origin` the first `target` of the same user and item follows."""

    origin: str
    """An action, or `first touch` for any that is no conversion."""
    target: str
    """A conversion."""
    pairs: int
    """User-item pairs in which `target` follows `origin`."""
    median_h: float
    """Half of them take no longer than this."""
    quantiles_h: dict[str, float]
    """p10, p25, p50, p75, p90, p99."""
    edges_h: tuple[float, ...]
    """Edges of a histogram, ascending."""
    counts: tuple[int, ...]
    """Pairs between two edges, the upper one excluded but for the last."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportDelay:
    """How long after a conversion the platform heard of it."""

    conversions: int
    """Conversions whose arrival is known."""
    median_h: float
    """Half of them had arrived after as many hours."""
    p90_h: float
    """Nine in ten had."""
    p99_h: float
    """99 in a hundred had."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """How a count is distributed."""

    mean: float
    """Mean."""
    quantiles: dict[str, int]
    """min, p25, p50, p75, p90, p99, max."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Suspect:
    """A user or an advertiser whose numbers no ordinary one has."""

    id: str
    """Source id."""
    why: str
    """The number that is out of line, and what it was held against."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenTest:
    """The held-out events of a published split against the log."""

    events: int
    """Held-out events."""
    users: int
    """Their users."""
    users_without_events: int
    """Users among them who have no event in the log."""
    items_without_events: int
    """Items among them that have no event in the log."""
    pairs_in_log: int
    """User-item pairs among them that the log holds too, with any action."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """A log, measured once when it was imported."""

    rows: dict[str, TableRows]
    """By table of the source."""
    quarantined: dict[str, int]
    """Rows set aside, by reason, over all tables."""
    bad_rows: tuple[BadRow, ...]
    """The same by table, with examples."""
    duplicates: int
    """Events removed because another says the same."""
    conflicting_event_ids: int
    """Event ids that come with different content; the first was kept."""
    repeated_items: int
    """Rows of the catalogue for an item that had one already."""
    conflicting_items: int
    """Items listed with different values; the first was kept."""
    repeated_users: int
    """Rows for a user who had one already."""
    conflicting_users: int
    """Users listed with different values; the first was kept."""
    events: int
    """Events in the store."""
    users: int
    """Users in the store."""
    items: int
    """Items in the store."""
    advertisers: int
    """Advertisers in the catalogue."""
    order: Literal["time", "sequence", "none"]
    """What orders a user's events."""
    first_ts_us: int | None
    """Time of the first event, microseconds since 1970 UTC."""
    last_ts_us: int | None
    """Time of the last event."""
    columns: tuple[str, ...]
    """Canonical columns of the events that hold a value."""
    actions: dict[str, int]
    """Events by action."""
    surfaces: dict[str, int]
    """Events by surface."""
    days: tuple[Day, ...]
    """Events over time."""
    days_each: int
    """Days that one entry of `days` spans: 1 or 7."""
    funnel: tuple[FunnelRate, ...]
    """From shallow actions to deep ones."""
    delays: tuple[Delay, ...]
    """From a touch to a conversion."""
    report_delay: ReportDelay | None
    """From a conversion to its arrival, if the log tells any."""
    events_with_propensity: int
    """Events with the chance with which the logging policy showed their item."""
    converted_pairs: int
    """User-item pairs with a conversion."""
    converted_pairs_untouched: int
    """Those among them without any other action before (or, without order, at all)."""
    users_with_conversion: int
    """Users with at least one conversion."""
    events_per_user: Spread
    """Over users with an event."""
    events_per_item: Spread
    """Over items with an event."""
    has_catalogue: bool
    """Whether the log came with a table of items."""
    items_not_in_catalogue: int
    """Items of the events that the catalogue does not list."""
    events_not_in_catalogue: int
    """Their events."""
    catalogue_items_never_seen: int
    """Items of the catalogue without an event."""
    test: GivenTest | None
    """The given test, if any."""
    suspicious_users: tuple[Suspect, ...]
    """The first of them, worst first."""
    suspicious_users_count: int
    """How many there are."""
    suspicious_advertisers: tuple[Suspect, ...]
    """The first of them, worst first."""
    suspicious_advertisers_count: int
    """How many there are."""
    remarks: tuple[str, ...]
    """What looks wrong, one sentence each."""
    cannot: tuple[str, ...]
    """What this log cannot do, one sentence each."""
    synthetic: bool
    """Whether the log was generated."""


def quality_to_dict(quality: Quality) -> dict[str, object]:
    """Return a quality as plain JSON values."""
    return settings_to_dict(quality)


def read_quality(store: Path) -> Quality:
    """Read the quality of the store at `store`.

    Raises:
        RunError: If it is missing or damaged.
    """
    path = store / "quality.json"
    try:
        return load_settings(Quality, json.loads(path.read_text(encoding="utf-8")), source=str(path))
    except FileNotFoundError as error:
        raise RunError(f"{store} holds no quality.json; import the log again") from error
    except (ValueError, ConfigError) as error:
        raise RunError(f"{path} is damaged ({error}); import the log again") from error
