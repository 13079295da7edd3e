"""Values that several bodies share: ids, short texts, times."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, GetPydanticSchema
from pydantic_core import core_schema

from lowerfunnel.serving.http.strict_json import LEAST_INT, MOST_INT

MOST_ID_CHARACTERS = 512
_ID_PROBLEM = f"an id is an integer of 64 bits or a string of 1 to {MOST_ID_CHARACTERS} characters"


def _id_schema(_type: Any, _handler: Any) -> core_schema.CoreSchema:
    # One sentence for a bad id; a plain union would give one problem for each of its members.
    return core_schema.union_schema(
        [
            core_schema.int_schema(strict=True, ge=LEAST_INT, le=MOST_INT),
            core_schema.str_schema(strict=True, min_length=1, max_length=MOST_ID_CHARACTERS),
        ],
        mode="left_to_right",
        custom_error_type="id",
        custom_error_message=_ID_PROBLEM,
    )


JsonId = Annotated[int | str, GetPydanticSchema(_id_schema)]
"""An id as the log has it. Never a float, which is not exact beyond 2^53, and no boolean."""
ShortText = Annotated[str, Field(min_length=1, max_length=MOST_ID_CHARACTERS)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="ISO 4217.", examples=["USD"])]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Time = Annotated[
    str,
    Field(
        max_length=40,
        description="ISO 8601 with a zone, as of RFC 3339, and at most microseconds.",
        json_schema_extra={"format": "date-time"},
        examples=["2026-07-01T12:00:00.250Z"],
    ),
]

_TIME = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,6})?)(?:[Zz]|([+-]\d\d:\d\d))", re.ASCII)
_START = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def time_us(text: str) -> int:
    """Return a time as microseconds since 1970 UTC.

    Raises:
        ValueError: With one sentence, for what is no such time, names no zone or lies before 1970.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError("a time is written as 2026-07-01T12:00:00Z, with its zone and at most microseconds")
    try:
        moment = datetime.fromisoformat(found[1].upper() + (found[2] or "+00:00"))
        since_us = (moment - _START) // _MICROSECOND
    except (ValueError, OverflowError) as error:
        raise ValueError("there is no such day or time of day") from error
    if since_us < 0:
        raise ValueError("a time lies in 1970 or later")
    return since_us


class Body(BaseModel):
    """What a client sends: no unknown fields, and nothing is turned from one type into another."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class Answer(BaseModel):
    """What a client gets; written from plain dictionaries, and described by this."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class Problem(Answer):
    """One place of a request, and what is wrong there."""

    place: str
    problem: str


class ErrorFields(Answer):
    """What went wrong."""

    code: str
    """Stays the same between versions, for programs."""
    message: str
    """One sentence, for people."""
    details: list[Problem]
    """The places, where there are any; at most 20."""
    request_id: str | None
    """Also in the header `X-Request-Id` and in the server's log."""


class ErrorAnswer(Answer):
    """Every error has this shape."""

    error: ErrorFields
