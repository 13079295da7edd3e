"""The canonical log: one row per event, and the tables of items and users around it.

Source ids are kept as they came, 64-bit integers or strings, per log; they are mapped to dense ids only by a
vocabulary (`lowerfunnel.features.vocabulary`) and never become floats.
"""

from typing import Literal

import pyarrow as pa

IdType = Literal["int64", "string"]

ACTIONS: tuple[str, ...] = (
    "impression",
    "view",
    "click",
    "hide",
    "save",
    "favorite",
    "add_to_cart",
    "checkout",
    "signup",
    "lead",
    "return",
)
"""The canonical actions. Their position is their code in a timeline (int8); new ones are appended, never inserted."""

ACTION_CODE: dict[str, int] = {action: code for code, action in enumerate(ACTIONS)}

FUNNEL_DEPTH: dict[str, int] = {
    "hide": 0,
    "impression": 0,
    "view": 1,
    "click": 1,
    "save": 2,
    "favorite": 2,
    "add_to_cart": 3,
    "checkout": 4,
    "signup": 4,
    "lead": 4,
    "return": 5,
}
"""How far down the funnel an action lies. In a log without order, nothing as deep may explain an event."""

_ID: dict[IdType, pa.DataType] = {"int64": pa.int64(), "string": pa.string()}


def id_type(name: IdType) -> pa.DataType:
    """Return the Arrow type of a source id."""
    return _ID[name]


def event_schema(user_id: IdType, item_id: IdType) -> pa.Schema:
    """Return the schema of the canonical log for its two id types.

    `ts` is UTC in microseconds and null throughout a log without time. `seq` orders the events of one user where time
    does not: the mapped order column of a log that has one, else the event's place among its user's, in the order of the source.
    `propensity` is the chance, in (0, 1], with which a policy that draws put an item into its slot. `received_ts` is when
    the platform heard of an event that an advertiser reported; null where that is not known.
    """
    return pa.schema(
        [
            pa.field("event_id", pa.string()),
            pa.field("ts", pa.timestamp("us", tz="UTC")),
            pa.field("seq", pa.int64(), nullable=False),
            pa.field("user_id", _ID[user_id], nullable=False),
            pa.field("item_id", _ID[item_id], nullable=False),
            pa.field("action", pa.string(), nullable=False),
            pa.field("surface", pa.string()),
            pa.field("request_id", pa.string()),
            pa.field("position", pa.int32()),
            pa.field("dwell_s", pa.float64()),
            pa.field("value", pa.float64()),
            pa.field("currency", pa.string()),
            pa.field("context_item_id", _ID[item_id]),
            pa.field("query", pa.string()),
            pa.field("propensity", pa.float64()),
            pa.field("received_ts", pa.timestamp("us", tz="UTC")),
        ]
    )


def item_schema(item_id: IdType) -> pa.Schema:
    """Return the schema of the catalogue: one row per item, sorted by `item_id`.

    `price` is in units of `currency` (not micros); `attributes` are "name=value" or bare tokens, multi-valued;
    `content` and `visual` are vectors, each of one length throughout a catalogue.
    """
    return pa.schema(
        [
            pa.field("item_id", _ID[item_id], nullable=False),
            pa.field("advertiser_id", pa.string()),
            pa.field("category_id", pa.string()),
            pa.field("price", pa.float64()),
            pa.field("currency", pa.string()),
            pa.field("title", pa.string()),
            pa.field("attributes", pa.list_(pa.string())),
            pa.field("content", pa.list_(pa.float32())),
            pa.field("visual", pa.list_(pa.float32())),
        ]
    )


def user_schema(user_id: IdType) -> pa.Schema:
    """Return the schema of the users: one row per user, sorted by `user_id`; `attributes` as in the catalogue."""
    return pa.schema(
        [
            pa.field("user_id", _ID[user_id], nullable=False),
            pa.field("attributes", pa.list_(pa.string())),
        ]
    )
