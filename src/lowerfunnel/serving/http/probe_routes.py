"""`/livez`, `/readyz`, `/metrics`: for what watches a server."""

from starlette.requests import Request
from starlette.responses import Response

from lowerfunnel.serving.http.edge import Edge, facts_of, json_bytes, json_response
from lowerfunnel.serving.http.operations import Operation
from lowerfunnel.serving.http.values import Answer

PROMETHEUS = "text/plain; version=1.0.0; charset=utf-8"


class LiveAnswer(Answer):
    """That the process answers."""

    live: bool


class ReadyAnswer(Answer):
    """Whether requests can be answered."""

    ready: bool
    version: str | None
    checks: dict[str, str] | None = None
    """What was looked at: "ok", or a sentence; with `?verbose` only."""


async def say_live(edge: Edge, request: Request) -> Response:
    """Say that the event loop turns. Nothing else is looked at: a restart mends nothing else."""
    return json_response(b'{"live":true}')


async def say_ready(edge: Edge, request: Request) -> Response:
    """Say whether requests can be answered: false while nothing is published, and from SIGTERM on."""
    verbose = "verbose" in request.query_params
    readiness = await edge.probe_lane.run(edge.service.readiness)
    ready = readiness.ready and not edge.draining
    fields: dict[str, object] = {"ready": ready, "version": readiness.version}
    if verbose:
        checks = {**readiness.checks, "server": "it is shutting down" if edge.draining else "ok"}
        fields["checks"] = checks
    facts_of(request).fields["ready"] = ready
    return json_response(json_bytes(fields), status=200 if ready else 503)


async def show_metrics(edge: Edge, request: Request) -> Response:
    """Give Prometheus what it reads."""

    def work() -> bytes:
        for lane in edge.lanes:
            edge.metrics.set_in_hand(lane.name, lane.held)
        edge.metrics.set_log_dropped(edge.log.dropped_in_all)
        return edge.metrics.exposition()

    return Response(await edge.probe_lane.run(work), media_type=PROMETHEUS)


_LIVE = "Answers as long as the process does. Nothing behind it is looked at, as a restart would mend nothing of that."
OPERATIONS = (
    *(
        Operation(
            path=path,
            method="GET",
            handler=say_live,
            open=True,
            summary=summary,
            description=_LIVE,
            answer=LiveAnswer,
            example={"live": True},
            tag="probes",
        )
        for path, summary in (("/livez", "Does the process answer?"), ("/healthz", "The same as /livez"))
    ),
    Operation(
        path="/readyz",
        method="GET",
        handler=say_ready,
        open=True,
        summary="Can requests be answered?",
        description="The status is the answer, 200 or 503. 503 while nothing is published, and from SIGTERM on.",
        answer=ReadyAnswer,
        example={"ready": True, "version": "2026-07-01-a"},
        answers={503: "Not now."},
        headers=(
            {
                "name": "verbose",
                "in": "query",
                "required": False,
                "allowEmptyValue": True,
                "description": "Say what was looked at.",
                "schema": {"type": "string"},
            },
        ),
        tag="probes",
    ),
    Operation(
        path="/metrics",
        method="GET",
        handler=show_metrics,
        summary="Metrics",
        description="For Prometheus.",
        answer=None,
        media_type="text/plain",
        errors=(503,),
        tag="probes",
    ),
)
"""What this file adds to the server."""
