"""Versions: which there are, publishing one, going back."""

import re
from collections.abc import Callable
from typing import Annotated

from pydantic import ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from lowerfunnel.errors import LowerfunnelError, RunError
from lowerfunnel.serving.http.bodies import plain_body
from lowerfunnel.serving.http.edge import Edge, facts_of, json_bytes, json_response
from lowerfunnel.serving.http.idempotency import MOST_KEY_CHARACTERS, Result
from lowerfunnel.serving.http.operations import Operation
from lowerfunnel.serving.http.refusals import RefusalError, error_body, refusal_of, refusal_of_values
from lowerfunnel.serving.http.strict_json import parse_json
from lowerfunnel.serving.http.values import Answer, Body
from lowerfunnel.serving.service import VersionInfo

_KEY = re.compile(rb"[\x21-\x7e]{1,%d}" % MOST_KEY_CHARACTERS)


class PublishBody(Body):
    """Which run to publish."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"run": "2026-07-01-a"}]})

    run: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
    """A name in the folder of runs: letters, digits, dots, dashes and underscores, and no path."""


class VersionAnswer(Answer):
    """A published version."""

    version: str
    published_at_us: int
    """Microseconds since 1970 UTC."""
    current: bool
    items: int
    generators: list[str]
    recipe: str


class VersionsAnswer(Answer):
    """The published versions, latest first."""

    versions: list[VersionAnswer]


async def list_versions(edge: Edge, request: Request) -> Response:
    """List the published versions."""

    def work() -> bytes:
        return json_bytes({"versions": [_version_fields(version) for version in edge.service.versions()]})

    return json_response(await edge.probe_lane.run(work))


async def publish(edge: Edge, request: Request) -> Response:
    """Publish a run, once for each `Idempotency-Key`."""
    body = await edge.read_body(request)
    try:
        plain = plain_body(body, facts_of(request).headers, most_bytes=edge.config.most_body_bytes)
        run = PublishBody.model_validate(parse_json(plain)).run
    except ValidationError as error:
        raise refusal_of_values(error) from error
    facts_of(request).fields["run"] = run
    return await _once(edge, request, asked=f"publish {run}", work=lambda: edge.service.publish(run))


async def roll_back(edge: Edge, request: Request) -> Response:
    """Serve the version before, once for each `Idempotency-Key`."""
    return await _once(edge, request, asked="rollback", work=edge.service.rollback)


async def _once(edge: Edge, request: Request, *, asked: str, work: Callable[[], VersionInfo]) -> Response:
    facts = facts_of(request)
    given = facts.headers.get(b"idempotency-key")
    if given is None:
        version = await edge.admin_lane.run(work)
        facts.fields["version"] = version.version
        return json_response(json_bytes(_version_fields(version)))
    if not _KEY.fullmatch(given):
        raise RefusalError(
            400, "bad_idempotency_key", f"Idempotency-Key has 1 to {MOST_KEY_CHARACTERS} visible ASCII characters."
        )
    key = given.decode("ascii")
    result = await edge.probe_lane.run(lambda: edge.results.begin(key, asked=asked.encode()))
    if result is None:
        result = await _first_result(edge, key, work, request_id=facts.request_id)
    else:
        facts.fields["repeated"] = True
    return json_response(result.body, status=result.status)


async def _first_result(edge: Edge, key: str, work: Callable[[], VersionInfo], *, request_id: str) -> Result:
    """Do the work, keep what came of it for repeats, and return it. What can be tried again is not kept."""
    kept = False

    def first() -> Result:
        nonlocal kept
        try:
            result = Result(status=200, body=json_bytes(_version_fields(work())))
        except LowerfunnelError as error:
            refusal = refusal_of(error)
            if refusal is None or refusal.status == 503:
                raise
            body = error_body(code=refusal.code, message=refusal.message, request_id=request_id)
            result = Result(status=refusal.status, body=body)
        kept = True
        try:
            edge.results.finish(key, result)
        except RunError as error:  # it is done and is told so; a repeat would do it again
            edge.log.write("error", {"event": "idempotency", "message": str(error)})
        return result

    try:
        return await edge.admin_lane.run(first)
    finally:
        if not kept:
            edge.results.forget(key)


def _version_fields(version: VersionInfo) -> dict[str, object]:
    return {
        "version": version.version,
        "published_at_us": version.published_at_us,
        "current": version.current,
        "items": version.items,
        "generators": version.generators,
        "recipe": version.recipe,
    }


_EXAMPLE = {
    "version": "2026-07-01-a",
    "published_at_us": 1782907200000000,
    "current": True,
    "items": 1_000_000,
    "generators": ["conversion", "popular"],
    "recipe": "demo",
}
_IDEMPOTENCY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": (
        "A repeat with the same key gets the first result again, and nothing is done twice. "
        "Results are kept in memory, up to a bound, and not across restarts."
    ),
    "schema": {"type": "string", "pattern": f"^[\\x21-\\x7e]{{1,{MOST_KEY_CHARACTERS}}}$"},
}
OPERATIONS = (
    Operation(
        path="/v1/admin/versions",
        method="GET",
        handler=list_versions,
        scope="admin",
        summary="List versions",
        description="The published versions, latest first.",
        answer=VersionsAnswer,
        example={"versions": [_EXAMPLE]},
        errors=(503,),
        tag="admin",
    ),
    Operation(
        path="/v1/admin/publish",
        method="POST",
        handler=publish,
        scope="admin",
        summary="Publish a run",
        description=(
            "The run is verified first, and serves when this has answered; until then, and if it is refused, "
            "the version before serves on."
        ),
        body=PublishBody,
        answer=VersionAnswer,
        example=_EXAMPLE,
        errors=(409, 503),
        headers=(_IDEMPOTENCY,),
        tag="admin",
    ),
    Operation(
        path="/v1/admin/rollback",
        method="POST",
        handler=roll_back,
        scope="admin",
        summary="Serve the version before",
        description="The version before the current one serves when this has answered. No body is read.",
        answer=VersionAnswer,
        example=_EXAMPLE,
        errors=(409, 422, 503),
        headers=(_IDEMPOTENCY,),
        tag="admin",
    ),
)
"""What this file adds to the server."""
