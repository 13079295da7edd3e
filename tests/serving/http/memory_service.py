"""A service that keeps everything in dictionaries and answers by a rule that can be worked out by hand."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from lowerfunnel.errors import DataError, RunError, UnavailableError
from lowerfunnel.serving.records import EventRecord, ItemRecord
from lowerfunnel.serving.requests import Candidate, CandidateAnswer, CandidateRequest, Choice, Filters, Id
from lowerfunnel.serving.service import Inspection, ItemView, Readiness, VersionInfo, WriteOutcome


@dataclass
class MemoryService:
    """Scores of items fall by their place in the catalogue; an item that the user has converted on may be left out."""

    runs: tuple[str, ...] = ("run-a", "run-b")
    items: dict[Id, ItemRecord] = field(default_factory=dict)
    events: dict[str, EventRecord] = field(default_factory=dict)
    budgets: dict[str, bool] = field(default_factory=dict)
    stock: dict[Id, bool] = field(default_factory=dict)
    published: list[str] = field(default_factory=lambda: ["run-a"])
    publications: int = 0
    delay_s: float = 0.0
    seen: list[CandidateRequest] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lock = threading.Lock()

    def candidates(self, requests: Sequence[CandidateRequest]) -> list[CandidateAnswer]:
        began = time.perf_counter()
        if not self.published:
            raise UnavailableError("nothing is published yet; publish a run")
        if self.delay_s:
            time.sleep(self.delay_s)
        with self.lock:
            self.seen += requests
            return [self._answer(request, began) for request in requests]

    def _answer(self, request: CandidateRequest, began: float) -> CandidateAnswer:
        if request.user_id == -1:
            raise DataError("user_id must be a string as in the log, got -1")
        eligible = [item for item in self.items.values() if self._passes(item, request)]
        most = request.filters.most_per_advertiser
        chosen: list[ItemRecord] = []
        for item in eligible:
            of_same = sum(one.advertiser_id == item.advertiser_id for one in chosen)
            if most is None or item.advertiser_id is None or of_same < most:
                chosen.append(item)
        places = {item_id: place for place, item_id in enumerate(self.items)}
        found = [
            Candidate(item_id=item.item_id, score=1 / (1 + places[item.item_id]), sources=("popular",))
            for item in chosen[: request.k]
        ]
        return CandidateAnswer(
            request_id=request.request_id,
            version=self.published[-1],
            candidates=tuple(found),
            partial=len(found) < request.k,
            known_user=any(event.user_id == request.user_id for event in self.events.values()),
            eligible_items=len(eligible),
            plans={"popular": "list"},
            stage_ms={"search": 0.2, "total": (time.perf_counter() - began) * 1000},
        )

    def _passes(self, item: ItemRecord, request: CandidateRequest) -> bool:
        filters: Filters = request.filters
        sold_in = {a.removeprefix("country=") for a in item.attributes if a.startswith("country=")}
        bought = {e.item_id for e in self.events.values() if e.user_id == request.user_id and e.action == "checkout"}
        return (
            self.stock.get(item.item_id, True)
            and self.budgets.get(item.advertiser_id or "", True)
            and (filters.country is None or not sold_in or filters.country in sold_in)
            and _chosen(filters.advertisers, item.advertiser_id)
            and _chosen(filters.categories, item.category_id)
            and _chosen(filters.items, item.item_id)
            and not (filters.exclude_purchased and item.item_id in bought)
        )

    def inspect(self, request: CandidateRequest) -> Inspection:
        (answer,) = self.candidates([request])
        return Inspection(answer=answer, timeline=(), cards=(), removed=())

    def views(self, item_ids: Sequence[Id]) -> list[ItemView | None]:
        with self.lock:
            return [None if (item := self.items.get(item_id)) is None else _view(item) for item_id in item_ids]

    def add_events(self, events: Sequence[EventRecord]) -> list[WriteOutcome]:
        outcomes = []
        with self.lock:
            for event in events:
                new = event.event_id not in self.events
                self.events.setdefault(event.event_id, event)
                outcomes.append(WriteOutcome(status="accepted" if new else "duplicate"))
        return outcomes

    def put_items(self, items: Sequence[ItemRecord]) -> list[WriteOutcome]:
        with self.lock:
            self.items.update({item.item_id: item for item in items})
        return [WriteOutcome(status="accepted") for _ in items]

    def delete_items(self, item_ids: Sequence[Id]) -> list[WriteOutcome]:
        with self.lock:
            for item_id in item_ids:
                self.items.pop(item_id, None)
        return [WriteOutcome(status="accepted") for _ in item_ids]

    def set_eligibility(self, *, advertisers: dict[str, bool], items: dict[Id, bool]) -> None:
        with self.lock:
            self.budgets.update(advertisers)
            self.stock.update(items)

    def publish(self, name: str) -> VersionInfo:
        if name not in self.runs:
            raise RunError(f"there is no run {name!r} in the folder of runs")
        with self.lock:
            self.publications += 1
            self.published.append(name)
        return self.versions()[0]

    def rollback(self) -> VersionInfo:
        with self.lock:
            if len(self.published) < 2:
                raise RunError("there is no version before the current one; publish one")
            self.published.pop()
        return self.versions()[0]

    def versions(self) -> list[VersionInfo]:
        return [
            VersionInfo(
                version=name,
                published_at_us=1_000_000 + place,
                current=place == len(self.published) - 1,
                items=len(self.items),
                generators=("popular",),
                recipe="by-hand",
            )
            for place, name in reversed(list(enumerate(self.published)))
        ]

    def readiness(self) -> Readiness:
        ready = bool(self.published)
        return Readiness(
            ready=ready,
            checks={"version": "ok" if ready else "nothing is published"},
            version=self.published[-1] if ready else None,
        )

    def surfaces(self) -> list[str]:
        return ["home"]

    def users(self, *, limit: int) -> list[Id]:
        return list(dict.fromkeys(event.user_id for event in self.events.values()))[:limit]


def _chosen(choice: Choice, value: Id | None) -> bool:
    return (choice.allow is None or value in choice.allow) and value not in choice.deny


def _view(item: ItemRecord) -> ItemView:
    return ItemView(
        item_id=item.item_id,
        title=item.title,
        price=item.price,
        currency=item.currency,
        advertiser_id=item.advertiser_id,
        category_id=item.category_id,
        image_url=item.image_url,
    )
