"""`lowerfunnel serve`, `publish`, `replay`, `keys`: a real server over a real socket, as its user starts it."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

EVERY_REQUEST = ("--set", "engine.request_log.share=1")
"""Is written down."""


class Server:
    """A server in a process of its own."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lowerfunnel.cli.main", "serve", *map(str, arguments), "--port", "0"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self.said: list[str] = []
        for line in self.process.stderr:
            self.said.append(line)
            if found := re.search(r"http://[\d.]+:\d+", line):
                self.url = found[0]
                return
        raise AssertionError("".join(self.said))

    def call(self, method: str, path: str, body: object = None, key: str | None = None) -> tuple[int, dict]:
        headers = {"content-type": "application/json", **({} if key is None else {"authorization": f"Bearer {key}"})}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return answer.status, json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"{}")

    def stop(self, how: int = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        self.process.communicate(timeout=60)
        return self.process.returncode


@pytest.fixture
def serve():
    with contextlib.ExitStack() as stack:

        def start(*arguments: object) -> Server:
            server = Server(*arguments)

            def end() -> None:
                if server.process.poll() is None:
                    server.process.kill()
                    server.process.communicate()

            stack.callback(end)
            return server

        yield start


@pytest.fixture(scope="session")
def published(call, finished, tmp_path_factory):
    """The state of a server for which the run was published. Read only."""
    folder = tmp_path_factory.mktemp("published") / "state"
    ended = call("publish", finished, "--state", folder)
    assert (ended.status, ended.out.strip()) == (0, next((folder / "versions").iterdir()).name)
    return folder


@pytest.fixture
def state(published, tmp_path):
    """The same, to serve from."""
    return Path(shutil.copytree(published, tmp_path / "state"))


def candidates(server: Server, key: str | None = None, **body: object) -> dict:
    status, answer = server.call("POST", "/v1/candidates", {"k": 5, **body}, key=key)
    assert status == 200, answer
    return answer


def test_a_run_is_served_written_to_and_still_there_after_a_restart(serve, finished, tmp_path):
    state = tmp_path / "state"
    server = serve(finished, "--state", state)
    assert any("published now" in line for line in server.said)
    assert server.call("GET", "/readyz")[0] == 200
    status, _ = server.call("GET", "/v1/admin/versions")
    assert status == 200
    first = candidates(server, user_id=10**12)
    item = first["candidates"][0]["item_id"]
    event = {"event_id": "e", "ts": "2026-01-05T10:00:00Z", "user_id": 10**12, "item_id": item, "action": "checkout"}
    assert server.call("POST", "/v1/events", {"events": [event]})[0] == 200
    after = candidates(server, user_id=10**12)
    assert item not in [found["item_id"] for found in after["candidates"]]
    assert after["known_user"]
    assert server.call("PUT", "/v1/items", {"items": [{"item_id": 7, "price": 3.5, "title": "new"}]})[0] == 200
    only = candidates(server, filters={"items": {"allow": [7]}})
    assert [found["item_id"] for found in only["candidates"]] == [7]
    assert only["partial"]
    assert server.stop() == 0

    again = serve(finished, "--state", state)
    assert any("published before" in line for line in again.said)
    assert candidates(again, user_id=10**12)["candidates"] == after["candidates"]
    assert candidates(again, filters={"items": {"allow": [7]}})["candidates"] == only["candidates"]
    assert again.stop() == 0


def test_requests_are_replayed_without_skew(serve, succeed, finished, state):
    server = serve(finished, "--state", state, *EVERY_REQUEST)
    for user in range(100000000, 100000030):
        candidates(server, user_id=user, surface="homefeed")
    assert server.stop() == 0
    out = succeed("replay", state).out
    assert re.search(r"skewed\s+0\s", out)
    assert re.search(r"compared\s+30\s", out)
    log = next((state / "requests").glob("*.jsonl"))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    lines[4]["features"]["conversion"]["surface"] += 1
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_skew_ends_with_status_1(call, serve, finished, state):
    server = serve(finished, "--state", state, *EVERY_REQUEST)
    candidates(server, user_id=1)
    assert server.stop() == 0
    log = next((state / "requests").glob("*.jsonl"))
    line = json.loads(log.read_text())
    line["features"]["conversion"]["surface"] = 3
    log.write_text(json.dumps(line) + "\n")
    ended = call("replay", state)
    assert ended.status == 1
    assert re.search(r"surface\s+1\s+differs", ended.out)


def test_publishing_from_the_shell_reaches_a_running_server(serve, call, finished, state, copy_of_finished):
    server = serve(finished, "--state", state)
    before = candidates(server)["version"]
    ended = call("publish", copy_of_finished, "--state", state, "--set", "index.kind=faiss_flat")
    assert "golden queries answered, recall 1.000" in ended.err
    version = ended.out.strip()
    assert version != before
    for _ in range(100):
        if candidates(server)["version"] == version:
            break
        time.sleep(0.1)
    assert candidates(server)["version"] == version
    status, rolled = server.call("POST", "/v1/admin/rollback")
    assert (status, rolled["version"]) == (200, before)
    assert server.stop() == 0


def test_keys_open_what_their_scopes_say(serve, succeed, finished, state):
    key = succeed("keys", "make", state, "--scopes", "serve").out.strip()
    admin = succeed("keys", "make", state, "--scopes", "admin,ingest").out.strip()
    server = serve(finished, "--state", state)
    assert server.call("POST", "/v1/candidates", {"k": 1})[0] == 401
    assert server.call("POST", "/v1/candidates", {"k": 1}, key="lf_x_y")[0] == 401
    assert server.call("POST", "/v1/candidates", {"k": 1}, key=key)[0] == 200
    assert server.call("POST", "/v1/admin/rollback", key=key)[0] == 403
    assert server.call("GET", "/v1/admin/versions", key=admin)[0] == 200
    assert server.call("GET", "/livez")[0] == 200
    listed = [line.split("\t") for line in succeed("keys", "list", state).out.splitlines()]
    assert {row[1] for row in listed} == {"serve", "admin,ingest"}
    assert key not in (state / "keys.json").read_text()
    assert key.split("_")[2] not in (state / "keys.json").read_text()
    succeed("keys", "revoke", state, next(row[0] for row in listed if row[1] == "serve"))
    for _ in range(50):
        if server.call("POST", "/v1/candidates", {"k": 1}, key=key)[0] == 401:
            break
        time.sleep(0.1)
    assert server.call("POST", "/v1/candidates", {"k": 1}, key=key)[0] == 401
    assert server.stop() == 0


def test_an_address_that_others_reach_needs_keys(refuse, finished, tmp_path):
    ended = refuse("serve", finished, "--state", tmp_path / "s", "--host", "0.0.0.0", "--port", "0", settings=True)  # noqa: S104
    assert "lowerfunnel keys make" in ended.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "finished run"),
        (["--generator", "x"], "NAME=DIR"),
        (["--generator", "other=/nowhere"], "no share"),
        (["--set", "engine.blend.quotas={conversion=1.0, other=1.0}"], "--generator other=DIR"),
        (["--set", "engine.store.timeout_ms=0"], "above 0"),
        (["--set", "nothing=1"], "unexpected"),
        (["--config", "/nowhere.toml"], "nowhere"),
    ],
)
def test_wrong_options_are_one_sentence(refuse, finished, tmp_path, arguments, says):
    run = [finished] if arguments else []
    state = ["--state", tmp_path / "s"] if arguments else []
    assert says in refuse("serve", *run, *state, *arguments, settings=True).err


def test_a_folder_without_a_run_and_a_foreign_store_are_one_sentence(refuse, finished, tmp_path):
    assert "holds no run" in refuse("serve", tmp_path, "--state", tmp_path / "s").err
    foreign = tmp_path / "foreign.sqlite"
    foreign.write_bytes(b"not a database" * 1000)
    refuse("serve", finished, "--state", tmp_path / "s", "--store", foreign)
    assert "redis" in refuse("serve", finished, "--state", tmp_path / "s", "--store", "mysql://x").err


def test_a_port_that_is_taken_is_one_sentence(serve, call, finished, state):
    server = serve(finished, "--state", state)
    port = server.url.rpartition(":")[2]
    ended = call("serve", finished, "--state", state, "--port", port)
    assert ended.status == 1
    assert "cannot be bound" in ended.err.splitlines()[-1]
    assert server.stop() == 0


def test_a_run_can_be_moved_once_it_is_published(serve, copy_of_finished, tmp_path):
    state = tmp_path / "state"
    server = serve(copy_of_finished, "--state", state)
    before = candidates(server)
    assert server.stop() == 0
    copy_of_finished.rename(tmp_path / "moved")
    again = serve("--state", state)
    assert candidates(again)["candidates"] == before["candidates"]
    assert again.stop() == 0
    assert Path(state, "versions").is_dir()


def test_a_file_of_settings_a_further_generator_and_a_folder_of_runs(serve, finished, copy_of_finished, tmp_path):
    config, elsewhere = tmp_path / "serve.toml", tmp_path / "elsewhere"
    config.write_text("[engine.blend]\nquotas = { conversion = 1.0, other = 1.0 }\n")
    shutil.copytree(finished, elsewhere / "again")
    server = serve(
        finished, "--state", tmp_path / "s", "--config", config, "--generator", f"other={copy_of_finished}",
        "--runs", elsewhere,
    )  # fmt: skip
    answer = candidates(server)
    # The two generators are one model here, so each finds what the other finds.
    assert {tuple(sorted(found["sources"])) for found in answer["candidates"]} == {("conversion", "other")}
    assert server.call("POST", "/v1/admin/publish", {"run": "tiny"})[0] == 409
    assert server.call("POST", "/v1/admin/publish", {"run": "again"})[0] == 200
    assert server.stop() == 0
