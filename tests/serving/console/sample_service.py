"""A small service in memory that really answers: vectors of items, users as the mean of theirs, every filter applied.

Everything is drawn from one seed, so two of them are equal.
"""

import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lowerfunnel.errors import DataError, LowerfunnelError
from lowerfunnel.serving.requests import Candidate, CandidateAnswer, CandidateRequest, Filters, Id
from lowerfunnel.serving.service import (
    Card,
    Inspection,
    ItemView,
    Readiness,
    Removal,
    TimelineEntry,
    VersionInfo,
)

NOUNS = {
    "lamps": ["Reading lamp", "Paper lantern", "Desk light", "Brass floor lamp"],
    "chairs": ["Oak armchair", "Folding chair", "Rocking chair", "Bar stool"],
    "shoes": ["Trail running shoe", "Leather loafer", "Canvas sneaker", "Winter boot"],
    "kitchen": ["Cast-iron pan", "Espresso pot", "Ceramic bowl", "Bread knife"],
    "garden": ["Watering can", "Raised bed", "Pruning shears", "Bird house"],
    "bags": ["Weekend bag", "City backpack", "Card holder", "Tote bag"],
}
COLOURS = ["sage", "terracotta", "ink blue", "sand", "mustard", "charcoal"]
ADVERTISERS = [
    f"{name} {kind}" for name in ("Nordlicht", "Alder", "Mira", "Foxglove") for kind in ("Home", "Studio", "Co")
]
HOUR_US = 3600 * 10**6
NOW_US = 1_790_000_000 * 10**6


@dataclass(frozen=True)
class Item:
    view: ItemView
    attributes: frozenset[str]


@dataclass
class SampleService:
    """Behaves as the protocol says; `broken` is raised by every method, `items` and `timelines` may be changed."""

    seed: int = 7
    broken: LowerfunnelError | None = None
    degraded: tuple[str, ...] = ()
    pause_s: float = 0.0
    version: str = "2026-11-26-b41f"
    items: dict[Id, Item] = field(default_factory=dict)
    timelines: dict[Id, list[TimelineEntry]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        generator = np.random.default_rng(self.seed)
        self._vectors: dict[Id, np.ndarray] = {}
        categories = list(NOUNS)
        centres = generator.normal(size=(len(categories), 16))
        for item_id in range(100, 400):
            category = int(generator.integers(len(categories)))
            noun = NOUNS[categories[category]][int(generator.integers(4))]
            colour = COLOURS[int(generator.integers(len(COLOURS)))]
            view = ItemView(
                item_id=item_id,
                title=f"{noun}, {colour}",
                price=round(float(generator.lognormal(3.6, 0.8)), 2),
                currency="EUR",
                advertiser_id=ADVERTISERS[int(generator.integers(len(ADVERTISERS)))],
                category_id=categories[category],
                image_url=f"https://pictures.example/{item_id}.jpg",
            )
            country = ["country=DE"] if generator.random() < 0.3 else []
            self.add(
                Item(view, frozenset([f"color={colour}", *country])),
                centres[category] + generator.normal(size=16) * 0.7,
            )
        ids = list(self.items)
        for user in range(1, 31):
            taste = generator.choice(len(categories), size=2, replace=False)
            liked = [i for i in ids if self.items[i].view.category_id in {categories[t] for t in taste}]
            entries = []
            for number in range(int(generator.integers(3, 90))):
                action = str(
                    generator.choice(
                        ["impression", "view", "click", "save", "add_to_cart", "checkout"],
                        p=[0.4, 0.2, 0.2, 0.08, 0.08, 0.04],
                    )
                )
                entries.append(
                    self.entry(
                        liked[int(generator.integers(len(liked)))],
                        action,
                        number,
                        dwell_s=float(generator.exponential(20)) if action == "view" else None,
                    )
                )
            self.timelines[user] = entries

    def add(self, item: Item, vector: np.ndarray | None = None) -> None:
        """Put an item into the catalogue; without a vector it gets one that is all its own."""
        item_id = item.view.item_id
        drawn = np.random.default_rng(zlib.crc32(str(item_id).encode())).normal(size=16) if vector is None else vector
        self.items[item_id] = item
        self._vectors[item_id] = drawn / np.linalg.norm(drawn)

    def entry(self, item_id: Id, action: str, hours_ago: float, *, dwell_s: float | None = None) -> TimelineEntry:
        """Return an event some hours before now."""
        item = self.items.get(item_id)
        surface = ["home feed", "search", "related"][int(hours_ago) % 3]
        return TimelineEntry(
            ts_us=NOW_US - int(hours_ago * HOUR_US),
            action=action,
            item_id=item_id,
            item=item.view if item else None,
            surface=surface,
            dwell_s=dwell_s,
        )

    def _query(self, request: CandidateRequest) -> np.ndarray:
        parts = [
            self._vectors[e.item_id] for e in self.timelines.get(request.user_id, [])[:20] if e.item_id in self._vectors
        ]
        if request.subject_item_id in self._vectors:
            parts += [self._vectors[request.subject_item_id]] * 20
        if request.query is not None:
            words = set(request.query.lower().split())
            parts += [
                self._vectors[i]
                for i, item in self.items.items()
                if words & set((item.view.title or "").lower().split())
            ]
        return np.mean(parts, axis=0) if parts else np.mean(list(self._vectors.values()), axis=0)

    def _checks(self, request: CandidateRequest) -> dict[str, set[Id]]:
        """By the words for each filter that is set: the items that it removes."""
        filters: Filters = request.filters
        bought = {e.item_id for e in self.timelines.get(request.user_id, []) if e.action == "checkout"}
        removed: dict[str, set[Id]] = {}

        def check(words: str, passes) -> None:  # type: ignore[no-untyped-def]
            gone = {i for i, item in self.items.items() if not passes(item)}
            if gone:
                removed[words] = gone

        if filters.exclude_purchased and bought:
            removed["purchased already"] = bought & self.items.keys()
        if filters.country is not None:
            check(
                f"not sold in {filters.country}",
                lambda i: (
                    f"country={filters.country}" in i.attributes
                    or not any(a.startswith("country=") for a in i.attributes)
                ),
            )
        for word, choice in (("advertiser", filters.advertisers), ("category", filters.categories)):
            value = lambda i, word=word: i.view.advertiser_id if word == "advertiser" else i.view.category_id  # noqa: E731
            if choice.allow is not None:
                check(f"{word} not among those allowed", lambda i, choice=choice, value=value: value(i) in choice.allow)
            if choice.deny:
                check(f"{word} denied", lambda i, choice=choice, value=value: value(i) not in choice.deny)
        if filters.least_price is not None:
            check(
                f"cheaper than {filters.least_price:g}",
                lambda i: i.view.price is not None and i.view.price >= filters.least_price,
            )
        if filters.most_price is not None:
            check(
                f"dearer than {filters.most_price:g}",
                lambda i: i.view.price is not None and i.view.price <= filters.most_price,
            )
        if filters.attributes_all:
            check("an attribute is missing", lambda i: filters.attributes_all <= i.attributes)
        if filters.attributes_any is not None:
            check("none of the attributes", lambda i: bool(filters.attributes_any & i.attributes))
        if filters.attributes_none:
            check("an attribute that must not be", lambda i: not filters.attributes_none & i.attributes)
        return removed

    def inspect(self, request: CandidateRequest) -> Inspection:
        """Rank everything that passes."""
        self._raise_if_broken()
        began = time.perf_counter()
        if self.pause_s:
            time.sleep(self.pause_s)
        known = request.subject_item_id in self.items
        if isinstance(request.subject_item_id, str) and not known:
            raise DataError(f"subject_item_id must be an integer as in the log, got {request.subject_item_id!r}")
        ignored = [] if request.surface in {None, *self.surfaces()} else ["surface"]
        if request.subject_item_id is not None and not known:
            ignored.append("subject_item_id")
        timeline = tuple(self.timelines.get(request.user_id, [])) if "store" not in self.degraded else ()
        query = self._query(request)
        query = query / np.linalg.norm(query)
        checks = self._checks(request)
        searched = time.perf_counter()
        scores = {i: float(vector @ query) for i, vector in self._vectors.items() if i != request.subject_item_id}
        order = sorted(scores, key=lambda i: (-scores[i], str(i)))
        eligible = [i for i in order if not any(i in gone for gone in checks.values())]
        most, seen, chosen = request.filters.most_per_advertiser, {}, []
        for i in eligible:
            advertiser = self.items[i].view.advertiser_id
            seen[advertiser] = seen.get(advertiser, 0) + 1
            if (most is None or advertiser is None or seen[advertiser] <= most) and len(chosen) < request.k:
                chosen.append(i)
        removed = []
        for words, gone in checks.items():
            out = [i for i in order[: request.k] if i in gone]
            if out:
                removed.append(
                    Removal(reason=words, count=len(out), examples=tuple(self.items[i].view for i in out[:3]))
                )
        cards = []
        for rank, i in enumerate(chosen):
            sources = (
                ("conversion", "engagement")
                if rank % 3 == 0
                else ("conversion",)
                if rank % 3 == 1
                else ("popular", "fresh", "conversion")
            )
            near = sorted(
                (
                    (place, float(self._vectors[i] @ self._vectors[e.item_id]))
                    for place, e in enumerate(timeline)
                    if e.item_id in self._vectors
                ),
                key=lambda pair: (-pair[1], pair[0]),
            )[:3]
            cards.append(
                Card(
                    candidate=Candidate(item_id=i, score=scores[i], sources=sources),
                    item=self.items[i].view,
                    nearest=tuple(near),
                )
            )
        total_ms = (time.perf_counter() - began) * 1000
        search_ms = (time.perf_counter() - searched) * 1000
        answer = CandidateAnswer(
            request_id=request.request_id,
            version=self.version,
            candidates=tuple(card.candidate for card in cards),
            partial=len(cards) < request.k,
            degraded=self.degraded,
            ignored=tuple(ignored),
            known_user=bool(timeline),
            eligible_items=len(eligible),
            plans={"conversion": "graph", "engagement": "graph", "popular": "list", "fresh": "exact"},
            stage_ms={
                "store": total_ms * 0.1,
                "features": total_ms * 0.05,
                "tower": (total_ms - search_ms) * 0.5,
                "filter": search_ms * 0.1,
                "search": search_ms * 0.6,
                "blend": search_ms * 0.1,
                "total": total_ms,
            },
        )
        return Inspection(answer=answer, timeline=timeline, cards=tuple(cards), removed=tuple(removed))

    def candidates(self, requests: Sequence[CandidateRequest]) -> list[CandidateAnswer]:
        """Answer as `inspect` does."""
        return [self.inspect(request).answer for request in requests]

    def versions(self) -> list[VersionInfo]:
        """Two versions."""
        self._raise_if_broken()
        now = VersionInfo(
            version=self.version,
            published_at_us=NOW_US,
            current=True,
            items=len(self.items),
            generators=("conversion", "engagement", "popular", "fresh"),
            recipe="full",
        )
        return [now, replace(now, version="2026-11-25-07aa", published_at_us=NOW_US - 26 * HOUR_US, current=False)]

    def readiness(self) -> Readiness:
        """Ready unless broken."""
        if self.broken is not None:
            return Readiness(ready=False, checks={"version": str(self.broken), "store": "ok"}, version=None)
        return Readiness(ready=True, checks={"version": "ok", "store": "ok"}, version=self.version)

    def surfaces(self) -> list[str]:
        """Three of them."""
        self._raise_if_broken()
        return ["home feed", "related", "search"]

    def users(self, *, limit: int) -> list[Id]:
        """Those with a timeline."""
        self._raise_if_broken()
        return list(self.timelines)[:limit]

    def views(self, item_ids: Sequence[Id]) -> list[ItemView | None]:
        """Return items as they are drawn."""
        self._raise_if_broken()
        return [self.items[item_id].view if item_id in self.items else None for item_id in item_ids]

    def _raise_if_broken(self) -> None:
        if self.broken is not None:
            raise self.broken

    def add_events(self, events):  # type: ignore[no-untyped-def]
        """Not written to."""
        raise NotImplementedError

    put_items = delete_items = set_eligibility = publish = rollback = add_events
