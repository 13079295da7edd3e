"""Memory does not grow with what was asked: good requests and bad ones, writes and deletions, and the page."""

import gc
import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def resident_bytes() -> int:
    """Return what this process holds in memory, by the system's count."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def mixed(whole, number):
    """Send one of many kinds of requests."""
    post, user = whole.client.post, whole.user + number % 50
    kinds = (
        lambda: post("/v1/candidates", json={"user_id": user, "k": 50}),
        lambda: post("/v1/candidates", json={"user_id": 10**12 + number, "surface": f"s{number}", "k": 20}),
        lambda: post("/v1/candidates", json={"k": 20, "filters": {"advertisers": {"deny": [f"a{number}"]}}}),
        lambda: post("/v1/candidates", json={"user_id": f"u{number}"}),
        lambda: post("/v1/candidates", json={"k": 20, "query": f"word{number}", "subject_item_id": number}),
        lambda: post("/v1/candidates", content=json.dumps({"k": number}).encode()[:-1]),
        lambda: post("/v1/candidates", json={"filters": {"least_price": 2, "most_price": 1}}),
        lambda: post("/v1/candidates/batch", json={"requests": [{"user_id": user, "k": 5}] * 4}),
        lambda: post("/v1/events", json={"events": [{"event_id": f"m{number % 100}", "ts": "2026-01-05T10:00:00Z",
                     "user_id": 10**12, "item_id": number, "action": "click"}, {"x": number}]}),
        lambda: whole.client.put("/v1/items", json={"items": [{"item_id": 9 * 10**8 + number % 100, "price": number}]}),
        lambda: whole.client.request("DELETE", "/v1/items", json={"item_ids": [9 * 10**8 + number % 100]}),
        lambda: post("/v1/eligibility", json={"advertisers": {f"a{number % 100}": {"has_budget": number % 2 == 0}}}),
        lambda: post("/v1/admin/publish", json={"run": f"r{number}"}, headers={"idempotency-key": f"k{number}"}),
        lambda: whole.client.get("/", params={"user": str(user), "surface": f"s{number}", "k": 20}),
        lambda: whole.client.get(f"/nowhere/{number}"),
        lambda: post("/openrtb2", json={"id": "x", "imp": [{"id": "1"}], "user": {"id": str(user)}}),
    )  # fmt: skip
    assert kinds[number % len(kinds)]().status_code < 600


def test_memory_does_not_grow_over_thousands_of_requests_of_all_kinds(whole):
    def send(numbers):
        for number in numbers:
            mixed(whole, number)
        whole.log.seek(0)
        whole.log.truncate()

    # The caches with a bound fill up first: filters, answers for the page, results of admin requests.
    send(range(1_000))
    before = resident_bytes()
    send(range(1_000, 3_000))
    # Five kilobytes left behind by each of 2,000 requests would be 10 MB.
    assert resident_bytes() - before < 10_000_000
    assert whole.edge.bodies.buffered_bytes == 0
    assert all(lane.held == 0 for lane in whole.edge.lanes)
    assert whole.bugs() == []
