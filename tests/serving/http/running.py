"""A server on a port of the system's choosing, in a thread."""

import io
import json
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from lowerfunnel.serving.http.app import create_app
from lowerfunnel.serving.http.run import run_server
from lowerfunnel.serving.http.settings import HttpConfig
from lowerfunnel.serving.metrics import ServerMetrics
from lowerfunnel.serving.service import CandidateService

AT_ONCE = {"drain_delay_s": 0.0, "drain_timeout_s": 5.0}


@dataclass
class Running:
    """A server that runs."""

    address: str
    client: httpx.Client
    log: io.StringIO
    edge: Any
    service: Any

    @property
    def place(self) -> tuple[str, int]:
        parts = urlsplit(self.address)
        return (parts.hostname, parts.port)

    def lines(self, count: int) -> list[dict]:
        """The lines of the log, once there are that many."""
        until = time.monotonic() + 5
        while self.log.getvalue().count("\n") < count and time.monotonic() < until:
            time.sleep(0.01)
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


def start_server(
    stack: ExitStack,
    service: CandidateService,
    *,
    metrics: ServerMetrics | None = None,
    keys=None,
    routers=(),
    on_shed=lambda: None,
    **settings,
) -> Running:
    """Serve a service until the stack is closed."""
    log = io.StringIO()
    app = create_app(
        service,
        config=HttpConfig(**{**AT_ONCE, **settings}),
        metrics=ServerMetrics() if metrics is None else metrics,
        log_stream=log,
        results=Path(stack.enter_context(tempfile.TemporaryDirectory())),
        keys=keys,
        routers=routers,
        on_shed=on_shed,
    )
    said: list[str] = []
    started = threading.Event()
    ended: list[int] = []

    def announce(line: str) -> None:
        said.append(line)
        started.set()

    def run() -> None:
        ended.append(run_server(app, "127.0.0.1", 0, announce=announce))

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(20)
    address = said[0].split()[2]
    client = stack.enter_context(httpx.Client(base_url=address, timeout=30))

    def stop() -> None:
        client.close()
        app.state.edge.draining = True
        thread.join(20)
        assert ended, "the server did not end"

    stack.callback(stop)
    return Running(address, client, log, app.state.edge, service)
