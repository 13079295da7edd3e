"""Items and events with odd content: each is served, or rejected with a sentence, and none spoils the answers of others."""

import json
import time

import pytest

LEAST, MOST = -(2**63), 2**63 - 1


def found(whole, item_id):
    """The item as the server answers with it, alone."""
    answer = whole.ask(filters={"items": {"allow": [item_id]}})
    return [one["item_id"] for one in answer["candidates"]]


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"price": 0},
        {"price": 1e308},
        {"price": 5e-324},
        {"attributes": [f"a{n}" for n in range(1000)]},
        {"attributes": ["x" * 512] * 1000},
        {"attributes": ["country=", "country=DE", "COUNTRY=de", "=", "country=DEU"]},
        {"title": ""},
        {"title": "\x00"},
        {"title": "<script>alert(1)</script> {{ 7 * 7 }} \u202e" + "W" * 900},
        {"advertiser_id": "\x00", "category_id": " "},
        {"advertiser_id": "x" * 512, "category_id": "\U0001f469\u200d\U0001f469"},
        {"image_url": "https://x/" + "a" * 1990},
        {"content": [0.0] * 32, "visual": [0.0] * 16},
        {"content": [1e10] * 32},
        {"content": [1e-45] * 32, "visual": [-1e10] * 16},
    ],
)
@pytest.mark.parametrize("item_id", [10**9, LEAST, MOST, 0])
def test_an_item_of_odd_content_is_found_and_shown_and_leaves_the_other_answers_alone(whole, item_id, content):
    before = whole.ask(user_id=whole.user, k=20, at="2029-01-01T00:00:00Z", filters={"items": {"deny": [item_id]}})
    (result,) = whole.put({"item_id": item_id, **content})
    assert result == {"status": "accepted", "reason": None}
    assert found(whole, item_id) == [item_id]
    after = whole.ask(user_id=whole.user, k=20, at="2029-01-01T00:00:00Z", filters={"items": {"deny": [item_id]}})
    assert after["candidates"] == before["candidates"]
    # Beside it, and for a user who has seen it.
    assert whole.ask(subject_item_id=item_id)["ignored"] == []
    whole.add({"user_id": item_id, "item_id": item_id}, {"user_id": item_id, "item_id": item_id, "action": "checkout"})
    assert whole.ask(user_id=item_id)["known_user"]
    page = whole.client.get("/", params={"user": str(item_id), "subject": str(item_id), "k": 500})
    assert page.status_code == 200
    assert "<script>alert" not in page.text
    whole.delete(item_id)
    assert found(whole, item_id) == []
    assert whole.client.get("/", params={"user": str(item_id)}).status_code == 200


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"content": [1.0]}, "has length 1, and the model reads 32"),
        ({"visual": [1.0] * 4096}, "has length 4096, and the model reads 16"),
        ({"content": [1e300] * 32}, "must hold finite 32-bit numbers"),
        ({"content": [1e38] * 32}, "has no finite vector by the generator conversion"),
        ({"price": -1}, "price"),
        ({"attributes": [""]}, "attributes[0]"),
        ({"attributes": ["a"] * 1001}, "attributes"),
        ({"advertiser_id": ""}, "advertiser_id"),
        ({"item_id": "7"}, "item ids here are int64"),
        ({"item_id": 1.0}, "item_id"),
        ({"title": "x" * 1001}, "title"),
        ({"image_url": "javascript:alert(1)"}, "image_url"),
    ],
)
def test_an_item_that_cannot_be_served_is_rejected_alone_and_says_why(whole, content, sentence):
    results = whole.put({"item_id": 20_000_000}, {"item_id": 20_000_001, **content}, {"item_id": 20_000_002})
    assert [result["status"] for result in results] == ["accepted", "rejected", "accepted"]
    assert sentence in results[1]["reason"]
    assert found(whole, 20_000_000) == [20_000_000]
    assert found(whole, 20_000_001) == []
    whole.delete(20_000_000, 20_000_002)


def test_numbers_that_json_has_no_words_for_are_refused(whole):
    body = b'{"items": [{"item_id": 1, "content": [NaN]}]}'
    answer = whole.client.put("/v1/items", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400


def test_a_thousand_items_at_once_are_served_within_two_seconds_even_with_bad_ones_among_them(whole):
    items = [{"item_id": 30_000_000 + n, "price": n, "advertiser_id": "all of them"} for n in range(1000)]
    for place in (3, 500, 999):
        items[place]["content"] = [1.0]
    began_s = time.monotonic()
    results = whole.put(*items)
    assert time.monotonic() - began_s < 2.0
    assert [place for place, result in enumerate(results) if result["status"] == "rejected"] == [3, 500, 999]
    answer = whole.ask(k=1000, filters={"advertisers": {"allow": ["all of them"]}})
    assert len(answer["candidates"]) == answer["eligible_items"] == 997
    # Those that differ in nothing but their price are told apart by it.
    assert whole.ask(filters={"advertisers": {"allow": ["all of them"]}, "least_price": 998})["eligible_items"] == 1
    whole.client.post("/v1/eligibility", json={"advertisers": {"all of them": {"has_budget": False}}})
    assert whole.ask(filters={"advertisers": {"allow": ["all of them"]}})["candidates"] == []
    whole.delete(*(item["item_id"] for item in items))


def test_an_item_that_is_put_over_and_over_is_there_once_as_it_was_put_last(whole):
    for price in range(200):
        whole.put({"item_id": 40_000_000, "price": price})
    repeated = [{"item_id": 40_000_000, "price": price} for price in range(1000)]
    assert {result["status"] for result in whole.put(*repeated)} == {"accepted"}
    allow = {"items": {"allow": [40_000_000]}}
    assert whole.ask(k=10, filters={**allow, "least_price": 999})["eligible_items"] == 1
    assert whole.ask(k=10, filters={**allow, "most_price": 998})["eligible_items"] == 0
    whole.delete(40_000_000)


def test_an_advertiser_of_all_items_is_capped_and_may_be_barred(whole):
    cap = whole.ask(k=50, filters={"most_per_advertiser": 1})
    views = whole.engine.views([one["item_id"] for one in cap["candidates"]])
    named = [view.advertiser_id for view in views if view.advertiser_id is not None]
    assert len(named) == len(set(named))
    everyone = sorted({view.advertiser_id for view in whole.engine.views([*_all(whole)]) if view.advertiser_id})
    answer = whole.ask(k=50, filters={"advertisers": {"deny": everyone}})
    assert all(
        view.advertiser_id is None for view in whole.engine.views([one["item_id"] for one in answer["candidates"]])
    )


def _all(whole):
    return [one["item_id"] for one in whole.ask(k=1000, filters={"exclude_purchased": False})["candidates"]]


def test_deleting_what_was_never_there_changes_nothing(whole):
    before = whole.ask(user_id=whole.user, k=50, at="2029-01-01T00:00:00Z")["candidates"]
    assert {result["status"] for result in whole.delete(*range(50_000_000, 50_001_000))} == {"accepted"}
    assert whole.ask(user_id=whole.user, k=50, at="2029-01-01T00:00:00Z")["candidates"] == before


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        ({"user_id": "7"}, "user_id must be an integer"),
        ({"item_id": "7"}, "item_id must be an integer"),
        ({"context_item_id": "7"}, "context_item_id must be an integer"),
        ({"dwell_s": 1e308}, "dwell_s must be a number of seconds that 32 bits hold"),
        ({"dwell_s": -1}, "dwell_s"),
        ({"action": "buy"}, "action"),
        ({"ts": "9999-12-31T00:00:00Z"}, "too far ahead"),
        ({"event_id": ""}, "event_id"),
    ],
)
def test_an_event_that_no_timeline_can_hold_is_rejected_alone_and_says_why(whole, event, sentence):
    good = {"user_id": 60_000_000, "item_id": 1}
    results = whole.add(good, {**good, **event}, good)
    assert [result["status"] for result in results] == ["accepted", "rejected", "accepted"]
    assert sentence in results[1]["reason"]


@pytest.mark.parametrize(
    "event",
    [
        {"item_id": 10**15},
        {"dwell_s": 3e38},
        {"dwell_s": 0},
        {"value": 1e308, "currency": "USD", "action": "checkout"},
        {"surface": "\x00"},
        {"query": "\u202e" * 500},
        {"ts": "1970-01-01T00:00:00Z"},
        {"position": 1_000_000, "request_id": "x" * 512, "context_item_id": MOST},
    ],
)
def test_an_event_of_odd_content_is_kept_and_its_user_answered(whole, log_items, event):
    user = 61_000_000 + len(json.dumps(event))
    known = log_items[0]["item_id"]
    (result,) = whole.add({"user_id": user, "item_id": known, **event})
    assert result["status"] == "accepted"
    answer = whole.ask(user_id=user, k=20)
    assert answer["known_user"]
    assert len(answer["candidates"]) == 20
    assert whole.client.get("/", params={"user": str(user)}).status_code == 200


@pytest.mark.slow
def test_a_user_with_twenty_thousand_events_is_answered_about_as_quickly_as_others(whole, log_items):
    user, ids = 70_000_000, [item["item_id"] for item in log_items]
    for start in range(0, 20_000, 1000):
        whole.add(
            *({"user_id": user, "item_id": ids[n % len(ids)], "action": "view"} for n in range(start, start + 1000))
        )

    def quickest_ms(who):
        return min(whole.ask(user_id=who, debug=True)["stage_ms"]["total"] for _ in range(5))

    assert whole.ask(user_id=user)["known_user"]
    # Twenty thousand events are read in some milliseconds; pairs of them would be four hundred million.
    assert quickest_ms(user) < quickest_ms(whole.user) + 100
    began_s = time.monotonic()
    assert whole.client.get("/", params={"user": str(user), "k": 500}).status_code == 200
    assert time.monotonic() - began_s < 5
    many = {"requests": [{"user_id": user, "k": 1, "deadline_ms": 50}] * 256}
    began_s = time.monotonic()
    assert whole.client.post("/v1/candidates/batch", json=many).status_code == 200
    # The store is asked until the deadline, and what is left is answered without it.
    assert time.monotonic() - began_s < 3


def test_none_of_it_was_an_error_of_the_servers_own(whole):
    assert whole.bugs() == []
