"""The application: routes, their edge, and what stands around them."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from lowerfunnel import __version__
from lowerfunnel.errors import require
from lowerfunnel.serving.http.keys import KeyRing
from lowerfunnel.serving.http.settings import HttpConfig
from lowerfunnel.serving.metrics import ServerMetrics
from lowerfunnel.serving.service import CandidateService

if TYPE_CHECKING:
    from fastapi import APIRouter, FastAPI
    from pydantic import BaseModel

_DESCRIPTION = """Candidates for ads: fresh, filtered, and always of one version.

Ids are those of the log: integers of 64 bits, or strings of up to 512 characters; 7 and "7" are two ids. JSON is read \
strictly: unknown fields, keys that come twice, NaN and numbers beyond 64 bits are refused. Bodies may be compressed by gzip.

Every error has one shape, with a code for programs, a sentence for people and the request's id."""


def create_app(
    service: CandidateService,
    *,
    config: HttpConfig,
    metrics: ServerMetrics,
    log_stream: TextIO,
    results: Path,
    keys: KeyRing | None = None,
    routers: Sequence["APIRouter"] = (),
    on_shed: Callable[[], None] = lambda: None,
) -> "FastAPI":
    """Return the server's application; `run.run_server` runs it.

    Args:
        service: What answers.
        config: Limits and time limits.
        metrics: What `/metrics` shows; whoever publishes versions and probes recall writes to it too.
        log_stream: Where one line of JSON a request goes.
        results: A folder for the results of admin requests that came with an `Idempotency-Key`.
        keys: Who may ask; None lets everybody in, which is for a loopback address only.
        routers: Further routes, such as those of a page. They get the edge from `request.app.state.edge`, and run
            blocking work by `await edge.serve_lane.run(work)`.
        on_shed: Told of each request for candidates that is turned away as too many came; quick.

    Raises:
        MissingPackageError: If FastAPI is not installed.
    """
    require("fastapi", extra="serve")
    from fastapi import FastAPI

    from lowerfunnel.serving.http import admin_routes, ingest_routes, openrtb_routes, probe_routes, serve_routes
    from lowerfunnel.serving.http.access_log import AccessLog
    from lowerfunnel.serving.http.edge import Edge
    from lowerfunnel.serving.http.errors_told import add_error_handlers
    from lowerfunnel.serving.http.middleware import EdgeMiddleware
    from lowerfunnel.serving.http.operations import add_operation

    log = AccessLog(log_stream, most_waiting=config.log_lines)
    edge = Edge(service, config=config, keys=keys, metrics=metrics, log=log, results=results, on_shed=on_shed)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        for make in documents:
            make()
        yield
        edge.close()
        log.close()

    app = FastAPI(
        title="Lowerfunnel candidate server",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        # The pages that come with FastAPI load scripts from elsewhere.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.edge = edge
    parts = (serve_routes, ingest_routes, admin_routes, openrtb_routes, probe_routes)
    operations = [operation for part in parts for operation in part.OPERATIONS]
    for operation in operations:
        add_operation(app.router, operation)
    documents = _add_documents(app, bodies=[operation.body for operation in operations if operation.body is not None])
    for router in routers:
        app.include_router(router)
    add_error_handlers(app)
    app.add_middleware(EdgeMiddleware, edge=edge)
    return app


def _add_documents(app: "FastAPI", *, bodies: Sequence["type[BaseModel]"]) -> list[Callable[[], object]]:
    """Add `/openapi.json` and `/docs`, and return what makes them once all routes are there; it takes a while."""
    from functools import cache

    from starlette.requests import Request
    from starlette.responses import Response

    from lowerfunnel.serving.http.document import openapi_document, reference_page
    from lowerfunnel.serving.http.edge import json_bytes, json_response

    document = cache(lambda: openapi_document(app, bodies=bodies))
    as_json: Callable[[], bytes] = cache(lambda: json_bytes(document()))
    as_page: Callable[[], str] = cache(lambda: reference_page(document()))

    async def show_json(_request: Request) -> Response:
        return json_response(as_json())

    async def show_page(_request: Request) -> Response:
        return Response(as_page(), media_type="text/html")

    app.add_route("/openapi.json", show_json, methods=["GET"], include_in_schema=False)
    app.add_route("/docs", show_page, methods=["GET"], include_in_schema=False)
    return [as_json, as_page]
