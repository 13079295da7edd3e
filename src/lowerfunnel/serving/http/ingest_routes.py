"""Events, items and eligibility."""

import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from lowerfunnel.serving.http.bodies import plain_body
from lowerfunnel.serving.http.edge import Edge, Facts, facts_of, json_bytes, json_response
from lowerfunnel.serving.http.ingest_bodies import (
    MOST_LISTED,
    EligibilityAnswer,
    EligibilityBody,
    EventsBody,
    ItemIdsBody,
    ItemsBody,
    OutcomesAnswer,
    event_record,
    item_record,
    outcomes_fields,
)
from lowerfunnel.serving.http.operations import Handler, Operation
from lowerfunnel.serving.http.refusals import RefusalError, refusal_of_values
from lowerfunnel.serving.http.strict_json import parse_json
from lowerfunnel.serving.http.values import Body
from lowerfunnel.serving.records import EventRecord
from lowerfunnel.serving.service import WriteOutcome

Record = TypeVar("Record")
_LIST: TypeAdapter[list[Any]] = TypeAdapter(
    Annotated[list[Any], Field(min_length=1, max_length=MOST_LISTED, strict=True)]
)


async def add_events(edge: Edge, request: Request) -> Response:
    """Store events; they are durable when this has answered."""

    def store(body: object) -> dict[str, object]:
        now_us = time.time_ns() // 1000
        latest_us = now_us + int(edge.config.most_future_s * 1_000_000)
        events = [event_record(value, latest_us=latest_us) for value in _listed(body, "events")]
        outcomes = _stored(events, edge.service.add_events)
        edge.metrics.observe_events(
            [_observed(event, outcome, now_us) for event, outcome in zip(events, outcomes, strict=True)]
        )
        return outcomes_fields(outcomes)

    return await _write(edge, request, store)


async def put_items(edge: Edge, request: Request) -> Response:
    """Store items; they are durable when this has answered and retrievable within two seconds."""

    def store(body: object) -> dict[str, object]:
        return outcomes_fields(
            _stored([item_record(value) for value in _listed(body, "items")], edge.service.put_items)
        )

    return await _write(edge, request, store)


async def delete_items(edge: Edge, request: Request) -> Response:
    """Take items out; they are not served once this has answered."""

    def store(body: object) -> dict[str, object]:
        return outcomes_fields(edge.service.delete_items(ItemIdsBody.model_validate(body).item_ids))

    return await _write(edge, request, store)


async def set_eligibility(edge: Edge, request: Request) -> Response:
    """Say who has budget and what is in stock; it holds for every request after this has answered."""

    def store(body: object) -> dict[str, object]:
        asked = EligibilityBody.model_validate(body)
        advertisers = {name: state.has_budget for name, state in asked.advertisers.items()}
        items = {stock.item_id: stock.in_stock for stock in asked.items}
        if len(items) != len(asked.items):
            raise RefusalError(422, "invalid_request", "The request cannot be used: items: an item comes twice.")
        edge.service.set_eligibility(advertisers=advertisers, items=items)
        return {"advertisers": len(advertisers), "items": len(items)}

    return await _write(edge, request, store)


async def _write(edge: Edge, request: Request, store: Callable[[object], dict[str, object]]) -> Response:
    body = await edge.read_body(request)
    facts = facts_of(request)

    def work() -> bytes:
        try:
            fields = store(parse_json(plain_body(body, facts.headers, most_bytes=edge.config.most_plain_bytes)))
        except ValidationError as error:
            raise refusal_of_values(error) from error
        _note(facts, fields)
        return json_bytes(fields)

    return json_response(await edge.ingest_lane.run(work))


def _note(facts: Facts, fields: dict[str, object]) -> None:
    facts.fields.update({name: value for name, value in fields.items() if name != "results"})


def _listed(body: object, name: str) -> list[Any]:
    """Return the one list of a body, its members not looked at yet.

    Raises:
        RefusalError: 422 if the body is anything else.
    """
    if not isinstance(body, dict) or set(body) != {name}:
        raise RefusalError(
            422, "invalid_request", f"The request cannot be used: the body must be an object with '{name}' only."
        )
    try:
        return _LIST.validate_python(body[name])
    except ValidationError as error:
        raise RefusalError(
            422, "invalid_request", f"The request cannot be used: {name} must be a list of 1 to {MOST_LISTED}."
        ) from error


def _stored(
    records: Sequence[Record | WriteOutcome], store: Callable[[Sequence[Record]], list[WriteOutcome]]
) -> list[WriteOutcome]:
    """Store what is not rejected yet, and return what became of all, in order."""
    good = [record for record in records if not isinstance(record, WriteOutcome)]
    outcomes = iter(store(good) if good else [])
    return [record if isinstance(record, WriteOutcome) else next(outcomes) for record in records]


def _observed(
    event: EventRecord | WriteOutcome, outcome: WriteOutcome, now_us: int
) -> tuple[str | None, str, float | None]:
    if isinstance(event, WriteOutcome):
        return (None, outcome.status, None)
    age_s = max(now_us - event.ts_us, 0) / 1_000_000 if outcome.status == "accepted" else None
    return (event.action, outcome.status, age_s)


_OUTCOMES_EXAMPLE = {
    "accepted": 1,
    "duplicate": 0,
    "rejected": 1,
    "results": [
        {"status": "accepted", "reason": None},
        {"status": "rejected", "reason": "ts: it lies too far ahead of this server's clock."},
    ],
}


def _operation(
    path: str, method: str, handler: Handler, *, summary: str, description: str, body: type[Body]
) -> Operation:
    """Return an operation that answers with what became of each event or item."""
    return Operation(
        path=path,
        method=method,
        handler=handler,
        scope="ingest",
        summary=summary,
        description=description,
        body=body,
        answer=OutcomesAnswer,
        example=_OUTCOMES_EXAMPLE,
        errors=(503,),
        tag="ingest",
    )


OPERATIONS = (
    _operation(
        "/v1/events",
        "POST",
        add_events,
        summary="Add events",
        description=(
            "Up to 1000. They are durable, and part of the users' next answers, when this has answered; "
            "what cannot be used is rejected alone."
        ),
        body=EventsBody,
    ),
    _operation(
        "/v1/items",
        "PUT",
        put_items,
        summary="Add or replace items",
        description=(
            "Up to 1000. They are durable when this has answered and retrievable within two seconds; "
            "what cannot be used is rejected alone."
        ),
        body=ItemsBody,
    ),
    _operation(
        "/v1/items",
        "DELETE",
        delete_items,
        summary="Take items out",
        description="Up to 1000. They are not served once this has answered.",
        body=ItemIdsBody,
    ),
    Operation(
        path="/v1/eligibility",
        method="POST",
        handler=set_eligibility,
        scope="ingest",
        summary="Say who has budget and what is in stock",
        description="It holds for every request after this has answered; whom it does not name stays as it is.",
        body=EligibilityBody,
        answer=EligibilityAnswer,
        example={"advertisers": 1, "items": 1},
        errors=(503,),
        tag="ingest",
    ),
)
"""What this file adds to the server."""
