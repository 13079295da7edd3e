"""The page on a free port of loopback, and traffic of some minutes for its charts."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI
from sample_service import SampleService

from lowerfunnel.serving.console.router import console_router
from lowerfunnel.serving.console.settings import ConsoleConfig
from lowerfunnel.serving.recent import RecentAnswers
from lowerfunnel.serving.requests import Candidate, CandidateAnswer


@contextmanager
def serving(service: SampleService, recent: RecentAnswers, **settings: Any) -> Iterator[str]:
    """Serve the page; give its address."""
    app = FastAPI()
    app.include_router(console_router(service, recent, **{"config": ConsoleConfig(), **settings}))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < until, "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=30)


class Clock:
    """A clock that a test moves; `live` lets it run on."""

    def __init__(self, now_s: float = 10_000.0) -> None:
        self._now_s = now_s
        self._live_since: float | None = None

    def __call__(self) -> float:
        return self._now_s + (time.monotonic() - self._live_since if self._live_since is not None else 0.0)

    def move(self, seconds: float) -> None:
        self._now_s += seconds

    def live(self) -> None:
        self._live_since = time.monotonic()


def answer_of(items: list[int], *, version: str = "a", **said: Any) -> CandidateAnswer:
    """An answer of some items."""
    candidates = tuple(Candidate(item_id=item, score=0.5, sources=("conversion",)) for item in items)
    said = {"partial": False, "known_user": True, **said}
    return CandidateAnswer(request_id="r", version=version, candidates=candidates, **said)


def traffic(recent: RecentAnswers, clock: Clock, *, minutes: float, per_s: float, seed: int = 3) -> None:
    """Some minutes of traffic as they could be: a slow spell, a new version, some requests turned away."""
    generator = np.random.default_rng(seed)
    steps = int(minutes * 60 * 2)
    for step in range(steps):
        clock.move(0.5)
        share = step / steps
        slow = 2.6 if 0.42 < share < 0.5 else 1.0
        for _ in range(int(generator.poisson(per_s / 2 * (1 + 0.3 * np.sin(share * 9))))):
            items = generator.zipf(1.3, size=20).clip(max=3000).tolist()
            recent.observe(
                answer_of(
                    items,
                    version="2026-11-25-07aa" if share < 0.55 else "2026-11-26-b41f",
                    partial=generator.random() < 0.03 * slow,
                    degraded=("store",) if slow > 1 and generator.random() < 0.12 else (),
                ),
                duration_s=float(generator.lognormal(np.log(0.0034), 0.45) * slow),
                advertisers=[f"advertiser {item % 60}" for item in items],
            )
        if slow > 1 and generator.random() < 0.3:
            recent.observe_shed()
        if step % 10 == 0:
            recent.observe_probe(float(1 - generator.beta(2, 160)))
