"""Settings of the edge that no other file turns: each changes what a client sees."""

import gzip
import json
from datetime import UTC, datetime, timedelta

import pytest
from tests.serving.http.test_access_log import Stuck
from tests.serving.http.test_openrtb import TITLE, ask, imp

from lowerfunnel.serving.http.app import create_app
from lowerfunnel.serving.http.settings import HttpConfig
from lowerfunnel.serving.metrics import ServerMetrics

OPENRTB = {"openrtb_cpm": 1.5, "openrtb_click_url": "https://shop.example/items/{item_id}"}
LAMP = {"items": [{"item_id": "lamp", "title": "A lamp"}]}


def event_in(seconds):
    ts = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
    return {"events": [{"event_id": f"e{seconds}", "ts": ts, "user_id": "u", "item_id": "lamp", "action": "click"}]}


@pytest.mark.parametrize(("most_future_s", "status"), [(600.0, "accepted"), (10.0, "rejected")])
def test_how_far_ahead_an_event_may_lie(serve, most_future_s, status):
    answer = serve(most_future_s=most_future_s).client.post("/v1/events", json=event_in(60))
    assert answer.json()["results"][0]["status"] == status


@pytest.mark.parametrize(("most_plain_bytes", "status"), [(1 << 20, 200), (1 << 14, 413)])
def test_how_large_a_body_may_grow_when_it_is_decompressed(serve, most_plain_bytes, status):
    body = gzip.compress(json.dumps({"k": 1, "query": "a" * 10, "user_id": "u"}).encode() + b" " * 50_000)
    answer = serve(most_plain_bytes=most_plain_bytes).client.post(
        "/v1/candidates", content=body, headers={"content-type": "application/json", "content-encoding": "gzip"}
    )
    assert answer.status_code == status


@pytest.mark.parametrize(("kept", "repeated"), [(10, True), (1, False)])
def test_how_many_results_are_kept_for_a_repeat(serve, kept, repeated):
    client = serve(idempotency_keys=kept).client

    def publish(key):
        return client.post("/v1/admin/publish", json={"run": "run-b"}, headers={"idempotency-key": key})

    first = publish("one")
    publish("two")
    # A key that was forgotten is a new one, which may come with another body; one that is kept may not.
    other = client.post("/v1/admin/publish", json={"run": "run-a"}, headers={"idempotency-key": "one"})
    assert first.status_code == 200
    assert (other.status_code == 422) == repeated


def test_the_currency_of_a_bid(serve):
    server = serve(**OPENRTB, openrtb_currency="EUR")
    server.client.put("/v1/items", json=LAMP)
    assert ask(server, imp(TITLE), cur=["EUR"]).json()["cur"] == "EUR"
    assert ask(server, imp(TITLE), cur=["USD"]).status_code == 204


@pytest.mark.parametrize(("network_ms", "status"), [(0.0, 200), (5000.0, 204)])
def test_what_is_kept_back_of_a_bids_time(serve, network_ms, status):
    server = serve(**OPENRTB, openrtb_network_ms=network_ms)
    server.client.put("/v1/items", json=LAMP)
    assert ask(server, imp(TITLE)).status_code == status


@pytest.mark.parametrize("log_lines", [3, 30])
def test_how_many_lines_of_the_log_may_wait_for_a_stuck_terminal(make_service, tmp_path, log_lines):
    stream, config = Stuck(), HttpConfig(log_lines=log_lines)
    app = create_app(make_service(), config=config, metrics=ServerMetrics(), log_stream=stream, results=tmp_path)
    log = app.state.edge.log
    for number in range(50):
        log.write("info", {"number": number})
    # One line may be with the terminal already.
    assert 50 - log.dropped_in_all in (log_lines, log_lines + 1)
    stream.gate.set()
    log.close()
