"""Servers as processes of their own, and the load generator of the benchmarks, to kill, swap and cut them off at work."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

START_S = 240
"""Seconds that a server has to come up, on a machine that has other things to do."""


class Client:
    """Calls a server as a program would."""

    def __init__(self, server):
        self.server, self.process = server, server.process

    def call(self, method, path, body=None, *, timeout_s=120):
        """Return status and answer, None where no JSON came."""
        request = urllib.request.Request(
            f"http://{self.server.host}:{self.server.port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def candidates(self, **body):
        status, answer = self.call("POST", "/v1/candidates", {"k": 20, "deadline_ms": 5000, **body})
        assert status == 200, answer
        return answer

    def publish(self, run):
        return self.call("POST", "/v1/admin/publish", {"run": run})

    def statuses_of_events(self, events):
        """Send events and return what became of each."""
        statuses = []
        for start in range(0, len(events), 500):
            status, answer = self.call("POST", "/v1/events", {"events": events[start : start + 500]})
            assert status == 200, answer
            statuses += [result["status"] for result in answer["results"]]
        return statuses

    def kill(self):
        """Kill the server with -9 and wait until it is gone."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def load():
    """Run coroutines of the load generator to their end, side by side."""
    from load_generator import precise_loop

    def run(*coroutines):
        async def all_of_them():
            return await asyncio.gather(*coroutines)

        with asyncio.Runner(loop_factory=precise_loop) as runner:
            return runner.run(all_of_them())

    return run


@pytest.fixture(scope="session")
def log(run):
    """What a load needs to know of the run's log."""
    from load_generator.candidate_mix import RunLog

    return RunLog.of_run(run)


@pytest.fixture(scope="session")
def users(log):
    """Users of the log, in order."""
    return sorted({request["user_id"] for request in log.request_R})


@pytest.fixture
def state(served_before, tmp_path):
    """A state folder of one's own, in which the first run is published and its log stored."""
    return Path(shutil.copytree(served_before, tmp_path / "state"))


@pytest.fixture
def serve(run, runs_folder):
    """Start `lowerfunnel serve` over the run: a context manager that gives a client."""
    from load_generator.server_process import LOWERFUNNEL, serving

    @contextlib.contextmanager
    def start(state, *arguments, settings=()):
        options = ["--runs", runs_folder, "--port", "0"]
        # A machine that is busy with the load itself is not to make answers without the store.
        for setting in ("engine.probe.every_s=0", "engine.store.timeout_ms=2000", *settings):
            options += ["--set", setting]
        with serving(
            ("serve", run, "--state", state, *options, *arguments),
            command=LOWERFUNNEL,
            start_s=START_S,
            environment={"OMP_NUM_THREADS": "1"},
        ) as server:
            server.wait_until_ready(START_S)
            yield Client(server)

    return start
