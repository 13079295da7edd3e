"""The seam between the server's edge (HTTP, its page) and what answers behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from lowerfunnel.serving.records import EventRecord, ItemRecord
from lowerfunnel.serving.requests import Candidate, CandidateAnswer, CandidateRequest, Id


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionInfo:
    """A published version."""

    version: str
    published_at_us: int
    current: bool
    items: int
    generators: tuple[str, ...]
    recipe: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Readiness:
    """Whether requests can be answered, and if not, why."""

    ready: bool
    checks: dict[str, str]
    """What was looked at: "ok", or a sentence."""
    version: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class WriteOutcome:
    """What became of one event or item."""

    status: Literal["accepted", "duplicate", "rejected"]
    reason: str | None = None
    """Why it was rejected, one sentence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemView:
    """An item as a person sees it."""

    item_id: Id
    title: str | None = None
    price: float | None = None
    currency: str | None = None
    advertiser_id: str | None = None
    category_id: str | None = None
    image_url: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TimelineEntry:
    """One event of a user; `item` is None where the catalogue does not know it."""

    ts_us: int
    action: str
    item_id: Id
    item: ItemView | None
    surface: str | None = None
    dwell_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """A candidate with its item, and the events that it is nearest to."""

    candidate: Candidate
    item: ItemView
    nearest: tuple[tuple[int, float], ...]
    """Places in the timeline and cosines of the item vectors, nearest first; at most three."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Removal:
    """What one filter took out of the candidates that would have come without it."""

    reason: str
    count: int
    examples: tuple[ItemView, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """An answer with everything that a person wants to see beside it."""

    answer: CandidateAnswer
    timeline: tuple[TimelineEntry, ...]
    """Latest first."""
    cards: tuple[Card, ...]
    removed: tuple[Removal, ...]


@runtime_checkable
class CandidateService(Protocol):
    """What answers. Every method blocks and may be called from many threads.

    Raises (all methods):
        DataError: For a request that does not fit the model, such as an id of another type; one sentence.
        RunError: For a version that cannot be published or is not there.
        StoreError: For a write that the store did not take.
        UnavailableError: If nothing is published yet.
    """

    def candidates(self, requests: Sequence[CandidateRequest]) -> list[CandidateAnswer]:
        """Answer requests, all by one version. Never raises for a slow or dead store."""
        ...

    def inspect(self, request: CandidateRequest) -> Inspection:
        """Answer a request as `candidates` does, with what a person wants to see beside it."""
        ...

    def views(self, item_ids: Sequence[Id]) -> list[ItemView | None]:
        """Return items as a person sees them, in order; None for one that the catalogue does not know. Quick."""
        ...

    def add_events(self, events: Sequence[EventRecord]) -> list[WriteOutcome]:
        """Store events; they are durable, and part of the next answer, when this returns."""
        ...

    def put_items(self, items: Sequence[ItemRecord]) -> list[WriteOutcome]:
        """Store items; they are durable when this returns and retrievable within two seconds."""
        ...

    def delete_items(self, item_ids: Sequence[Id]) -> list[WriteOutcome]:
        """Take items out; they are not served once this has returned."""
        ...

    def set_eligibility(self, *, advertisers: dict[str, bool], items: dict[Id, bool]) -> None:
        """Say who has budget and what is in stock; it holds for every request after this has returned."""
        ...

    def publish(self, name: str) -> VersionInfo:
        """Publish the run `name` of the folder of runs, verify it, and serve it from then on."""
        ...

    def rollback(self) -> VersionInfo:
        """Serve the version before the current one again."""
        ...

    def versions(self) -> list[VersionInfo]:
        """Return the published versions, latest first."""
        ...

    def readiness(self) -> Readiness:
        """Say whether requests can be answered; quick."""
        ...

    def surfaces(self) -> list[str]:
        """Return the surfaces that the model knows, for a person to pick from."""
        ...

    def users(self, *, limit: int) -> list[Id]:
        """Return some users that the store knows, for a person to pick from."""
        ...
