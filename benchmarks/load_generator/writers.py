"""Loads of writes that remember what the server has acknowledged: events, items, and who has budget.

Each is a stream of requests and the function that looks at their answers:

    writer = EventWriter(users, items, np.random.default_rng(0), prefix="w0")
    await run_load(host, port, writer.requests(), 50, 10, 4, on_answer=writer.note)
    writer.acknowledged      # ids that must be there, whatever happens to the server from now on

What was sent and not acknowledged may or may not be there.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np

from load_generator.connection import LoadRequest

Id = int | str
T = TypeVar("T")
_ACTIONS = ("view", "click", "add_to_cart", "save")


class _Writer:
    """What the writers share: ids sent in a request are acknowledged if its answer says so of each."""

    def __init__(self) -> None:
        self.sent: dict[Id, dict[str, Any]] = {}
        """Everything that went out, by its id."""
        self.acknowledged: list[Id] = []
        """Ids that the server said it holds, in the order of the answers."""

    def note(self, request: LoadRequest, status: int, body: bytes, latency_ms: float) -> str | None:
        """Take note of an answer; hand this to `run_load` as `on_answer`."""
        if status != 200:
            return f"a write was answered with {status}"
        ids: list[Id] = request.about  # type: ignore[assignment]
        results = json.loads(body)["results"]
        if len(results) != len(ids):
            return f"{len(ids)} were written and {len(results)} answered"
        rejected = None
        for written, result in zip(ids, results, strict=True):
            if result["status"] == "rejected":
                rejected = f"rejected: {result['reason']}"
            else:
                self.acknowledged.append(written)
        return rejected


class EventWriter(_Writer):
    """Writes events of users of the log on items of its catalogue, all of them now."""

    def __init__(
        self,
        users: Sequence[Id],
        items: Sequence[Id],
        generator: np.random.Generator,
        *,
        prefix: str,
        batch: int = 1,
        surfaces: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self._users, self._items, self._surfaces = users, items, surfaces
        self._generator, self._prefix, self._batch = generator, prefix, batch

    def requests(self) -> Iterator[LoadRequest]:
        """Yield requests without end, of `batch` events each; ids are the prefix and a number."""
        while True:
            events = [self._event() for _ in range(self._batch)]
            yield LoadRequest(
                "/v1/events", json.dumps({"events": events}).encode(), about=[e["event_id"] for e in events]
            )

    def _event(self) -> dict[str, Any]:
        def draw(things: Sequence[T]) -> T:
            return things[int(self._generator.integers(len(things)))]

        event: dict[str, Any] = {
            "event_id": f"{self._prefix}-{len(self.sent)}",
            "ts": datetime.now(UTC).isoformat(),
            "user_id": draw(self._users),
            "item_id": draw(self._items),
            "action": draw(_ACTIONS),
        }
        if self._surfaces:
            event["surface"] = draw(self._surfaces)
        self.sent[event["event_id"]] = event
        return event


class ItemWriter(_Writer):
    """Puts new items, copies of some that are given under ids of their own."""

    def __init__(
        self, models: Sequence[dict[str, Any]], generator: np.random.Generator, *, first_id: int | str, batch: int = 1
    ) -> None:
        super().__init__()
        self._models, self._generator, self._first_id, self._batch = models, generator, first_id, batch

    def requests(self) -> Iterator[LoadRequest]:
        """Yield requests without end, of `batch` items each: ids count up from the first one, or are it and a number."""
        while True:
            items = [self._item() for _ in range(self._batch)]
            yield LoadRequest(
                "/v1/items",
                json.dumps({"items": items}).encode(),
                method="PUT",
                about=[item["item_id"] for item in items],
            )

    def _item(self) -> dict[str, Any]:
        number = len(self.sent)
        item_id = self._first_id + number if isinstance(self._first_id, int) else f"{self._first_id}-{number}"
        item = {**self._models[int(self._generator.integers(len(self._models)))], "item_id": item_id}
        self.sent[item_id] = item
        return item


class BudgetWriter:
    """Turns the budgets of advertisers off and on again.

    Send it over one connection: on several, two writes about one advertiser may overtake each other, and then nobody knows
    which of them holds.
    """

    def __init__(self, advertisers: Sequence[str], generator: np.random.Generator, *, batch: int = 10) -> None:
        self._advertisers, self._generator, self._batch = advertisers, generator, batch
        self.acknowledged: dict[str, bool] = {}
        """Who has budget, as last acknowledged."""
        self.pending: dict[str, bool] = {}
        """What was sent and not acknowledged yet."""

    def requests(self) -> Iterator[LoadRequest]:
        """Yield requests without end, of `batch` advertisers each."""
        while True:
            chosen = self._generator.choice(len(self._advertisers), self._batch, replace=False)
            states = {self._advertisers[a]: bool(self._generator.integers(2)) for a in chosen}
            self.pending |= states
            body = {"advertisers": {name: {"has_budget": state} for name, state in states.items()}}
            yield LoadRequest("/v1/eligibility", json.dumps(body).encode(), about=states)

    def note(self, request: LoadRequest, status: int, body: bytes, latency_ms: float) -> str | None:
        """Take note of an answer; hand this to `run_load` as `on_answer`."""
        if status != 200:
            return f"a write was answered with {status}"
        states: dict[str, bool] = request.about  # type: ignore[assignment]
        self.acknowledged |= states
        self.pending = {name: state for name, state in self.pending.items() if states.get(name) is not state}
        return None
