"""Routes that read their own body, with the whole of their description in the OpenAPI document.

FastAPI would parse a body with Python's lenient JSON, validate the answer that we have just made, and take a few hundred
microseconds for both. Here it routes and documents; the body goes through the gate for strangers' JSON, and an answer is
the bytes that the route made.
"""

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from lowerfunnel.serving.http.edge import Edge, edge_of, facts_of
from lowerfunnel.serving.http.keys import Scope
from lowerfunnel.serving.http.values import ErrorAnswer

Handler = Callable[[Edge, Request], Awaitable[Response]]
ERRORS: Mapping[int, str] = {
    400: "The body, or a header, cannot be read.",
    401: "A key is needed.",
    403: "The key lacks the scope.",
    404: "It is not there.",
    408: "The body did not come in time.",
    409: "Not possible as things stand.",
    413: "The body is too large.",
    415: "The body is not JSON, or compressed by something other than gzip.",
    422: "The body is JSON, and its values cannot be used.",
    500: "An error of the server's own; the log has it under the request id.",
    503: "Too busy, not ready or shutting down; `Retry-After` says when to try again.",
}
BODY_ERRORS = (408, 413, 415, 422)


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One method of one path."""

    path: str
    method: str
    handler: Handler
    summary: str
    description: str
    answer: type[BaseModel] | None
    """None for an answer that is not JSON."""
    scope: Scope | None = None
    """What a key must be good for."""
    open: bool = False
    """Whether no key is needed, ever."""
    body: type[BaseModel] | None = None
    errors: Sequence[int] = ()
    """Statuses beside 400, 401, 403, 500, and those of a body."""
    example: object = None
    """An answer."""
    headers: Sequence[Mapping[str, object]] = ()
    """Parameters of OpenAPI that stand in headers or the query."""
    answers: Mapping[int, str] | None = None
    """Other answers that are no errors."""
    media_type: str = "application/json"
    tag: str = "serve"


class OwnBodyRoute(APIRoute):
    """A route whose endpoint takes the request and returns a response, with nothing in between."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the endpoint itself."""
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint


def add_operation(router: APIRouter, operation: Operation) -> None:
    """Add a route with its description."""

    async def endpoint(request: Request) -> Response:
        edge = edge_of(request)
        facts_of(request).route = operation.path
        if not operation.open:
            edge.authorise(request, operation.scope)
        return await operation.handler(edge, request)

    router.add_api_route(
        operation.path,
        endpoint,
        methods=[operation.method],
        summary=operation.summary,
        description=_description(operation),
        operation_id=f"{operation.method.lower()}_{operation.path.strip('/').replace('/', '_') or 'root'}",
        tags=[operation.tag],
        response_model=None,
        response_class=Response,
        responses=_responses(operation),
        openapi_extra=_extra(operation),
        route_class_override=OwnBodyRoute,
    )


def _description(operation: Operation) -> str:
    if operation.open:
        return operation.description
    needed = f"a key with the scope `{operation.scope}`" if operation.scope else "any key"
    return f"{operation.description}\n\nWhere the server has keys, {needed} is needed."


def _responses(operation: Operation) -> dict[int | str, dict[str, Any]]:
    errors = [*operation.errors, 400, 500]  # 400 for an X-Request-Id that is none
    if not operation.open:
        errors += [401, 403]
    if operation.body is not None:
        errors += BODY_ERRORS
    good: dict[str, Any] = {"description": "Done."}
    if operation.answer is not None:
        good["model"] = operation.answer
        if operation.example is not None:
            good["content"] = {"application/json": {"example": operation.example}}
    else:
        good["content"] = {operation.media_type: {"schema": {"type": "string"}}}
    found: dict[int | str, dict[str, Any]] = {200: good}
    for status, meaning in (operation.answers or {}).items():
        found[status] = {"description": meaning}
    for status in sorted(set(errors)):
        found.setdefault(status, {"description": ERRORS[status], "model": ErrorAnswer})
    return found


def _extra(operation: Operation) -> dict[str, Any]:
    extra: dict[str, Any] = {"security": [] if operation.open else [{"key": []}]}
    parameters = [*operation.headers, REQUEST_ID_PARAMETER]
    extra["parameters"] = [dict(parameter) for parameter in parameters]
    if operation.body is not None:
        reference = {"$ref": f"#/components/schemas/{operation.body.__name__}"}
        extra["requestBody"] = {"required": True, "content": {"application/json": {"schema": reference}}}
    return extra


REQUEST_ID_PARAMETER: Mapping[str, object] = {
    "name": "X-Request-Id",
    "in": "header",
    "required": False,
    "description": "Names the request in the answer and the log; made up where it is not given.",
    "schema": {"type": "string", "pattern": "^[\\x21-\\x7e]{1,128}$"},
}
