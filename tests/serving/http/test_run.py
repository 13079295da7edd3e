"""Starting and stopping a server, in a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from lowerfunnel.errors import ConfigError, RunError
from lowerfunnel.serving.http.run import CUT_OFF, DRAINED, run_server

PROGRAM = """
import json, sys
from pathlib import Path
from lowerfunnel.serving.http.app import create_app
from lowerfunnel.serving.http.run import run_server
from lowerfunnel.serving.http.settings import HttpConfig
from lowerfunnel.serving.metrics import ServerMetrics
from tests.serving.http.memory_service import MemoryService
settings = json.loads(sys.argv[1])
service = MemoryService(delay_s=settings.pop("delay_s"))
app = create_app(
    service, config=HttpConfig(**settings), metrics=ServerMetrics(), log_stream=sys.stderr, results=Path("unused")
)
sys.exit(run_server(app, "127.0.0.1", 0, announce=lambda line: print(line, flush=True)))
"""


@contextmanager
def process(project_root, tmp_path, **settings):
    environment = {**os.environ, "PYTHONPATH": f"{project_root / 'src'}:{project_root}"}
    arguments = [sys.executable, "-c", PROGRAM, json.dumps({"delay_s": 0, **settings})]
    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        try:
            line = running.stdout.readline()
            assert line.startswith("serving on http://127.0.0.1:"), (tmp_path / "log").read_text()
            yield running, line.split()[2]
        finally:
            running.kill()
            running.wait()
            running.stdout.close()


def test_sigterm_turns_readyz_false_first_and_finishes_what_runs(project_root, tmp_path):
    with process(project_root, tmp_path, delay_s=1.5, drain_delay_s=0.8, drain_timeout_s=10) as (running, address):
        answers = []
        threads = [
            threading.Thread(
                target=lambda: answers.append(
                    httpx.post(f"{address}/v1/candidates", json={"deadline_ms": 9000}, timeout=20)
                )
            )
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        assert httpx.get(f"{address}/readyz").status_code == 200
        running.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        ready = httpx.get(f"{address}/readyz?verbose")
        assert (ready.status_code, ready.json()["checks"]["server"]) == (503, "it is shutting down")
        assert httpx.get(f"{address}/livez").status_code == 200
        time.sleep(1.0)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{address}/livez")
        for thread in threads:
            thread.join()
        assert [answer.status_code for answer in answers] == [200] * 6
        assert running.wait(10) == DRAINED
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert sum(line["route"] == "/v1/candidates" and line["status"] == 200 for line in lines) == 6


@pytest.mark.parametrize("second", [True, False], ids=["a second signal", "the end of the time to drain"])
def test_what_never_ends_is_cut_off(project_root, tmp_path, second):
    limit = 60 if second else 0.5
    with process(project_root, tmp_path, delay_s=30, drain_delay_s=0, drain_timeout_s=limit) as (running, address):

        def ask():
            with pytest.raises(httpx.HTTPError):
                httpx.post(f"{address}/v1/candidates", json={}, timeout=20).raise_for_status()

        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(0.5)
        running.send_signal(signal.SIGTERM)
        if second:
            time.sleep(0.5)
            running.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert running.wait(15) == CUT_OFF
        assert time.monotonic() - began < 10
        thread.join()


def test_an_idle_server_ends_at_once(project_root, tmp_path):
    with (
        process(project_root, tmp_path, drain_delay_s=0) as (running, address),
        httpx.Client(base_url=address) as client,
    ):
        client.get("/livez")
        running.send_signal(signal.SIGINT)
        assert running.wait(5) == DRAINED


def test_a_port_that_is_taken_is_one_sentence(server):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(RunError, match="choose another port"):
        run_server(_app_of(server), "127.0.0.1", taken.getsockname()[1])


def test_a_public_bind_without_keys_is_refused_before_anything_is_bound(server):
    with pytest.raises(ConfigError, match="can be reached by others"):
        run_server(_app_of(server), "0.0.0.0", 0)  # noqa: S104 - that is what is refused


def _app_of(server):
    from lowerfunnel.serving.http.app import create_app

    edge = server.edge
    results = Path("unused")
    return create_app(edge.service, config=edge.config, metrics=edge.metrics, log_stream=server.log, results=results)
