"""What one user did, as an online store keeps it: columns of numbers, and the texts of all events in one piece.

A request looks at the times and actions of all events of its user, and at the items and surfaces of the latest few alone.
So numbers are arrays from the start, and texts become Python objects for the events that are asked for.

Shape letters: E events of the user, N events that are asked for.
"""

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lowerfunnel.errors import DataError
from lowerfunnel.events.schema import ACTION_CODE, ACTIONS
from lowerfunnel.events.timeline import Int8Array, Int64Array
from lowerfunnel.serving.requests import Id

NO_TEXT = -1
"""Length of a text that is not there: an event without a surface, an item whose id is an integer."""

EVENT = np.dtype(
    [("ts_us", "<i8"), ("number", "<i8"), ("dwell_s", "<f8"), ("surface_b", "<i4"), ("item_b", "<i4"), ("action", "i1")]
)
"""The numbers of one event: its time, its item where that is an integer (else 0), its dwell (NaN if unknown), the lengths
of the texts of its surface and its item in UTF-8 bytes, and the code of its action. No gaps; little-endian."""


@dataclass(frozen=True, slots=True, eq=False)
class UserTimeline:
    """Events of one user by (time, arrival): an earlier time first, at one time what came first.

    Attributes:
        event_E: Numbers of each event, an array of `EVENT`.
        texts: Surface and item of each event one after another, those that are there, in UTF-8.
    """

    event_E: npt.NDArray[Any]
    texts: bytes

    def __len__(self) -> int:
        return len(self.event_E)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UserTimeline) and packed(self) == packed(other)

    def __hash__(self) -> int:
        return hash(packed(self))

    @classmethod
    def of(
        cls,
        *,
        ts_us: Sequence[int] = (),
        item_id: Sequence[Id] = (),
        action: Sequence[str] = (),
        surface: Sequence[str | None] = (),
        dwell_s: Sequence[float | None] = (),
    ) -> "UserTimeline":
        """Make a timeline of columns of one length, by (time, arrival); without any, an empty one.

        Raises:
            DataError: For an unknown action.
            ValueError: If the columns differ in length.
        """
        rows = zip(ts_us, item_id, action, surface, dwell_s, strict=True)
        return joined([pack_event(*row) for row in rows])

    @property
    def ts_us_E(self) -> Int64Array:
        """Microseconds since 1970 UTC; in a log that has an order and no times, the place in it."""
        return np.ascontiguousarray(self.event_E["ts_us"])

    @property
    def action_E(self) -> Int8Array:
        """Codes of the actions, as `lowerfunnel.events.schema.ACTION_CODE` has them."""
        return np.ascontiguousarray(self.event_E["action"])

    def columns(self) -> dict[str, Any]:
        """Return the columns of which `of` makes the same timeline."""
        return {
            "ts_us": self.ts_us,
            "item_id": self.item_id,
            "action": self.action,
            "surface": self.surface,
            "dwell_s": self.dwell_s,
        }

    @property
    def ts_us(self) -> list[int]:
        """The times of all events."""
        times: list[int] = self.event_E["ts_us"].tolist()
        return times

    @property
    def item_id(self) -> list[Id]:
        """The items of all events."""
        return self.items_at(np.arange(len(self)))

    @property
    def action(self) -> list[str]:
        """The names of the actions of all events."""
        return [ACTIONS[code] for code in self.event_E["action"].tolist()]

    @property
    def surface(self) -> list[str | None]:
        """The surfaces of all events, None where unknown."""
        return self.surfaces_at(np.arange(len(self)))

    @property
    def dwell_s(self) -> list[float | None]:
        """Seconds that the user stayed, of all events, None where unknown."""
        return [None if math.isnan(seconds) else seconds for seconds in self.event_E["dwell_s"].tolist()]

    def items_at(self, event_N: Int64Array) -> list[Id]:
        """Return the items of some events."""
        numbers: list[Id] = self.event_E["number"][event_N].tolist()
        if bool((self.event_E["item_b"][event_N] == NO_TEXT).all()):
            return numbers
        texts = self._texts_at(event_N, "item_b")
        return [number if text is None else text for number, text in zip(numbers, texts, strict=True)]

    def surfaces_at(self, event_N: Int64Array) -> list[str | None]:
        """Return the surfaces of some events, None where unknown."""
        return self._texts_at(event_N, "surface_b")

    def _texts_at(self, event_N: Int64Array, which: str) -> list[str | None]:
        if not len(event_N):
            return []
        surface_E, item_E = np.maximum(self.event_E["surface_b"], 0), np.maximum(self.event_E["item_b"], 0)
        stop_E = np.cumsum(surface_E + item_E, dtype=np.int64)
        length_N = self.event_E[which][event_N]
        start_N = stop_E[event_N] - item_E[event_N]
        if which == "surface_b":
            start_N -= surface_E[event_N]
        texts, bounds = self.texts, zip(start_N.tolist(), (start_N + length_N).tolist(), strict=True)
        # Of one that is not there the stop lies before the start.
        raw = [texts[start:stop] if stop >= start else None for start, stop in bounds]
        # Most events of a user come from the same few surfaces.
        decoded = {each: None if each is None else each.decode() for each in set(raw)}
        return [decoded[each] for each in raw]


def pack_event(ts_us: int, item_id: Id, action: str, surface: str | None, dwell_s: float | None) -> tuple[bytes, bytes]:
    """Return the numbers and the texts of one event, as a timeline joins them.

    Raises:
        DataError: For an unknown action.
    """
    code = ACTION_CODE.get(action)
    if code is None:
        raise DataError(f"an event's action must be one of {', '.join(ACTIONS)}, got {action!r}; send one of these")
    place = b"" if surface is None else surface.encode()
    item = item_id.encode() if isinstance(item_id, str) else b""
    numbers = _NUMBERS.pack(
        ts_us,
        0 if isinstance(item_id, str) else item_id,
        np.nan if dwell_s is None else dwell_s,
        NO_TEXT if surface is None else len(place),
        len(item) if isinstance(item_id, str) else NO_TEXT,
        code,
    )
    return numbers, place + item


def joined(events: Iterable[tuple[bytes, bytes]]) -> UserTimeline:
    """Return the timeline of events that `pack_event` wrote, in order."""
    numbers, texts = [], []
    for number, text in events:
        numbers.append(number)
        texts.append(text)
    return UserTimeline(np.frombuffer(b"".join(numbers), EVENT), b"".join(texts))


def packed(timeline: UserTimeline) -> tuple[bytes, bytes]:
    """Return the numbers and the texts of all events."""
    return timeline.event_E.tobytes(), timeline.texts


_NUMBERS = struct.Struct("<qqdiib")
NOTHING = UserTimeline(np.zeros(0, EVENT), b"")
"""The timeline of a user of whom nothing is known."""
