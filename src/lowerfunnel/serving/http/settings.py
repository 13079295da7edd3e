"""Settings of the HTTP edge."""

from dataclasses import dataclass
from typing import Literal

_MB = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpConfig:
    """Limits, time limits and the second face of the server."""

    serve_threads: int = 2
    """Threads that answer requests for candidates. One is quickest on two cores; more keep a slow request from holding up the
    others, and share the interpreter with each other."""
    serve_waiting: int = 64
    """Requests for candidates that may wait for a thread; more are shed with 503."""
    ingest_threads: int = 2
    """Threads that take events, items and eligibility. Apart from `serve_threads`, so that writes cannot starve reads."""
    ingest_waiting: int = 64
    """Writes that may wait for a thread; more are shed with 503."""
    most_body_bytes: int = 2 * _MB
    """Largest body as it is sent; more is refused with 413."""
    most_plain_bytes: int = 16 * _MB
    """Largest body once it is decompressed."""
    most_buffered_bytes: int = 256 * _MB
    """Bodies held in memory, all requests together; more are shed with 503."""
    most_connections: int = 1024
    """Open connections; a further one is answered with 503 and closed."""
    most_header_bytes: int = 32 * 1024
    """Largest request line and headers, together; more is refused with 431."""
    most_headers: int = 100
    """Headers of one request, trailers included; more are refused with 431."""
    header_timeout_s: float = 10.0
    """In which a request's headers must have come, from its first byte (of a new connection: from its opening)."""
    body_timeout_s: float = 10.0
    """In which a request's body must have come."""
    write_timeout_s: float = 30.0
    """How long a client may leave an answer unread before its connection is cut."""
    linger_s: float = 2.0
    """How long the rest of a refused body is read and thrown away, so that the client can read why."""
    keep_alive_s: float = 60.0
    """How long an idle connection is kept."""
    drain_delay_s: float = 1.0
    """Between `/readyz` turning false on SIGTERM and the closing of the socket, for load balancers to notice."""
    drain_timeout_s: float = 30.0
    """How long requests that run may take to finish after that."""
    most_future_s: float = 600.0
    """How far ahead of this machine's clock an event may lie."""
    idempotency_keys: int = 1000
    """Results of admin requests that are kept, on disk, for a repeat with the same `Idempotency-Key`; the oldest go first."""
    log_lines: int = 10_000
    """Log lines that may wait for a slow disk or terminal; further ones are dropped and counted."""
    openrtb_cpm: float | None = None
    """Price of every OpenRTB bid, per thousand impressions: there is no auction yet. None turns `/openrtb2` off."""
    openrtb_currency: str = "USD"
    """Currency of `openrtb_cpm`."""
    openrtb_click_url: str | None = None
    """Where an OpenRTB ad leads, with `{item_id}` in it: "https://shop.example/items/{item_id}"."""
    openrtb_network_ms: float = 20.0
    """What is kept back of OpenRTB's `tmax` for the way there and back."""
    openrtb_ids: Literal["string", "integer"] = "string"
    """What OpenRTB's user ids, which are strings, are in the log."""

    def __post_init__(self) -> None:
        at_least_one = (
            "serve_threads", "ingest_threads", "most_body_bytes", "most_plain_bytes", "most_buffered_bytes",
            "most_connections", "most_header_bytes", "most_headers", "idempotency_keys", "log_lines",
        )  # fmt: skip
        at_least_zero = (
            "serve_waiting", "ingest_waiting", "linger_s", "keep_alive_s", "drain_delay_s", "drain_timeout_s",
            "most_future_s", "openrtb_network_ms",
        )  # fmt: skip
        for name in at_least_one:
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name} must be at least 1, and is {getattr(self, name)}")
        for name in at_least_zero:
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, and is {getattr(self, name)}")
        for name in ("header_timeout_s", "body_timeout_s", "write_timeout_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0, and is {getattr(self, name)}")
        if self.openrtb_cpm is not None:
            if not 0 < self.openrtb_cpm < float("inf"):
                raise ValueError(f"openrtb_cpm must be a price above 0, and is {self.openrtb_cpm}")
            if self.openrtb_click_url is None or "{item_id}" not in self.openrtb_click_url:
                raise ValueError(
                    "openrtb_cpm is set, and an ad needs a place to lead to: set openrtb_click_url, with {item_id} in it"
                )
