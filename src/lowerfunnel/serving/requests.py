"""What a candidate server is asked, and what it answers.

Ids are integers or strings, as in the log that the model was trained on; times are microseconds since 1970 UTC.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

Id = int | str

_LETTERS_OF_A_COUNTRY = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Which values may come back: only those of `allow`, where it is not None, and none of `deny`."""

    allow: frozenset[Id] | None = None
    deny: frozenset[Id] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class Filters:
    """Which items may come back. Everything that is given must hold.

    Out of stock, an advertiser without budget and a deleted item are never served, whatever the filters say.
    """

    country: str | None = None
    """Two letters. An item is sold in a country if it has the attribute "country=XX", or no such attribute at all."""
    advertisers: Choice = Choice()
    """By `advertiser_id`; an item without one passes `deny` and fails any `allow`."""
    categories: Choice = Choice()
    """By `category_id`; the same."""
    items: Choice = Choice()
    """By `item_id`."""
    attributes_all: frozenset[str] = frozenset()
    """Attributes that an item must have, all of them."""
    attributes_any: frozenset[str] | None = None
    """Attributes of which an item must have one."""
    attributes_none: frozenset[str] = frozenset()
    """Attributes that an item must not have."""
    least_price: float | None = None
    """In the catalogue's unit; an item without a price fails."""
    most_price: float | None = None
    """The same."""
    exclude_purchased: bool = True
    """Leave out what the user has converted on."""
    most_per_advertiser: int | None = None
    """Items of one advertiser, at most; items without an advertiser are not limited."""

    def __post_init__(self) -> None:
        country = self.country
        if country is not None and not (
            len(country) == _LETTERS_OF_A_COUNTRY and country.isascii() and country.isalpha()
        ):
            raise ValueError(f"country must be two letters such as 'DE', got {country!r}; leave it out for any country")
        for name, price in (("least_price", self.least_price), ("most_price", self.most_price)):
            if price is not None and not math.isfinite(price):
                raise ValueError(f"{name} must be a finite number, got {price}; leave it out for no bound")
        if self.least_price is not None and self.most_price is not None and self.least_price > self.most_price:
            raise ValueError(
                f"least_price must not be above most_price, got {self.least_price} and {self.most_price}; swap them"
            )
        if self.most_per_advertiser is not None and self.most_per_advertiser < 1:
            raise ValueError(
                f"most_per_advertiser must be at least 1, got {self.most_per_advertiser}; leave it out for no limit"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidateRequest:
    """One request for candidates."""

    request_id: str
    k: int
    """Candidates wanted, at least 1."""
    user_id: Id | None = None
    """None for somebody of whom nothing is known; an unknown id is legal too."""
    user_attributes: tuple[str, ...] | None = None
    """Attributes of a user whom the model does not know; for one that it knows, in place of those it knows."""
    surface: str | None = None
    subject_item_id: Id | None = None
    """The item that the request stands beside (related items)."""
    query: str | None = None
    """The words of a search."""
    filters: Filters = Filters()
    at_us: int | None = None
    """Answer from what was known strictly before this time; None is now."""
    deadline_ms: float = 50.0
    """Counted from when the engine begins."""


class Candidate(NamedTuple):
    """One item of an answer. A tuple, as an answer makes a hundred, and a frozen dataclass takes three times as long to make."""

    item_id: Id
    score: float
    """Of the source that ranks first among `sources`; comparable within one source only."""
    sources: tuple[str, ...]
    """Every generator that found it, the one that brought it in first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidateAnswer:
    """The answer to one request."""

    request_id: str
    version: str
    """The one version that made all of it."""
    candidates: tuple[Candidate, ...]
    partial: bool
    """Whether fewer than `k` came, as no more items are eligible or time ran out."""
    degraded: tuple[str, ...] = ()
    """What was left out to answer in time: "store" (context only), "deadline" (a generator was skipped)."""
    ignored: tuple[str, ...] = ()
    """What the request said and no model knows, so that the answer was made without it: "surface", "subject_item_id",
    "query", "user_attributes"."""
    known_user: bool = False
    """Whether the store holds anything of the user."""
    eligible_items: int = 0
    """Items that passed the filters."""
    plans: dict[str, str] = field(default_factory=dict)
    """How each generator searched: "exact", "graph", "lists", "list", by its name."""
    stage_ms: dict[str, float] = field(default_factory=dict)
    """Milliseconds of each stage: "store", "features", "tower", "filter", "search", "blend"; and "total"."""
