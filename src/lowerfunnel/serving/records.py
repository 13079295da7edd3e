"""What an online store holds: events, items, and which of them may be served at the moment."""

from dataclasses import dataclass

from lowerfunnel.serving.requests import Id


@dataclass(frozen=True, kw_only=True, slots=True)
class EventRecord:
    """One event of a user, as `lowerfunnel.events.schema.event_schema` defines its fields.

    `event_id` tells a repeat: the first one counts.
    """

    event_id: str
    ts_us: int
    """Microseconds since 1970 UTC; in a log that has an order and no times, the place in it."""
    user_id: Id
    item_id: Id
    action: str
    """One of `lowerfunnel.events.schema.ACTIONS`."""
    surface: str | None = None
    dwell_s: float | None = None
    request_id: str | None = None
    position: int | None = None
    value: float | None = None
    currency: str | None = None
    context_item_id: Id | None = None
    query: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemRecord:
    """One item of the catalogue, as `lowerfunnel.events.schema.item_schema` defines its fields."""

    item_id: Id
    advertiser_id: str | None = None
    category_id: str | None = None
    price: float | None = None
    currency: str | None = None
    title: str | None = None
    attributes: tuple[str, ...] = ()
    content: tuple[float, ...] | None = None
    visual: tuple[float, ...] | None = None
    image_url: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemChange:
    """A change of the catalogue: a record that was put, or None where the item was deleted."""

    sequence: int
    """Rises with every change of this store; never used twice."""
    item_id: Id
    record: ItemRecord | None


@dataclass(frozen=True, kw_only=True, slots=True)
class EligibilityChange:
    """A change of what may be served: an advertiser's budget, or an item's stock. One of the two ids is set."""

    sequence: int
    advertiser_id: str | None = None
    item_id: Id | None = None
    eligible: bool
