"""Around every request: its id, its line in the log, its time, and the answer to an error of our own."""

import re
import traceback
from time import perf_counter
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lowerfunnel.serving.http.bodies import ClientGoneError
from lowerfunnel.serving.http.edge import FACTS, Edge, Facts
from lowerfunnel.serving.http.refusals import BUG_SENTENCE, error_body

CLIENT_GONE = 499
"""Stands in the log and the metrics for a request whose client did not wait; it is never sent."""
_SHED = frozenset({"overloaded", "deadline_passed"})
"""Codes of refusals that more threads would have turned into answers."""
_OF_CANDIDATES = frozenset({"/v1/candidates", "/v1/candidates/batch", "/openrtb2"})
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[\x21-\x7e]{0,200})?")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})


class EdgeMiddleware:
    """Plain ASGI, as every request pays for it."""

    def __init__(self, app: ASGIApp, *, edge: Edge) -> None:
        self._app = app
        self._edge = edge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass on what is none."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        given = headers.get(b"x-request-id")
        valid = given is None or _REQUEST_ID.fullmatch(given) is not None
        request_id = uuid4().hex if given is None or not valid else given.decode("ascii")
        facts = scope[FACTS] = Facts(request_id, headers, perf_counter())
        id_header = (b"x-request-id", request_id.encode("ascii"))

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                facts.status = message["status"]
                message["headers"] = [*message["headers"], id_header]
            await send(message)

        try:
            if not valid:
                message = "X-Request-Id has 1 to 128 visible ASCII characters."
                await _send_error(send_with_id, 400, "bad_request_id", message, request_id)
                return
            await self._app(scope, receive, send_with_id)
        except ClientGoneError:
            facts.status = CLIENT_GONE
        except Exception as error:
            facts.fields["error"] = type(error).__name__
            facts.fields["traceback"] = "".join(traceback.format_exception(error))
            if facts.status == 0:
                await _send_error(send_with_id, 500, "bug", BUG_SENTENCE, request_id)
            raise
        finally:
            self._note(scope, facts)

    def _note(self, scope: Scope, facts: Facts) -> None:
        edge = self._edge
        if facts.held_bytes:
            edge.bodies.release(facts.held_bytes)
        duration_s = perf_counter() - facts.began
        method = scope["method"] if scope["method"] in _METHODS else "other"
        if facts.route == "unmatched" and "route" in scope:
            facts.route = scope["route"].path
        status = facts.status or CLIENT_GONE
        edge.metrics.observe_request(route=facts.route, method=method, status=status, duration_s=duration_s)
        if facts.fields.get("error") in _SHED and facts.route in _OF_CANDIDATES:
            edge.on_shed()
        line: dict[str, object] = {
            "request_id": facts.request_id,
            "route": facts.route,
            "method": method,
            "status": status,
            "duration_s": round(duration_s, 6),
            **facts.fields,
        }
        trace = facts.headers.get(b"traceparent")
        if trace is not None and _TRACEPARENT.fullmatch(trace):
            line["traceparent"] = trace.decode("ascii")
        edge.log.write("error" if status == 500 else "warning" if status == 503 else "info", line)


async def _send_error(send: Send, status: int, code: str, message: str, request_id: str) -> None:
    body = error_body(code=code, message=message, request_id=request_id)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
