"""Versions, keys and scopes over HTTP."""

import threading
import time

import httpx
import pytest

from lowerfunnel.serving.http.keys import SCOPES, KeyRing, make_key, revoke_key


def post(running, path, *, key=None, **body) -> httpx.Response:
    headers = {} if key is None else {"idempotency-key": key}
    return running.client.post(f"/v1/admin/{path}", json=body or None, headers=headers)


def current(running) -> str:
    versions = running.client.get("/v1/admin/versions").json()["versions"]
    (one,) = [version["version"] for version in versions if version["current"]]
    return one


def test_publishing_and_going_back(serve):
    running = serve()
    assert current(running) == "run-a"
    answer = post(running, "publish", run="run-b")
    assert answer.status_code == 200
    assert answer.json()["current"] is True
    assert current(running) == "run-b"
    assert running.client.post("/v1/candidates", json={"deadline_ms": 5000}).json()["version"] == "run-b"
    assert post(running, "rollback").json()["version"] == "run-a"
    assert current(running) == "run-a"
    refused = post(running, "rollback")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "version_unusable")


@pytest.mark.parametrize(
    "name", ["../run-b", "/etc", "a/b", "..", ".", ".hidden", "", "a\\b", "a\0b", "é", "x" * 256, "run b", "-rf", 7]
)
def test_a_name_is_no_path(server, name):
    before = list(server.service.published)
    assert post(server, "publish", run=name).status_code == 422
    assert server.service.published == before


def test_an_unknown_run_is_told_in_the_services_words(server):
    answer = post(server, "publish", run="run-z")
    assert answer.status_code == 409
    assert "run-z" in answer.json()["error"]["message"]


def test_a_repeat_with_the_same_key_gets_the_first_result_and_does_nothing(serve):
    running = serve()
    first = post(running, "publish", key="p1", run="run-b")
    post(running, "rollback", key="r1")
    again = post(running, "publish", key="p1", run="run-b")
    assert again.json() == first.json()
    assert running.service.published == ["run-b"]
    assert current(running) == "run-a"
    assert post(running, "publish", key="p1", run="run-a").status_code == 422
    assert post(running, "rollback", key="p1").status_code == 422
    failed = post(running, "publish", key="f1", run="run-z")
    assert post(running, "publish", key="f1", run="run-z").json() == failed.json()
    assert running.service.published == ["run-b", "run-z"]
    assert post(running, "publish", key="bad key", run="run-b").status_code == 400
    assert post(running, "publish", key="x" * 256, run="run-b").status_code == 400


def test_a_repeat_while_the_first_runs_is_told_to_come_again(serve):
    running = serve()
    running.service.write_delay_s = 0.5
    answers = []
    first = threading.Thread(
        target=lambda: answers.append(
            httpx.post(
                f"{running.address}/v1/admin/publish", json={"run": "run-b"}, headers={"idempotency-key": "slow"}
            )
        )
    )
    first.start()
    time.sleep(0.2)
    second = post(running, "publish", key="slow", run="run-b")
    assert second.status_code == 409
    assert "retry-after" in second.headers
    first.join()
    assert post(running, "publish", key="slow", run="run-b").json() == answers[0].json()
    assert running.service.published == ["run-b"]


ROUTES = {
    ("POST", "/v1/candidates"): "serve",
    ("POST", "/v1/candidates/batch"): "serve",
    ("POST", "/openrtb2"): "serve",
    ("POST", "/v1/events"): "ingest",
    ("PUT", "/v1/items"): "ingest",
    ("DELETE", "/v1/items"): "ingest",
    ("POST", "/v1/eligibility"): "ingest",
    ("GET", "/v1/admin/versions"): "admin",
    ("POST", "/v1/admin/publish"): "admin",
    ("POST", "/v1/admin/rollback"): "admin",
    ("GET", "/metrics"): None,
}
OPEN = {("GET", "/livez"), ("GET", "/healthz"), ("GET", "/readyz")}


@pytest.fixture(scope="module")
def keyed(serve, tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    keys = {scope: make_key(path, scopes=[scope]) for scope in SCOPES}
    running = serve(keys=KeyRing(path), openrtb_cpm=1.0, openrtb_click_url="https://x.example/{item_id}")
    return running, path, keys


def test_the_table_above_has_every_route(keyed):
    running, _, _ = keyed
    document = running.client.get("/openapi.json").json()
    found = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert found == set(ROUTES) | OPEN


@pytest.mark.parametrize(("method", "path"), sorted(ROUTES))
def test_each_route_needs_a_key_with_its_scope(keyed, method, path):
    running, _, keys = keyed
    needed = ROUTES[method, path]

    def status(authorization: str | None) -> httpx.Response:
        headers = {} if authorization is None else {"authorization": authorization}
        return running.client.request(method, path, headers=headers)

    for wrong in (None, "Bearer", "Bearer lf_x_y", f"Basic {keys['admin']}", keys["admin"], f"Bearer {keys['admin']}x"):
        answer = status(wrong)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert "lf_" in answer.json()["error"]["message"]
    for scope, key in keys.items():
        answer = status(f"Bearer {key}")
        if needed in (None, scope):
            assert answer.status_code not in (401, 403)
        else:
            assert answer.status_code == 403
            assert f"'{needed}'" in answer.json()["error"]["message"]


@pytest.mark.parametrize(("method", "path"), sorted(OPEN))
def test_probes_need_no_key(keyed, method, path):
    assert keyed[0].client.request(method, path).status_code == 200


def test_a_revoked_key_is_refused_from_the_next_request_on(keyed):
    running, path, _ = keyed
    key = make_key(path, scopes=["admin"])
    headers = {"authorization": f"bearer {key}"}
    assert running.client.get("/v1/admin/versions", headers=headers).status_code == 200
    revoke_key(path, key.split("_")[1])
    assert running.client.get("/v1/admin/versions", headers=headers).status_code == 401


def test_no_key_is_ever_written_to_the_log(keyed):
    running, _, keys = keyed
    running.client.get("/v1/admin/versions", headers={"authorization": f"Bearer {keys['admin']}"})
    running.client.get("/v1/admin/versions", headers={"authorization": "Bearer lf_0_wrongsecret"})
    time.sleep(0.2)
    text = running.log.getvalue()
    assert "/v1/admin/versions" in text
    assert "wrongsecret" not in text
    assert not any(key.split("_", 2)[2] in text for key in keys.values())


def test_keys_that_cannot_be_read_let_nobody_in_and_probes_answer(serve, tmp_path):
    path = tmp_path / "keys.json"
    key = make_key(path, scopes=["serve"])
    running = serve(keys=KeyRing(path))
    headers = {"authorization": f"Bearer {key}"}
    assert running.client.post("/v1/candidates", json={"deadline_ms": 5000}, headers=headers).status_code == 200
    path.write_text("{")
    answer = running.client.post("/v1/candidates", json={"deadline_ms": 5000}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "keys_unreadable")
    assert running.client.get("/livez").status_code == 200
