"""Asking for candidates over HTTP."""

import gzip
import json
import threading
import time

import httpx
import pytest

from lowerfunnel.serving.http.candidate_bodies import CandidatesBody, FiltersBody, candidate_request
from lowerfunnel.serving.requests import Choice, Filters


def ask(server, **body) -> httpx.Response:
    return server.client.post("/v1/candidates", json={"deadline_ms": 5000, **body})


def ids(answer: httpx.Response) -> list:
    return [candidate["item_id"] for candidate in answer.json()["candidates"]]


def test_the_answer_is_what_the_service_said(server):
    answer = server.client.post(
        "/v1/candidates", json={"user_id": 7, "k": 2, "deadline_ms": 5000}, headers={"x-request-id": "r-1"}
    )
    (said,) = server.service.inner.candidates([server.service.asked[-1]])
    assert answer.json() == {
        "request_id": "r-1",
        "version": said.version,
        "candidates": [{"item_id": c.item_id, "score": c.score, "sources": list(c.sources)} for c in said.candidates],
        "partial": False,
        "degraded": [],
        "ignored": [],
        "known_user": False,
        "eligible_items": said.eligible_items,
    }
    assert answer.headers["x-request-id"] == "r-1"


def test_every_field_reaches_the_service(server):
    filters = {
        "country": "DE",
        "advertisers": {"allow": ["shop.example"], "deny": ["x"]},
        "categories": {"deny": ["y"]},
        "items": {"allow": [7, "7", "sofa"], "deny": []},
        "attributes_all": ["a"],
        "attributes_any": ["b", "c"],
        "attributes_none": ["d"],
        "least_price": 1,
        "most_price": 2.5,
        "exclude_purchased": False,
        "most_per_advertiser": 3,
    }
    body = {
        "user_id": "u", "user_attributes": ["x"], "surface": "home", "subject_item_id": 7, "query": "lamp", "k": 3,
        "filters": filters, "at": "2026-07-01T14:00:00.000001+02:00", "deadline_ms": 400,
    }  # fmt: skip
    assert set(body) | {"debug"} == set(CandidatesBody.model_fields)
    assert set(filters) == set(FiltersBody.model_fields)
    assert ask(server, **body).status_code == 200
    seen = server.service.asked[-1]
    assert seen.filters == Filters(
        country="DE",
        advertisers=Choice(allow=frozenset({"shop.example"}), deny=frozenset({"x"})),
        categories=Choice(deny=frozenset({"y"})),
        items=Choice(allow=frozenset({7, "7", "sofa"})),
        attributes_all=frozenset({"a"}),
        attributes_any=frozenset({"b", "c"}),
        attributes_none=frozenset({"d"}),
        least_price=1.0,
        most_price=2.5,
        exclude_purchased=False,
        most_per_advertiser=3,
    )
    assert (seen.user_id, seen.user_attributes, seen.surface, seen.subject_item_id) == ("u", ("x",), "home", 7)
    assert (seen.query, seen.k) == ("lamp", 3)
    assert seen.at_us == 1_782_907_200_000_001
    assert 0 < seen.deadline_ms < 400


def test_defaults_are_those_of_the_service():
    seen = candidate_request(CandidatesBody(), request_id="r", deadline_ms=50.0)
    assert seen.filters == Filters()
    named = CandidatesBody.model_validate({"filters": {}})
    assert candidate_request(named, request_id="r", deadline_ms=50.0) == seen


def test_integers_and_strings_are_different_ids_to_the_last_digit(server):
    for user_id in (2**63 - 1, -(2**63), 2**53 + 1, "9007199254740993", 0, "é" * 512):
        assert ask(server, user_id=user_id, k=1).status_code == 200
        assert server.service.asked[-1].user_id == user_id
        assert type(server.service.asked[-1].user_id) is type(user_id)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"k": 0}, "k"),
        ({"k": 1001}, "k"),
        ({"k": 10**9}, "k"),
        ({"k": 1.0}, "k"),
        ({"k": True}, "k"),
        ({"k": "5"}, "k"),
        ({"k": None}, "k"),
        ({"user_id": 1.0}, "user_id"),
        ({"user_id": True}, "user_id"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": "x" * 513}, "user_id"),
        ({"user_id": [1]}, "user_id"),
        ({"subject_item_id": False}, "subject_item_id"),
        ({"deadline_ms": 0.5}, "deadline_ms"),
        ({"deadline_ms": 10_001}, "deadline_ms"),
        ({"userid": 1}, "userid"),
        ({"filters": {"contry": "DE"}}, "filters.contry"),
        ({"filters": {"country": "DEU"}}, "filters.country"),
        ({"filters": {"items": {"allow": [1, 2.5]}}}, "filters.items.allow[1]"),
        ({"filters": {"items": {"deny": list(range(10_001))}}}, "filters.items.deny"),
        ({"filters": {"advertisers": {"deny": [7]}}}, "filters.advertisers.deny[0]"),
        ({"filters": {"most_per_advertiser": 0}}, "filters.most_per_advertiser"),
        ({"at": "2026-07-01T12:00:00"}, "at"),
        ({"at": "2026-02-30T12:00:00Z"}, "at"),
        ({"at": "1969-12-31T23:59:59Z"}, "at"),
        ({"at": 1782907200}, "at"),
        ({"query": ""}, "query"),
    ],
)
def test_a_bad_value_is_refused_with_its_place_and_is_not_repeated(server, body, place):
    before = len(server.service.asked)
    answer = ask(server, **body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (422, "invalid_request")
    assert error["details"][0]["place"] == place
    assert place in error["message"]
    assert error["message"].endswith(".")
    assert len(server.service.asked) == before


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'"x"'])
def test_a_body_that_is_no_object_is_refused(server, body):
    answer = server.client.post("/v1/candidates", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"k":NaN}', b'{"k":1,"k":2}', b'{"user_id":9223372036854775808}', b"\xff"]
)
def test_json_that_cannot_be_read_in_one_way_is_refused(server, body):
    answer = server.client.post("/v1/candidates", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_json"


def test_a_million_ids_in_a_filter_are_refused_and_not_passed_on(server):
    body = gzip.compress(json.dumps({"filters": {"items": {"deny": list(range(1_000_000))}}}).encode(), 1)
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert server.client.post("/v1/candidates", content=body, headers=headers).status_code in (413, 422)


def test_a_body_may_be_compressed(server):
    body = gzip.compress(b'{"k": 1, "deadline_ms": 5000}')
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = server.client.post("/v1/candidates", content=body, headers=headers)
    assert len(ids(answer)) == 1


def test_what_does_not_fit_the_model_is_told_in_its_words(server):
    answer = ask(server, user_id=-1, k=1)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "does_not_fit"
    assert answer.json()["error"]["message"] == "user_id must be a string as in the log, got -1."


@pytest.mark.parametrize("path", ["/v1/candidates", "/v1/candidates/batch"])
def test_filters_that_contradict_each_other_are_refused_with_their_place(server, path):
    one = {"k": 1, "filters": {"least_price": 5, "most_price": 1}}
    answer = server.client.post(path, json=one if path.endswith("s") else {"requests": [{"k": 1}, one]})
    assert answer.status_code == 422
    place = "filters" if path.endswith("s") else "requests[1].filters"
    assert answer.json()["error"]["details"][0]["place"] == place
    assert "least_price must not be above most_price" in answer.json()["error"]["message"]


def test_stages_are_told_on_request_only(server):
    assert "stage_ms" not in ask(server, k=1).json()
    assert ask(server, k=1, debug=True).json()["stage_ms"]["total"] > 0


def test_a_batch_is_answered_in_order_by_one_version(server):
    answer = server.client.post(
        "/v1/candidates/batch",
        json={"requests": [{"k": 1, "debug": True}, {"user_id": 7, "k": 3, "deadline_ms": 5000}]},
        headers={"x-request-id": "b"},
    ).json()
    assert [one["request_id"] for one in answer["answers"]] == ["b.0", "b.1"]
    assert {one["version"] for one in answer["answers"]} == {answer["version"]}
    assert ["stage_ms" in one for one in answer["answers"]] == [True, False]
    assert [len(one["candidates"]) for one in answer["answers"]] == [1, 3]


@pytest.mark.parametrize("requests", [[], [{}] * 257, [{}, {"k": 0}], {}])
def test_a_batch_is_refused_as_a_whole(server, requests):
    assert server.client.post("/v1/candidates/batch", json={"requests": requests}).status_code == 422


def test_a_bad_time_in_a_batch_is_named_with_its_place(server):
    answer = server.client.post(
        "/v1/candidates/batch", json={"requests": [{"deadline_ms": 5000}, {"at": "2026-07-01"}]}
    )
    assert answer.json()["error"]["details"][0]["place"] == "requests[1].at"


def test_an_error_of_our_own_is_told_by_id_only_and_logged_with_its_traceback(serve):
    running = serve()
    running.service.bug = True
    answer = running.client.post("/v1/candidates", json={"deadline_ms": 5000}, headers={"x-request-id": "bug-1"})
    assert answer.status_code == 500
    assert answer.json()["error"]["request_id"] == "bug-1"
    assert "secret" not in answer.text
    assert "KeyError" not in answer.text
    (line,) = running.lines(1)
    assert (line["request_id"], line["status"], line["level"]) == ("bug-1", 500, "error")
    assert "u-17 secret of the inside" in line["traceback"]
    running.service.bug = False
    assert running.client.post("/v1/candidates", json={"deadline_ms": 5000}).status_code == 200


def test_too_many_requests_are_shed_at_once_while_probes_and_writes_are_answered(serve):
    running = serve(serve_threads=1, serve_waiting=1)
    running.service.answer_delay_s = 1.0
    answers = []

    def one():
        began = time.perf_counter()
        answer = httpx.post(f"{running.address}/v1/candidates", json={"deadline_ms": 5000})
        answers.append((answer, time.perf_counter() - began))

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.4)
    began = time.perf_counter()
    assert running.client.get("/livez").status_code == 200
    assert running.client.get("/readyz").status_code == 200
    assert running.client.put("/v1/items", json={"items": [{"item_id": 1}]}).status_code == 200
    assert time.perf_counter() - began < 0.5
    for thread in threads:
        thread.join()
    shed = [(answer, took_s) for answer, took_s in answers if answer.status_code == 503]
    assert len(shed) == 6
    assert all(int(answer.headers["retry-after"]) >= 1 and took_s < 0.9 for answer, took_s in shed)
    assert shed[0][0].json()["error"]["code"] == "overloaded"
    assert sum(answer.status_code == 200 for answer, _ in answers) == 2


def test_writes_cannot_starve_reads(serve):
    running = serve(ingest_threads=1, ingest_waiting=1)
    running.service.write_delay_s = 1.0
    event = {"ts": "2026-07-01T12:00:00Z", "user_id": 1, "item_id": 1, "action": "click"}
    statuses = []

    def write(number):
        body = {"events": [{**event, "event_id": f"e{number}"}]}
        statuses.append(httpx.post(f"{running.address}/v1/events", json=body).status_code)

    threads = [threading.Thread(target=write, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    began = time.perf_counter()
    assert running.client.post("/v1/candidates", json={"k": 1, "deadline_ms": 5000}).status_code == 200
    assert time.perf_counter() - began < 0.5
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, 200, 503, 503, 503, 503]


def test_a_request_whose_deadline_passed_while_it_waited_is_shed(serve):
    running = serve(serve_threads=1, serve_waiting=10)
    running.service.answer_delay_s = 0.4
    first = threading.Thread(target=lambda: httpx.post(f"{running.address}/v1/candidates", json={}))
    first.start()
    time.sleep(0.15)
    asked = len(running.service.asked)
    answer = running.client.post("/v1/candidates", json={"deadline_ms": 20})
    first.join()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "deadline_passed")
    assert "retry-after" in answer.headers
    assert len(running.service.asked) == asked + 1
    running.service.answer_delay_s = 0.0
    assert running.client.post("/v1/candidates", json={"deadline_ms": 20}).status_code == 200
