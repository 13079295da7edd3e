"""The whole server in this process: a real engine over a finished run, behind its HTTP edge and its page.

All tests share one server. Each writes with ids of its own, and takes out again what others would meet.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.serving.http.running import Running, start_server

from lowerfunnel.events.store import EventStore
from lowerfunnel.serving.console.router import console_router
from lowerfunnel.serving.console.settings import ConsoleConfig
from lowerfunnel.serving.engine.engine import CandidateEngine
from lowerfunnel.serving.metrics import ServerMetrics
from lowerfunnel.serving.recent import RecentAnswers
from lowerfunnel.serving.server import Runs, load_server_config, start_engine
from lowerfunnel.serving.store.open import open_store

FACES = {"openrtb_cpm": 1.5, "openrtb_click_url": "https://shop.example/{item_id}", "openrtb_ids": "integer"}


@dataclass
class Whole(Running):
    """A server with what lies behind it."""

    engine: CandidateEngine
    recent: RecentAnswers
    user: int
    """Has events."""
    surfaces: list[str]

    def ask(self, **body: Any) -> dict[str, Any]:
        """Ask for candidates, with time to answer."""
        answer = self.client.post("/v1/candidates", json={"deadline_ms": 10_000, "k": 5, **body})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refusal(self, path: str = "/v1/candidates", *, status: int = 422, **body: Any) -> dict[str, Any]:
        """Ask for what is refused, and return the error."""
        answer = self.client.post(path, json=body)
        assert answer.status_code == status, answer.text
        error = answer.json()["error"]
        assert error["message"].endswith(".")
        assert "\n" not in error["message"]
        return error

    def put(self, *items: dict[str, Any]) -> list[dict[str, Any]]:
        """Put items, and return what became of each."""
        answer = self.client.put("/v1/items", json={"items": items})
        assert answer.status_code == 200, answer.text
        return answer.json()["results"]

    def delete(self, *item_ids: int | str) -> list[dict[str, Any]]:
        """Take items out, and return what became of each."""
        answer = self.client.request("DELETE", "/v1/items", json={"item_ids": item_ids})
        assert answer.status_code == 200, answer.text
        return answer.json()["results"]

    def add(self, *events: dict[str, Any]) -> list[dict[str, Any]]:
        """Add events, and return what became of each."""
        made = [{"ts": "2026-01-05T10:00:00Z", "action": "click", "event_id": f"w{next(NUMBERS)}", **e} for e in events]
        answer = self.client.post("/v1/events", json={"events": made})
        assert answer.status_code == 200, answer.text
        return answer.json()["results"]

    def bugs(self) -> list[str]:
        """Errors of the server's own, so far."""
        return [line["traceback"] for line in self.lines(0) if "traceback" in line]


NUMBERS = count()


@pytest.fixture(scope="session")
def start_whole(run: Path, runs_folder: Path, served_before: Path, tmp_path_factory) -> Iterator[Callable[..., Whole]]:
    """Start a server of one's own: `start_whole(keys=...)`."""
    with ExitStack() as stack:

        def start(*, engine_settings=(), keys=None, allows=None, **settings: Any) -> Whole:
            state = tmp_path_factory.mktemp("whole") / "state"
            shutil.copytree(served_before, state)
            runs = tmp_path_factory.mktemp("whole-runs") / "runs"
            shutil.copytree(runs_folder, runs)
            config = load_server_config(
                None, ["engine.probe.every_s=0.2", "engine.store.timeout_ms=5000", *engine_settings]
            )
            metrics, recent = ServerMetrics(), RecentAnswers()
            store = open_store(str(state / "store.sqlite"))
            stack.callback(store.close)
            engine = start_engine(
                run, state, store, config, runs=Runs(folder=runs), metrics=metrics, recent=recent, told=lambda _: None
            )
            stack.callback(engine.close)
            running = start_server(
                stack,
                engine,
                metrics=metrics,
                keys=keys,
                routers=[console_router(engine, recent, config=ConsoleConfig(), allows=allows)],
                on_shed=recent.observe_shed,
                **{**FACES, **settings},
            )
            most = max(engine.users(limit=1000), key=lambda user: len(store.timeline(user)))
            return Whole(
                running.address, running.client, running.log, running.edge, engine,
                engine=engine, recent=recent, user=most, surfaces=engine.surfaces(),
            )  # fmt: skip

        yield start


@pytest.fixture(scope="session")
def whole(start_whole: Callable[..., Whole]) -> Whole:
    """The server that tests share, without keys."""
    return start_whole()


@pytest.fixture(scope="session")
def log_items(run: Path) -> list[dict[str, Any]]:
    """The items of the log."""
    return EventStore.open(run / "store").items().to_pylist()
