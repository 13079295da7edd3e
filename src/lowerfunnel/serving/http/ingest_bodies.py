"""The JSON of events, items and eligibility.

Events and items are looked at one by one: what cannot be used is rejected with its reason and keeps nothing else out.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from lowerfunnel.events.schema import ACTIONS
from lowerfunnel.serving.http.refusals import problems_of
from lowerfunnel.serving.http.values import Amount, Answer, Body, Currency, JsonId, ShortText, Time, time_us
from lowerfunnel.serving.records import EventRecord, ItemRecord
from lowerfunnel.serving.service import WriteOutcome

MOST_LISTED = 1000
"""Events, items or ids of one request."""
MOST_ELIGIBILITY = 10_000
_Vector = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=1, max_length=4096)]


class EventBody(Body):
    """One thing that a user did or saw."""

    event_id: ShortText
    """Tells a repeat: the first one counts."""
    ts: Time
    user_id: JsonId
    item_id: JsonId
    action: Annotated[str, Field(json_schema_extra={"enum": list(ACTIONS)})]
    surface: ShortText | None = None
    dwell_s: Amount | None = None
    """Seconds spent looking."""
    request_id: ShortText | None = None
    """Of the request for candidates that led to it."""
    position: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Where the item stood, from 0."""
    value: Amount | None = None
    """What a conversion was worth."""
    currency: Currency | None = None
    context_item_id: JsonId | None = None
    """The item that it stood beside."""
    query: Annotated[str, Field(min_length=1, max_length=1000)] | None = None


class EventsBody(Body):
    """Events, in any order."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "events": [
                        {
                            "event_id": "e-1",
                            "ts": "2026-07-01T12:00:00.250Z",
                            "user_id": "u-17",
                            "item_id": "i-4",
                            "action": "checkout",
                            "value": 24.99,
                            "currency": "USD",
                        }
                    ]
                }
            ]
        }
    )

    events: Annotated[list[EventBody], Field(min_length=1, max_length=MOST_LISTED)]


class ItemBody(Body):
    """One item of the catalogue; it replaces what was there under its id."""

    item_id: JsonId
    advertiser_id: ShortText | None = None
    category_id: ShortText | None = None
    price: Amount | None = None
    currency: Currency | None = None
    title: Annotated[str, Field(max_length=1000)] | None = None
    attributes: Annotated[list[ShortText], Field(max_length=1000)] = Field(default=[])
    content: _Vector | None = None
    """A vector of the item's words, as the model was trained with."""
    visual: _Vector | None = None
    """A vector of the item's image, as the model was trained with."""
    image_url: Annotated[str, Field(max_length=2000, pattern=r"^https?://[^\s]+$")] | None = None


class ItemsBody(Body):
    """Items to add or replace."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "items": [
                        {"item_id": "i-4", "advertiser_id": "a-2", "price": 24.99, "currency": "USD", "title": "Lamp"}
                    ]
                }
            ]
        }
    )

    items: Annotated[list[ItemBody], Field(min_length=1, max_length=MOST_LISTED)]


class ItemIdsBody(Body):
    """Items to take out."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"item_ids": ["i-4", "i-5"]}]})

    item_ids: Annotated[list[JsonId], Field(min_length=1, max_length=MOST_LISTED)]


class AdvertiserState(Body):
    """What an advertiser can pay for."""

    has_budget: bool


class StockBody(Body):
    """Whether an item can be bought."""

    item_id: JsonId
    in_stock: bool


class EligibilityBody(Body):
    """Who has budget and what is in stock; whom it does not name stays as it is."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"advertisers": {"a-2": {"has_budget": False}}, "items": [{"item_id": "i-4", "in_stock": True}]}
            ]
        }
    )

    advertisers: Annotated[dict[ShortText, AdvertiserState], Field(max_length=MOST_ELIGIBILITY)] = Field(default={})
    items: Annotated[list[StockBody], Field(max_length=MOST_ELIGIBILITY)] = Field(default=[])


class OutcomeFields(Answer):
    """What became of one of the list."""

    status: Literal["accepted", "duplicate", "rejected"]
    reason: str | None = None
    """Why it was rejected, one sentence."""


class OutcomesAnswer(Answer):
    """What became of each, in the order in which they came."""

    accepted: int
    duplicate: int
    rejected: int
    results: list[OutcomeFields]


class EligibilityAnswer(Answer):
    """How many were set."""

    advertisers: int
    items: int


def event_record(value: object, *, latest_us: int) -> EventRecord | WriteOutcome:
    """Return an event in the service's words, or its rejection.

    Args:
        value: One member of `events`, not looked at yet.
        latest_us: The latest time that is taken, in microseconds since 1970 UTC.
    """
    try:
        body = EventBody.model_validate(value)
        ts_us = time_us(body.ts)
    except ValidationError as error:
        return _rejected(problems_of(error))
    except ValueError as error:
        return _rejected([{"place": "ts", "problem": str(error)}])
    if body.action not in ACTIONS:
        return _rejected([{"place": "action", "problem": f"an action is one of {', '.join(ACTIONS)}"}])
    if ts_us > latest_us:
        return _rejected([{"place": "ts", "problem": "it lies too far ahead of this server's clock"}])
    fields = {name: getattr(body, name) for name in EventBody.model_fields if name != "ts"}
    return EventRecord(ts_us=ts_us, **fields)


def item_record(value: object) -> ItemRecord | WriteOutcome:
    """Return an item in the service's words, or its rejection."""
    try:
        body = ItemBody.model_validate(value)
    except ValidationError as error:
        return _rejected(problems_of(error))
    fields: dict[str, Any] = {name: getattr(body, name) for name in ItemBody.model_fields}
    for name in ("attributes", "content", "visual"):
        fields[name] = None if fields[name] is None else tuple(fields[name])
    return ItemRecord(**fields)


def outcomes_fields(outcomes: Sequence[WriteOutcome]) -> dict[str, object]:
    """Return what became of a list as a dictionary that is JSON."""
    statuses = [outcome.status for outcome in outcomes]
    return {
        "accepted": statuses.count("accepted"),
        "duplicate": statuses.count("duplicate"),
        "rejected": statuses.count("rejected"),
        "results": [{"status": outcome.status, "reason": outcome.reason} for outcome in outcomes],
    }


def _rejected(problems: Sequence[dict[str, str]]) -> WriteOutcome:
    return WriteOutcome(
        status="rejected", reason="; ".join(f"{problem['place']}: {problem['problem']}" for problem in problems) + "."
    )
