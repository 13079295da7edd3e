"""Requests that do not fit the model, or that somebody made to hurt: each is refused in a sentence or answered and told."""

import gzip
import json
import socket
import threading
import time

import pytest

from lowerfunnel.serving.http.keys import KeyRing, make_key

JSON = {"content-type": "application/json"}


def sent(whole, path, body, **headers):
    began_s = time.monotonic()
    answer = whole.client.post(path, content=body, headers={**JSON, **headers})
    assert time.monotonic() - began_s < 10
    return answer


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"user_id": "u7"}, "user_id"),
        ({"subject_item_id": "i7"}, "subject_item_id"),
        ({"filters": {"items": {"allow": [1, "7"]}}}, "filters.items.allow"),
        ({"filters": {"items": {"deny": ["7"]}}}, "filters.items.deny"),
    ],
)
def test_an_id_of_another_type_than_the_logs_is_refused_and_named(whole, body, named):
    error = whole.refusal(**body)
    assert error["code"] == "does_not_fit"
    assert error["message"].startswith(f"{named} must be an integer as in the log, got '")
    batch = whole.refusal("/v1/candidates/batch", requests=[{"user_id": whole.user}, body])
    assert batch["message"].startswith(f"requests[1].{named} must be an integer")


def test_stock_and_deletions_under_an_id_of_another_type_are_refused(whole, log_items):
    known = log_items[0]["item_id"]
    whole.refusal("/v1/eligibility", items=[{"item_id": str(known), "in_stock": False}])
    results = whole.delete(str(known), 10**15)
    assert [result["status"] for result in results] == ["rejected", "accepted"]
    assert "item_id must be an integer as in the log" in results[0]["reason"]
    assert len(whole.ask(filters={"items": {"allow": [known]}})["candidates"]) == 1


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"surface": "not of this world"}, "surface"),
        ({"subject_item_id": 10**15}, "subject_item_id"),
        ({"query": "\x00 qqqq zzzz"}, "query"),
        ({"user_attributes": ["\x00", "x" * 512]}, "user_attributes"),
    ],
)
def test_what_the_model_does_not_know_is_left_out_and_told(whole, said, named):
    plain = whole.ask(user_attributes=[]) if named == "user_attributes" else whole.ask()
    answer = whole.ask(**said)
    assert answer["ignored"] == [named]
    assert answer["candidates"] == plain["candidates"]
    both = whole.client.post("/v1/candidates/batch", json={"requests": [{**said, "k": 1}, {"k": 1}]}).json()
    assert [one["ignored"] for one in both["answers"]] == [[named], []]
    assert f'lowerfunnel_retrieval_ignored_total{{what="{named}"}}' in whole.client.get("/metrics").text


def test_what_the_model_knows_is_not_told_as_left_out(whole, log_items):
    answer = whole.ask(surface=whole.surfaces[0], subject_item_id=log_items[0]["item_id"])
    assert answer["ignored"] == []
    assert answer["candidates"] != whole.ask()["candidates"]


@pytest.mark.parametrize("k", [0, -1, 10**9, 10**18, 1.5, "5", True, None])
def test_a_number_of_candidates_that_is_none_is_refused(whole, k):
    assert whole.refusal(k=k)["details"][0]["place"] == "k"


def test_filters_that_contradict_each_other_are_refused_and_those_that_exclude_all_answered(whole):
    assert whole.refusal(filters={"least_price": 2, "most_price": 1})["details"][0]["place"] == "filters"
    answer = whole.ask(filters={"categories": {"allow": ["nothing"]}})
    assert (answer["candidates"], answer["partial"], answer["eligible_items"]) == ([], True, 0)


def test_a_million_ids_are_refused_before_they_are_read_and_ten_thousand_are_not_slow(whole):
    body = json.dumps({"filters": {"items": {"deny": list(range(1_000_000))}}}).encode()
    assert sent(whole, "/v1/candidates", body).status_code == 413
    squeezed = gzip.compress(body.replace(b" ", b""), 1)
    assert sent(whole, "/v1/candidates", squeezed, **{"content-encoding": "gzip"}).status_code in (413, 422)
    assert (
        whole.refusal(filters={"items": {"deny": list(range(10_001))}})["details"][0]["place"] == "filters.items.deny"
    )
    many = {"allow": list(range(500_000, 510_000)), "deny": list(range(10_000))}
    began_s = time.monotonic()
    assert whole.ask(filters={"items": many, "advertisers": {"deny": [str(n) for n in range(10_000)]}})["candidates"]
    assert time.monotonic() - began_s < 2


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[" * 100_000, 400),
        (b'{"k": NaN}', 400),
        (b'{"k": 1, "k": 2}', 400),
        (b'{"k": 1e999}', 400),
        (b'{"user_id": 99999999999999999999}', 400),
        (b'{"user_id": "\\ud800"}', 400),
        (b'\xff\xfe{"k": 1}', 400),
        (b"null", 422),
        (b"[]", 422),
        (b'{"user_id": 1.5}', 422),
        (b'{"at": "yesterday"}', 422),
        (b'{"at": "1969-12-31T23:59:59Z"}', 422),
        (b'{"unknown": 1}', 422),
    ],
)
@pytest.mark.parametrize("path", ["/v1/candidates", "/v1/candidates/batch", "/openrtb2", "/v1/events"])
def test_bodies_that_are_no_request_are_refused(whole, path, body, status):
    answer = sent(whole, path, body)
    # What is no JSON is none everywhere; what is no request of one kind is none of another.
    assert answer.status_code == status, answer.text


def test_a_bomb_of_gzip_is_refused(whole):
    bomb = gzip.compress(b'{"query": "' + b"a" * 50_000_000 + b'"}')
    assert len(bomb) < 100_000
    assert sent(whole, "/v1/candidates", bomb, **{"content-encoding": "gzip"}).status_code == 413


def test_a_time_before_the_log_knows_nobody_and_one_far_ahead_knows_all(whole):
    assert not whole.ask(user_id=whole.user, at="1970-01-01T00:00:00Z")["known_user"]
    ahead = whole.ask(user_id=whole.user, at="9999-12-31T23:59:59.999999Z")
    assert ahead["known_user"]
    assert len(ahead["candidates"]) == 5


def test_a_deadline_of_a_millisecond_is_answered_or_said_to_have_passed(whole):
    for _ in range(30):
        answer = whole.client.post("/v1/candidates", json={"user_id": whole.user, "deadline_ms": 1, "k": 5})
        assert answer.status_code in (200, 503)
        if answer.status_code == 503:
            assert answer.json()["error"]["code"] == "deadline_passed"
            assert answer.headers["retry-after"] == "1"


def test_requests_in_a_hurry_take_the_store_from_nobody_else(whole):
    # Each of these may fail to get the timeline in its half of a millisecond; that is no sign of a failing store.
    for _ in range(20):
        whole.client.post("/v1/candidates", json={"user_id": whole.user, "deadline_ms": 1, "k": 1})
    assert whole.ask(user_id=whole.user)["degraded"] == []


def test_the_largest_batch_is_answered_by_one_version_in_order(whole):
    users = [whole.user, 10**15, None]
    asked = [{"user_id": users[place % 3], "k": 1000, "deadline_ms": 10_000} for place in range(256)]
    answer = whole.client.post("/v1/candidates/batch", json={"requests": asked})
    assert answer.status_code == 200
    answers = answer.json()["answers"]
    assert {one["version"] for one in answers} == {answer.json()["version"]}
    assert [one["known_user"] for one in answers] == [place % 3 == 0 for place in range(256)]
    assert whole.refusal("/v1/candidates/batch", requests=[{}] * 257)["details"][0]["place"] == "requests"


@pytest.mark.parametrize("name", ["a/b", "../first", ".", "..", "first\x00", "first ", "é", "x" * 256, "", "-first"])
def test_names_of_runs_that_lead_elsewhere_are_refused(whole, name):
    assert whole.refusal("/v1/admin/publish", run=name)["details"][0]["place"] == "run"


def test_runs_that_cannot_be_published_are_refused_and_the_server_serves_on(whole):
    runs = whole.engine._runs.__self__.folder
    assert "there is no run nothing" in whole.refusal("/v1/admin/publish", status=409, run="nothing")["message"]
    (runs / "hollow").mkdir(exist_ok=True)
    (runs / "hollow" / "run.json").write_text("{}")
    whole.refusal("/v1/admin/publish", status=409, run="hollow")
    (runs / "hollow" / "run.json").write_text("no JSON")
    whole.refusal("/v1/admin/publish", status=409, run="hollow")
    assert whole.ask()["candidates"]


def test_a_publication_is_repeated_by_its_key_and_done_once(start_whole):
    whole = start_whole()
    before = whole.client.get("/v1/admin/versions").json()["versions"]
    once = [
        whole.client.post("/v1/admin/publish", json={"run": "second"}, headers={"idempotency-key": "one"}, timeout=300)
        for _ in range(3)
    ]
    assert [answer.status_code for answer in once] == [200] * 3
    assert len({answer.content for answer in once}) == 1
    other = whole.client.post("/v1/admin/publish", json={"run": "first"}, headers={"idempotency-key": "one"})
    assert other.status_code == 422
    back = whole.client.post("/v1/admin/rollback")
    assert back.status_code == 200
    assert [one["version"] for one in before if one["current"]] == [back.json()["version"]]
    assert whole.client.post("/v1/admin/rollback").status_code in (200, 409)
    assert whole.bugs() == []


def test_every_endpoint_asks_for_its_key_and_the_page_for_one(start_whole, tmp_path):
    file = tmp_path / "keys.json"
    tokens = {scope: make_key(file, scopes=[scope]) for scope in ("serve", "ingest", "admin")}
    ring = KeyRing(file)
    whole = start_whole(keys=ring, allows=lambda token: (key := ring.find(token)) is not None and "serve" in key.scopes)
    calls = {
        ("POST", "/v1/candidates"): "serve", ("POST", "/v1/candidates/batch"): "serve", ("POST", "/openrtb2"): "serve",
        ("POST", "/v1/events"): "ingest", ("PUT", "/v1/items"): "ingest", ("DELETE", "/v1/items"): "ingest",
        ("POST", "/v1/eligibility"): "ingest", ("GET", "/v1/admin/versions"): "admin",
        ("POST", "/v1/admin/publish"): "admin", ("POST", "/v1/admin/rollback"): "admin",
    }  # fmt: skip
    for (method, path), scope in calls.items():
        assert whole.client.request(method, path, json={}).status_code == 401
        for wrong in ("Bearer", "Bearer lf_wrong", "Basic abc", f"Bearer {tokens[scope]}x", "Bearer \x7f"):
            answer = whole.client.request(method, path, json={}, headers={"authorization": wrong})
            assert answer.status_code in (400, 401), (path, wrong)
        for other, token in tokens.items():
            answer = whole.client.request(method, path, json={}, headers={"authorization": f"Bearer {token}"})
            assert (answer.status_code == 403) == (other != scope), (path, other, answer.text)
    assert whole.client.get("/").status_code == 401
    assert whole.client.get("/", headers={"authorization": f"Bearer {tokens['ingest']}"}).status_code == 401
    assert whole.client.get("/", headers={"authorization": f"Bearer {tokens['serve']}"}).status_code == 200
    assert whole.bugs() == []


def test_clients_that_send_slowly_hold_nobody_up(whole):
    slow = []
    for _ in range(20):
        connection = socket.create_connection(whole.place, timeout=5)
        connection.sendall(b"POST /v1/candidates HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        slow.append(connection)
    took_s = []
    for _ in range(10):
        began_s = time.monotonic()
        whole.ask(user_id=whole.user)
        took_s.append(time.monotonic() - began_s)
    for connection in slow:
        connection.close()
    assert sorted(took_s)[5] < 1.0


def test_requests_that_are_shed_are_told_to_the_page(start_whole):
    whole = start_whole(serve_threads=1, serve_waiting=0)
    body = {"requests": [{"k": 1000, "deadline_ms": 10_000, "user_id": whole.user}] * 256}
    statuses: list[int] = []

    def send() -> None:
        statuses.append(whole.client.post("/v1/candidates/batch", json=body).status_code)

    senders = [threading.Thread(target=send) for _ in range(6)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert set(statuses) == {200, 503}
    time.sleep(2.1)  # until the bucket of now is over
    moment = whole.recent.series(step_s=60.0, span_s=60.0)[0]
    assert moment.shed == statuses.count(503)
    assert moment.answers == 256 * statuses.count(200)


def test_a_bid_is_made_from_the_real_catalogue(whole, log_items):
    native = {"ver": "1.2", "assets": [{"id": 1, "required": 1, "title": {"len": 90}}, {"id": 2, "data": {"type": 6}}]}
    asked = {
        "id": "x", "imp": [{"id": str(n), "native": {"request": json.dumps(native)}} for n in range(3)],
        "user": {"buyeruid": str(whole.user)}, "device": {"geo": {"country": "DEU"}}, "tmax": 10_000,
    }  # fmt: skip
    answer = whole.client.post("/openrtb2", json=asked)
    assert answer.status_code == 200
    bids = answer.json()["seatbid"][0]["bid"]
    titles = {str(item["item_id"]): item["title"] for item in log_items}
    assert [bid["impid"] for bid in bids] == ["0", "1", "2"]
    assert len({bid["crid"] for bid in bids}) == 3
    for bid in bids:
        assert json.loads(bid["adm"])["assets"][0]["title"]["text"] == titles[bid["crid"]]
        assert bid["price"] == 1.5
    # An id that is no integer is of nobody whom this log knows.
    assert whole.client.post("/openrtb2", json={**asked, "user": {"id": "cookie"}}).status_code == 200
    denied = {**asked, "badv": sorted({item["advertiser_id"] for item in log_items if item["advertiser_id"]})}
    assert whole.client.post("/openrtb2", json=denied).status_code in (200, 204)
