"""How a request is refused: one shape for every error, `{"error": {"code", "message", "details", "request_id"}}`."""

import json
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from lowerfunnel.errors import DataError, LowerfunnelError, RunError, StoreError, UnavailableError

MOST_DETAILS = 20
"""Problems that one answer names."""
CODE_OF_STATUS: Mapping[int, str] = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
    431: "headers_too_large",
    500: "bug",
    503: "unavailable",
}
"""The code of an error where nothing more exact is known."""
BUG_SENTENCE = "The server met an error of its own; its log has the details under this request id."


class RefusalError(LowerfunnelError):
    """A request that is not answered, with the status, code and sentence that the client gets."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = tuple(details)
        self.headers = dict(headers or {})


def shed(message: str, *, code: str = "overloaded", retry_after_s: int = 1) -> RefusalError:
    """Return the refusal of a request that would cost more than there is to give; the client may try again."""
    return RefusalError(503, code, message, headers={"retry-after": str(retry_after_s)})


def refusal_of(error: LowerfunnelError) -> RefusalError | None:
    """Return how an error of the service is told to a client; None for one that no request can cause."""
    if isinstance(error, RefusalError):
        return error
    if isinstance(error, DataError):
        return RefusalError(422, "does_not_fit", _sentence(error))
    if isinstance(error, RunError):
        return RefusalError(409, "version_unusable", _sentence(error))
    if isinstance(error, StoreError):
        return shed(_sentence(error), code="store_unavailable")
    if isinstance(error, UnavailableError):
        return shed(_sentence(error), code="not_ready")
    return None


def _sentence(error: LowerfunnelError) -> str:
    text = str(error).encode("utf-8", "backslashreplace").decode()
    return text if text.endswith(".") else f"{text}."


def refusal_of_values(error: ValidationError) -> RefusalError:
    """Return the refusal of JSON whose values are not what is needed, with the places. No value is repeated."""
    details = problems_of(error)
    more = "" if len(details) == 1 else f" (and {error.error_count() - 1} more)"
    message = f"The request cannot be used: {details[0]['place']}: {details[0]['problem']}{more}."
    return RefusalError(422, "invalid_request", message, details=details)


def problems_of(error: ValidationError) -> list[dict[str, str]]:
    """Return the places of values that are not what is needed, and what is wrong with each; at most 20."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[:MOST_DETAILS]
    return [{"place": place_name(problem["loc"]), "problem": problem["msg"]} for problem in found]


def place_name(steps: Sequence[int | str]) -> str:
    """Return a place in JSON as a person writes it: `events[3].user_id`."""
    name = ""
    for step in steps:
        if isinstance(step, int):
            name += f"[{step}]"
        else:
            shown = step[:64].encode("utf-8", "backslashreplace").decode()
            name += f".{shown}" if name else shown
    return name or "the body"


def error_body(*, code: str, message: str, request_id: str | None, details: Sequence[Mapping[str, str]] = ()) -> bytes:
    """Return an error as JSON, the same shape for every one."""
    error = {"code": code, "message": message, "details": list(details), "request_id": request_id}
    return json.dumps({"error": error}, separators=(",", ":")).encode()
