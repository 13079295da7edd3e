"""Writers remember what was acknowledged, and nothing else."""

import json
from datetime import datetime

import numpy as np
import pytest
from load_generator import BudgetWriter, EventWriter, ItemWriter


def outcomes(*statuses: str) -> bytes:
    return json.dumps({"results": [{"status": status, "reason": "price: no."} for status in statuses]}).encode()


def test_events_are_acknowledged_one_by_one():
    writer = EventWriter([1, 2], [30, 40], np.random.default_rng(0), prefix="w", batch=3, surfaces=["home"])
    requests = writer.requests()
    first, second, third = next(requests), next(requests), next(requests)
    assert first.about == ["w-0", "w-1", "w-2"]
    assert writer.note(first, 200, outcomes("accepted", "rejected", "duplicate"), 1.0) == "rejected: price: no."
    assert writer.note(second, 503, b"{}", 1.0) == "a write was answered with 503"
    assert writer.note(third, 200, outcomes("accepted"), 1.0) == "3 were written and 1 answered"
    assert writer.acknowledged == ["w-0", "w-2"]
    assert list(writer.sent) == [f"w-{number}" for number in range(9)]
    events = json.loads(first.body)["events"]
    assert events == [writer.sent[event_id] for event_id in first.about]
    assert {event["user_id"] for event in writer.sent.values()} == {1, 2}
    assert all(datetime.fromisoformat(event["ts"]).tzinfo is not None for event in events)


@pytest.mark.parametrize(
    ("first_id", "ids"), [(900, [900, 901, 902, 903]), ("new", ["new-0", "new-1", "new-2", "new-3"])]
)
def test_items_get_ids_of_their_own(first_id, ids):
    writer = ItemWriter([{"item_id": 5, "title": "lamp"}], np.random.default_rng(0), first_id=first_id, batch=2)
    requests = writer.requests()
    first, second = next(requests), next(requests)
    assert (first.method, first.path) == ("PUT", "/v1/items")
    assert [*first.about, *second.about] == ids
    assert json.loads(second.body)["items"] == [{"item_id": item_id, "title": "lamp"} for item_id in ids[2:]]
    assert writer.note(second, 200, outcomes("accepted", "accepted"), 1.0) is None
    assert writer.acknowledged == ids[2:]


def test_what_holds_of_budgets_is_what_was_acknowledged_last():
    writer = BudgetWriter(["a", "b", "c", "d"], np.random.default_rng(1), batch=2)
    requests = writer.requests()
    held: dict[str, bool] = {}
    for number in range(50):
        request = next(requests)
        assert len(request.about) == 2
        if number % 3:
            assert writer.note(request, 200, b"{}", 1.0) is None
            held |= request.about
        else:
            assert writer.note(request, 503, b"{}", 1.0) is not None
    assert writer.acknowledged == held
    assert set(held) == {"a", "b", "c", "d"}
    assert json.loads(request.body) == {"advertisers": {n: {"has_budget": state} for n, state in request.about.items()}}
