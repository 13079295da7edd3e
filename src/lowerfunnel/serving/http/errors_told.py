"""Turns every expected error into an answer of the one shape."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from lowerfunnel.errors import LowerfunnelError
from lowerfunnel.serving.http.edge import facts_of
from lowerfunnel.serving.http.refusals import (
    CODE_OF_STATUS,
    MOST_DETAILS,
    RefusalError,
    error_body,
    place_name,
    refusal_of,
)


def add_error_handlers(app: FastAPI) -> None:
    """Let an application tell its errors; what no handler expects is a bug, and the middleware tells that."""

    async def tell_own(request: Request, error: Exception) -> Response:
        refusal = refusal_of(error) if isinstance(error, LowerfunnelError) else None
        if refusal is None:
            raise error
        return _told(request, refusal)

    async def tell_routing(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        sentences: Mapping[int, str] = {
            404: "There is nothing at this path; /docs says what there is.",
            405: "This path does not take this method; the header Allow says which it takes.",
        }
        message = sentences.get(error.status_code, str(error.detail))
        code = CODE_OF_STATUS.get(error.status_code, HTTPStatus(error.status_code).phrase.lower().replace(" ", "_"))
        return _told(request, RefusalError(error.status_code, code, message, headers=error.headers))

    async def tell_parameters(request: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise error
        problems: Sequence[Mapping[str, str]] = [
            {"place": place_name(problem["loc"]), "problem": problem["msg"]} for problem in error.errors()
        ][:MOST_DETAILS]
        first = problems[0]
        message = f"The request cannot be used: {first['place']}: {first['problem']}."
        return _told(request, RefusalError(422, "invalid_request", message, details=problems))

    app.add_exception_handler(LowerfunnelError, tell_own)
    app.add_exception_handler(HTTPException, tell_routing)
    app.add_exception_handler(RequestValidationError, tell_parameters)


def _told(request: Request, refusal: RefusalError) -> Response:
    facts = facts_of(request)
    facts.fields["error"] = refusal.code
    body = error_body(code=refusal.code, message=refusal.message, request_id=facts.request_id, details=refusal.details)
    return Response(body, status_code=refusal.status, media_type="application/json", headers=refusal.headers)
