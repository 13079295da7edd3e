"""Running the server: bind, say where, serve, and drain on SIGTERM."""

import logging
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from lowerfunnel.errors import RunError, require
from lowerfunnel.serving.http.keys import require_keys_for_public_bind

if TYPE_CHECKING:
    from fastapi import FastAPI

    from lowerfunnel.serving.http.edge import Edge

DRAINED = 0
"""Exit status after SIGTERM or SIGINT: every request that ran was answered."""
CUT_OFF = 1
"""Exit status when requests were still running at the end of `drain_timeout_s`, or a second signal came."""


def run_server(
    app: "FastAPI", host: str, port: int, *, announce: Callable[[str], None] = print, port_file: Path | None = None
) -> int:
    """Serve until SIGTERM or SIGINT, and return the exit status, `DRAINED` or `CUT_OFF`.

    On the signal `/readyz` turns false; after `drain_delay_s` the socket is closed, and what runs has `drain_timeout_s`
    to finish. A second signal does not wait.

    Args:
        app: Of `create_app`.
        host: An address of this machine. Without keys, a loopback address.
        port: 0 lets the system choose.
        announce: Gets one line with the address, once the server answers.
        port_file: Gets the port, once the server answers.

    Raises:
        ConfigError: If others could reach it and there are no keys.
        RunError: If the address cannot be bound.
        MissingPackageError: If uvicorn is not installed.
    """
    require("uvicorn", extra="serve")
    require("httptools", extra="serve")
    import uvicorn

    from lowerfunnel.serving.http.protocol import protocol_with

    edge: Edge = app.state.edge
    require_keys_for_public_bind(host, edge.keys)
    config = edge.config
    listener = _bound(host, port)
    address = _address(listener)

    class DrainingServer(uvicorn.Server):
        """Turns `/readyz` false a while before it stops to accept."""

        signalled_at: float | None = None
        cut_off = False

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            """Begin to drain; at a second signal, stop at once. The signal is not raised again at the end."""
            if edge.draining:
                self.should_exit = self.force_exit = True
            edge.draining = True

        async def on_tick(self, counter: int) -> bool:
            """Say that it is time to stop, `drain_delay_s` after the signal."""
            if edge.draining:
                self.signalled_at = self.signalled_at or time.monotonic()
                if time.monotonic() - self.signalled_at >= config.drain_delay_s:
                    self.should_exit = True
            return await super().on_tick(counter)

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            """Start, and say so."""
            await super().startup(sockets)
            if port_file is not None:
                port_file.write_text(f"{listener.getsockname()[1]}\n", encoding="utf-8")
            who = "with keys" if edge.keys is not None else "without keys, for this machine only"
            announce(f"serving on {address} ({who})")

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            """Stop, and remember whether something was cut off."""
            began = time.monotonic()
            await super().shutdown(sockets)
            self.cut_off = self.force_exit or time.monotonic() - began >= config.drain_timeout_s

    server = DrainingServer(
        uvicorn.Config(
            app,
            http=protocol_with(config),
            loop="uvloop" if sys.platform != "win32" else "asyncio",
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=config.keep_alive_s,  # type: ignore[arg-type] # it goes to call_later
            timeout_graceful_shutdown=config.drain_timeout_s,  # type: ignore[arg-type] # it goes to wait_for
        )
    )
    with ExitStack() as stack:
        stack.enter_context(listener)
        stack.callback(_uvicorn_told_to(edge))
        server.run(sockets=[listener])
    return CUT_OFF if server.cut_off else DRAINED


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise RunError(
            f"{host} port {port} cannot be bound ({error.strerror or error}); choose another port, or 0 for any"
        ) from error
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _uvicorn_told_to(edge: "Edge") -> Callable[[], None]:
    """Send what uvicorn has to say to the server's log; return what undoes it."""

    class ToLog(logging.Handler):
        """Writes records of `logging` as lines of the log."""

        def emit(self, record: logging.LogRecord) -> None:
            # The middleware has written errors of requests with their id and traceback.
            if not record.getMessage().startswith("Exception in ASGI application"):
                edge.log.write("error", {"event": "uvicorn", "message": record.getMessage()})

    logger = logging.getLogger("uvicorn")
    handler = ToLog(level=logging.ERROR)
    before = (logger.propagate, logger.level)
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.ERROR)

    def undo() -> None:
        logger.removeHandler(handler)
        logger.propagate, level = before
        logger.setLevel(level)

    return undo
