"""The connection itself: who is slow, who sends too many headers, who never reads.

uvicorn waits for headers without an end. Here a request's headers have a time and a size, the rest of a body that was
refused has a time, an answer that is not read has a time, and so has a connection that should close and does not.
"""

import asyncio
from asyncio import TimerHandle
from collections.abc import Callable
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from lowerfunnel.serving.http.refusals import RefusalError, error_body
from lowerfunnel.serving.http.settings import HttpConfig

# Connections beyond the limit that are told so; further ones are cut without a word.
_MOST_REFUSED = 256
# uvicorn reads on after every answer, though requests wait: they would pile up in memory.
_MOST_PIPELINED = 100
_MOST_LINGERED_BYTES = 16 * 1024 * 1024


class PatientProtocol(HttpToolsProtocol):
    """HTTP/1.1 with an end to every wait."""

    limits = HttpConfig()
    """Replaced by `protocol_with`."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config=config, server_state=server_state, app_state=app_state, _loop=_loop)
        self._header_timer: TimerHandle | None = None
        self._linger_timer: TimerHandle | None = None
        self._write_timer: TimerHandle | None = None
        self._abort_timer: TimerHandle | None = None
        self._header_bytes = 0
        self._message_bytes = 0
        self._headers_seen = 0
        self._begun = 0
        self._lingered_bytes = 0
        self._in_headers = True
        self._in_message = False
        self._refusal: RefusalError | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for headers, or refuse a connection that is one too many."""
        super().connection_made(transport)
        extra = len(self.connections) - self.limits.most_connections
        if extra > _MOST_REFUSED:
            transport.abort()
            return
        if extra > 0:
            message = f"The server has {self.limits.most_connections} connections and takes no more; try again."
            self._refuse(RefusalError(503, "too_many_connections", message, headers={"retry-after": "1"}))
            return
        self._header_timer = self._later(self.limits.header_timeout_s, self._headers_are_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget every timer."""
        for timer in (self._header_timer, self._linger_timer, self._write_timer, self._abort_timer):
            if timer is not None:
                timer.cancel()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read, unless the connection is refused already; count what headers take."""
        if self._linger_timer is not None:
            self._lingered_bytes += len(data)
            if self._lingered_bytes > _MOST_LINGERED_BYTES:
                self._abort()
                return
        if self._refusal is not None or self.transport.is_closing():
            return
        begun = self._begun
        if self._in_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if not self._in_headers or self._refusal is not None:
            return
        # A header that never ends is not handed over by the parser, so that only the bytes tell.
        if self._header_bytes > self.limits.most_header_bytes:
            self._refuse(self._too_many())
        elif self._header_timer is None and (self._in_message or begun == self._begun):
            self._header_timer = self._later(self.limits.header_timeout_s, self._headers_are_late)

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._begun += 1
        self._in_headers = True
        self._in_message = True
        self._headers_seen = 0
        self._message_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request line."""
        self._message_bytes += len(url)
        self._stop_if_too_many()
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header, or a trailer."""
        self._headers_seen += 1
        self._message_bytes += len(name) + len(value) + 4
        self._stop_if_too_many()
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request over."""
        self._in_headers = False
        self._header_bytes = 0
        self._cancel_header_timer()
        if len(self.pipeline) >= _MOST_PIPELINED:
            message = f"More than {_MOST_PIPELINED} requests came before the first was answered."
            self._refusal = RefusalError(400, "too_many_pipelined", message)
            raise ValueError(message)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End a request's body; what is left of a refused one has come."""
        self._in_message = False
        self._in_headers = True
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None
            if self.cycle.response_complete and not self.transport.is_closing():
                self._unset_keepalive_if_required()
                self.timeout_keep_alive_task = self._later(self.limits.keep_alive_s, self.timeout_keep_alive_handler)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Give the rest of a body that nobody wants a little time to come, as a client first writes and then reads."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._abort_later()
        unread = self._in_message and not self._in_headers and self.cycle.response_complete
        if unread and self._linger_timer is None and not self.transport.is_closing():
            self._linger_timer = self._later(self.limits.linger_s, self._close)

    def send_400_response(self, msg: str) -> None:
        """Tell that the request is no HTTP, or has too many headers."""
        refusal = self._refusal or RefusalError(
            400, "bad_http", "The request is not HTTP/1.1 that this server can read."
        )
        self._refuse(refusal)

    def pause_writing(self) -> None:
        """Begin to wait for a client that does not read."""
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self._later(self.limits.write_timeout_s, self._abort)

    def resume_writing(self) -> None:
        """Stop waiting: it reads."""
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that has been idle for too long."""
        self._close()

    def shutdown(self) -> None:
        """Close, now or after the answer that is being made."""
        super().shutdown()
        if self.transport.is_closing():
            self._abort_later()

    def _headers_are_late(self) -> None:
        self._header_timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            # The request before is still being answered, and that comes first.
            self._header_timer = self._later(self.limits.header_timeout_s, self._headers_are_late)
            return
        if not self._in_message:
            # Nothing came at all: there is nobody to tell.
            self._close()
            return
        message = f"The headers did not come within {self.limits.header_timeout_s:g} s."
        self._refuse(RefusalError(408, "too_slow", message))

    def _refuse(self, refusal: RefusalError) -> None:
        """Answer without asking the application, and close.

        Requests that came whole before are answered first, and then the connection closes without this answer.
        """
        self._refusal = refusal
        self._cancel_header_timer()
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            if not self.cycle.more_body:
                self.cycle.keep_alive = False
                return
            if self.pipeline or self.cycle.response_started:
                self._close()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        body = error_body(code=refusal.code, message=refusal.message, request_id=None)
        lines = [STATUS_LINE[refusal.status], b"content-type: application/json\r\n"]
        lines += [f"{name}: {value}\r\n".encode() for name, value in refusal.headers.items()]
        lines += [b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body), body]
        self.transport.write(b"".join(lines))
        # Closing while bytes still come would reset the connection, and the client would not read why.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._linger_timer = self._later(self.limits.linger_s, self._close)

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
        self._abort_later()

    def _abort_later(self) -> None:
        # `close` waits until what is written has been read, which may be never.
        if self._abort_timer is None:
            self._abort_timer = self._later(self.limits.write_timeout_s, self._abort)

    def _abort(self) -> None:
        self.transport.abort()

    def _cancel_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _later(self, delay_s: float, what: Callable[[], None]) -> TimerHandle:
        return self.loop.call_later(delay_s, what)

    def _stop_if_too_many(self) -> None:
        if self._headers_seen > self.limits.most_headers or self._message_bytes > self.limits.most_header_bytes:
            self._refusal = self._too_many()
            raise ValueError("too many headers")  # the parser stops, and calls `send_400_response`

    def _too_many(self) -> RefusalError:
        message = (
            f"A request may have {self.limits.most_headers} headers and {self.limits.most_header_bytes} bytes of them; "
            "send less."
        )
        return RefusalError(431, "headers_too_large", message)


def protocol_with(limits: HttpConfig) -> type[PatientProtocol]:
    """Return the protocol with limits of its own; uvicorn makes one for each connection."""

    class LimitedProtocol(PatientProtocol):
        """The same, with this server's limits."""

    LimitedProtocol.limits = limits
    return LimitedProtocol
