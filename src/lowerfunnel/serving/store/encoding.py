"""How events and items are written down inside a store.

An event has two parts. What a timeline needs (`timeline_parts`) is bytes: numbers of one width, and texts whose lengths stand
among the numbers. So a store joins those of a whole timeline, hands them over in two pieces, and nothing is parsed. The rest
(`rest_text`) is kept beside them and not read when a request is answered. The rest and items are JSON, which keeps 64-bit
integers, 7 beside "7", and every float.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import fields

import numpy as np

from lowerfunnel.errors import DataError
from lowerfunnel.serving.records import EventRecord, ItemRecord
from lowerfunnel.serving.requests import Id
from lowerfunnel.serving.user_timeline import EVENT, UserTimeline, pack_event

INT64 = range(-(2**63), 2**63)

_ITEM_DEFAULTS = {field.name: field.default for field in fields(ItemRecord) if field.name != "item_id"}
_TUPLES = ("attributes", "content", "visual")
_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def timeline_parts(event: EventRecord) -> tuple[bytes, bytes]:
    """Write what a timeline holds of an event (time, item, action, surface, dwell): its numbers and its texts.

    Raises:
        DataError: For an action that the log does not know, or a value that a store cannot hold.
    """
    check_int64(event.ts_us, "ts_us")
    check_id(event.item_id, "item_id")
    if event.surface is not None:
        check_text(event.surface, "surface")
    dwell_s = None if event.dwell_s is None else float(event.dwell_s)
    if dwell_s is not None and not math.isfinite(dwell_s):
        raise DataError(f"event {event.event_id!r} has the dwell_s {dwell_s}; send a finite number, or none")
    return pack_event(event.ts_us, event.item_id, event.action, event.surface, dwell_s)


def rest_text(event: EventRecord) -> str:
    """Write what `timeline_parts` leaves out of an event, but for its user.

    Raises:
        DataError: For a value that a store cannot hold.
    """
    if event.context_item_id is not None:
        check_id(event.context_item_id, "context_item_id")
    rest = [event.event_id, event.request_id, event.position, event.value, event.currency, event.context_item_id]
    return _encode([*rest, event.query], f"event {event.event_id!r}")


def timeline_of(numbers: bytes | None, texts: bytes | None) -> UserTimeline:
    """Read a timeline from the numbers of its events, in order, one after another, and their texts; nothing is an empty one."""
    return UserTimeline(np.frombuffer(numbers or b"", EVENT), texts or b"")


def item_text(item: ItemRecord) -> str:
    """Write an item, but for its id; fields that have their default are left out.

    Raises:
        DataError: For a value that a store cannot hold.
    """
    check_id(item.item_id, "item_id")
    given = {name: value for name, default in _ITEM_DEFAULTS.items() if (value := getattr(item, name)) != default}
    return _encode(given, f"item {item.item_id!r}")


def item_of(item_id: Id, text: str | bytes) -> ItemRecord:
    """Read an item that `item_text` wrote."""
    given = json.loads(text)
    for name in _TUPLES:
        if name in given:
            given[name] = tuple(given[name])
    return ItemRecord(item_id=item_id, **given)


def check_id(value: Id, name: str) -> None:
    """Make sure that an id is one that a store keeps exactly.

    Raises:
        DataError: For anything but a 64-bit integer or a string of whole characters.
    """
    if type(value) is str:
        check_text(value, name)
    elif type(value) is int:
        check_int64(value, name)
    else:
        raise DataError(f"{name} is {value!r}; it has to be an integer or a string")


def check_int64(value: int, name: str) -> None:
    """Make sure that an integer has 64 bits.

    Raises:
        DataError: If it has more.
    """
    if value not in INT64:
        raise DataError(f"{name} is {value!r}; it has to be an integer of 64 bits, {INT64[0]} to {INT64[-1]}")


def check_text(value: str, name: str) -> None:
    """Make sure that a string can be written in UTF-8.

    Raises:
        DataError: If it holds half a character (a lone surrogate).
    """
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{name} is {value!r}, which holds half a character; send whole ones") from error


def check_events(events: Iterable[EventRecord]) -> None:
    """Make sure that the ids and times by which events are found can be kept exactly.

    Raises:
        DataError: For the first that cannot.
    """
    for event in events:
        check_id(event.user_id, "user_id")
        check_text(event.event_id, "event_id")
        check_int64(event.ts_us, "ts_us")


def _encode(value: object, whose: str) -> str:
    try:
        return _json.encode(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"{whose} cannot be stored ({error}); send numbers that are finite, and text") from error
