"""What all routes share: the service, who may ask, how much may run, and where it is written down."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from lowerfunnel.errors import ConfigError
from lowerfunnel.serving.http.access_log import AccessLog
from lowerfunnel.serving.http.admission import Lane
from lowerfunnel.serving.http.bodies import BodyReader
from lowerfunnel.serving.http.idempotency import IdempotentResults
from lowerfunnel.serving.http.keys import KeyRing, Scope
from lowerfunnel.serving.http.refusals import RefusalError, shed
from lowerfunnel.serving.http.settings import HttpConfig
from lowerfunnel.serving.metrics import ServerMetrics
from lowerfunnel.serving.service import CandidateService

_JSON = json.JSONEncoder(separators=(",", ":"), allow_nan=False, ensure_ascii=False)

FACTS = "lowerfunnel.facts"
"""Where a request's ASGI scope holds its `Facts`."""


@dataclass(slots=True)
class Facts:
    """What is known of one request while it is answered; the log gets `fields`."""

    request_id: str
    headers: dict[bytes, bytes]
    began: float
    """By `time.perf_counter`, in seconds."""
    route: str = "unmatched"
    """A template of a path, never what a client wrote."""
    status: int = 0
    """0 until an answer has begun; 499 if the client went away before."""
    held_bytes: int = 0
    """Bytes of the body that are held until the request is answered."""
    fields: dict[str, object] = field(default_factory=dict)


class Edge:
    """One server's edge. Routes get it from `request.app.state.edge`; so may the routes of a page beside it."""

    def __init__(
        self,
        service: CandidateService,
        *,
        config: HttpConfig,
        keys: KeyRing | None,
        metrics: ServerMetrics,
        log: AccessLog,
        results: Path,
        on_shed: Callable[[], None] = lambda: None,
    ) -> None:
        self.service = service
        self.config = config
        self.keys = keys
        self.metrics = metrics
        self.log = log
        self.on_shed = on_shed
        """Told of each request for candidates that is turned away as too many came."""
        self.bodies = BodyReader(config)
        self.serve_lane = Lane("serve", threads=config.serve_threads, waiting=config.serve_waiting)
        self.ingest_lane = Lane("ingest", threads=config.ingest_threads, waiting=config.ingest_waiting)
        # One publication at a time: each holds a whole version in memory beside the one that serves.
        self.admin_lane = Lane("admin", threads=1, waiting=8)
        # A probe must be answered while all else is busy.
        self.probe_lane = Lane("probe", threads=2, waiting=32)
        self.results = IdempotentResults(results, most=config.idempotency_keys)
        self.draining = False
        """Whether the server is about to stop: `/readyz` is false from then on."""

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """All lanes."""
        return (self.serve_lane, self.ingest_lane, self.admin_lane, self.probe_lane)

    def authorise(self, request: Request, scope: Scope | None) -> str | None:
        """Return the id of the key that a request came with; None if this server has no keys.

        Args:
            request: Not read further than its headers.
            scope: What the key must be good for; None for any key.

        Raises:
            RefusalError: 401 for no key or a wrong one, 403 for a key without the scope, 503 if keys cannot be read.
        """
        if self.keys is None:
            return None
        kind, _, token = facts_of(request).headers.get(b"authorization", b"").partition(b" ")
        try:
            key = self.keys.find(token.strip().decode("latin-1")) if kind.lower() == b"bearer" else None
        except ConfigError as error:
            self.log.write("error", {"event": "keys", "message": str(error)})
            raise shed("The server cannot read its keys and lets nobody in.", code="keys_unreadable") from error
        if key is None:
            raise RefusalError(
                401,
                "unauthorized",
                "A key is needed; send it with 'Authorization: Bearer lf_...'.",
                headers={"www-authenticate": 'Bearer realm="lowerfunnel"'},
            )
        if scope is not None and scope not in key.scopes:
            raise RefusalError(
                403,
                "missing_scope",
                f"This key lacks the scope '{scope}'.",
                headers={
                    "www-authenticate": f'Bearer realm="lowerfunnel", error="insufficient_scope", scope="{scope}"'
                },
            )
        return key.id

    async def read_body(self, request: Request) -> bytes:
        """Return the body as it was sent; see `BodyReader.read` for what is refused."""
        facts = facts_of(request)
        body = await self.bodies.read(facts.headers, request.receive)
        facts.held_bytes = len(body)
        return body

    def close(self) -> None:
        """Let the threads end."""
        for lane in self.lanes:
            lane.close()


def facts_of(request: Request) -> Facts:
    """Return what is known of a request."""
    facts: Facts = request.scope[FACTS]
    return facts


def edge_of(request: Request) -> Edge:
    """Return the edge that a request came through."""
    edge: Edge = request.app.state.edge
    return edge


def json_bytes(fields: object) -> bytes:
    """Return JSON.

    Raises:
        ValueError: For NaN or an infinity.
    """
    return json_text(fields).encode()


def json_text(fields: object) -> str:
    """Return JSON without spaces.

    Raises:
        ValueError: For NaN or an infinity.
    """
    return _JSON.encode(fields)


def json_response(body: bytes, *, status: int = 200) -> Response:
    """Return an answer that is JSON already."""
    return Response(body, status_code=status, media_type="application/json")
