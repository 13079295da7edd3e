"""Events, items and eligibility over HTTP."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.events.schema import ACTIONS
from lowerfunnel.serving.http.ingest_bodies import EventBody, ItemBody, event_record, item_record
from lowerfunnel.serving.http.values import time_us
from lowerfunnel.serving.records import EventRecord, ItemRecord

EVENT = {"event_id": "e", "ts": "2026-07-01T12:00:00Z", "user_id": "u", "item_id": "lamp", "action": "click"}
LATE_US = 4_000_000_000_000_000


def events(server, *listed) -> dict:
    answer = server.client.post("/v1/events", json={"events": list(listed)})
    assert answer.status_code == 200, answer.text
    return answer.json()


@given(st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_a_time_is_one_moment_whatever_zone_it_is_written_in(moment, offset_min):
    zone = timedelta(minutes=offset_min)
    sign = "-" if offset_min < 0 else "+"
    hours, minutes = divmod(abs(offset_min), 60)
    written = (moment + zone).isoformat() + f"{sign}{hours:02}:{minutes:02}"
    expected = (moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert time_us(written) == expected
    assert time_us(moment.isoformat() + "Z") == expected


@pytest.mark.parametrize(
    "text",
    ["2026-07-01T12:00:00", "2026-07-01", "2026-07-01T25:00:00Z", "2026-07-01T12:00:00.1234567Z", "2026-07-01 12:00:00Z",
     "1782907200", "2026-W27-3T12:00:00Z", "2026-07-01T12:00:00+99:00", "٢026-07-01T12:00:00Z", "0001-01-01T00:00:00Z",
     "2026-07-01T12:00:00Z\n", ""],
)  # fmt: skip
def test_what_names_no_moment_is_refused(text):
    with pytest.raises(ValueError, match="time"):
        time_us(text)


def test_every_field_of_an_event_and_of_an_item_reaches_the_record():
    event = {
        **EVENT, "surface": "home", "dwell_s": 1.5, "request_id": "r", "position": 3, "value": 24.99, "currency": "USD",
        "context_item_id": 7, "query": "lamp",
    }  # fmt: skip
    assert set(event) == set(EventBody.model_fields)
    assert event_record(event, latest_us=LATE_US) == EventRecord(
        ts_us=1_782_907_200_000_000, **{name: value for name, value in event.items() if name != "ts"}
    )
    item = {
        "item_id": 7, "advertiser_id": "a", "category_id": "c", "price": 1, "currency": "EUR", "title": "t",
        "attributes": ["x", "y"], "content": [0.5, 1.0], "visual": [2.0], "image_url": "https://x.example/y.png",
    }  # fmt: skip
    assert set(item) == set(ItemBody.model_fields)
    assert item_record(item) == ItemRecord(
        **{**item, "attributes": ("x", "y"), "content": (0.5, 1.0), "visual": (2.0,)}
    )


def test_what_became_of_each_event_comes_in_order(server):
    answer = events(
        server,
        {**EVENT, "event_id": "order-1"},
        {**EVENT, "event_id": "order-1"},
        {**EVENT, "event_id": "order-2", "action": "buy"},
        {**EVENT, "event_id": "order-3", "action": "checkout"},
        17,
    )
    assert [one["status"] for one in answer["results"]] == ["accepted", "duplicate", "rejected", "accepted", "rejected"]
    assert (answer["accepted"], answer["duplicate"], answer["rejected"]) == (2, 1, 2)
    assert "one of impression" in answer["results"][2]["reason"]


def test_an_event_changes_the_next_answer(server):
    body = {"user_id": "buyer", "k": 10, "deadline_ms": 5000}
    assert "lamp" in [c["item_id"] for c in server.client.post("/v1/candidates", json=body).json()["candidates"]]
    events(server, {**EVENT, "event_id": "bought", "user_id": "buyer", "action": "checkout", "value": 24.99})
    answer = server.client.post("/v1/candidates", json=body).json()
    assert answer["known_user"]
    assert "lamp" not in [c["item_id"] for c in answer["candidates"]]


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_is_taken(server, action):
    assert events(server, {**EVENT, "event_id": f"act-{action}", "action": action})["accepted"] == 1


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"ts": "2026-07-01T12:00:00"}, "ts"),
        ({"ts": 1_782_907_200}, "ts"),
        ({"ts": None}, "ts"),
        ({"value": -1}, "value"),
        ({"dwell_s": -0.5}, "dwell_s"),
        ({"user_id": 1.5}, "user_id"),
        ({"item_id": True}, "item_id"),
        ({"event_id": 17}, "event_id"),
        ({"position": -1}, "position"),
        ({"currency": "usd"}, "currency"),
        ({"email": "a@b.example"}, "email"),
    ],
)
def test_a_bad_event_is_rejected_alone_with_its_reason(server, change, place):
    answer = events(server, {**EVENT, **change}, {**EVENT, "event_id": f"good-{place}-{len(str(change))}"})
    first, second = answer["results"]
    assert first["status"] == "rejected"
    assert first["reason"].startswith(f"{place}: ")
    assert second["status"] == "accepted"


def test_an_event_of_tomorrow_is_rejected_and_one_of_the_next_minutes_is_not(server):
    now = datetime.now(UTC)
    soon = (now + timedelta(minutes=9)).isoformat()
    later = (now + timedelta(minutes=11)).isoformat()
    answer = events(server, {**EVENT, "event_id": "soon", "ts": soon}, {**EVENT, "event_id": "later", "ts": later})
    assert [one["status"] for one in answer["results"]] == ["accepted", "rejected"]


@pytest.mark.parametrize(
    "body", [{}, {"events": []}, {"events": [EVENT] * 1001}, {"events": {}}, {"events": [EVENT], "x": 1}, []]
)
def test_a_list_that_is_none_is_refused_as_a_whole(server, body):
    answer = server.client.post("/v1/events", json=body)
    assert answer.status_code == 422
    assert "events" in answer.json()["error"]["message"]


def test_a_thousand_events_are_taken_at_once_and_a_repeat_changes_nothing(server):
    many = [{**EVENT, "event_id": f"many-{number}"} for number in range(1000)]
    assert events(server, *many)["accepted"] == 1000
    assert events(server, *many)["duplicate"] == 1000


def test_items_come_and_go(server):
    def found(item_id) -> bool:
        body = {"k": 10, "deadline_ms": 5000, "filters": {"items": {"allow": [item_id]}}}
        return bool(server.client.post("/v1/candidates", json=body).json()["candidates"])

    answer = server.client.put("/v1/items", json={"items": [{"item_id": "new"}, {"item_id": "bad", "price": -1}]})
    assert [one["status"] for one in answer.json()["results"]] == ["accepted", "rejected"]
    assert found("new")
    assert not found("bad")
    answer = server.client.request("DELETE", "/v1/items", json={"item_ids": ["new"]})
    assert answer.json()["accepted"] == 1
    assert not found("new")


@pytest.mark.parametrize("ids", [[], [1.5], [True], ["x"] * 1001, "x"])
def test_bad_ids_of_items_are_refused(server, ids):
    assert server.client.request("DELETE", "/v1/items", json={"item_ids": ids}).status_code == 422


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "//x.example/a", "https://x y", ""])
def test_an_image_is_an_address_of_the_web(server, url):
    answer = server.client.put("/v1/items", json={"items": [{"item_id": "img", "image_url": url}]})
    assert answer.json()["rejected"] == 1


def test_budget_and_stock_hold_for_the_next_request(server):
    def found() -> set:
        body = {"k": 10, "user_id": "nobody", "deadline_ms": 5000}
        return {c["item_id"] for c in server.client.post("/v1/candidates", json=body).json()["candidates"]}

    def say(has_budget, in_stock):
        body = {
            "advertisers": {"shop.example": {"has_budget": has_budget}},
            "items": [{"item_id": 7, "in_stock": in_stock}],
        }
        answer = server.client.post("/v1/eligibility", json=body)
        assert answer.json() == {"advertisers": 1, "items": 1}

    say(False, False)
    assert not found() & {"lamp", "sofa", 7}
    say(True, True)
    assert found() >= {"lamp", "sofa", 7}


@pytest.mark.parametrize(
    "body",
    [
        {"advertisers": {"a": {"has_budget": 1}}},
        {"advertisers": {"a": True}},
        {"items": [{"item_id": 1.5, "in_stock": True}]},
        {"items": [{"item_id": 1, "in_stock": True}, {"item_id": 1, "in_stock": False}]},
        {"budgets": {}},
        {"advertisers": {"": {"has_budget": True}}},
    ],
)
def test_eligibility_is_refused_as_a_whole(server, body):
    assert server.client.post("/v1/eligibility", json=body).status_code == 422
