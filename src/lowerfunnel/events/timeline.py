"""Every user's events in memory, as one compressed sparse row structure.

A training example is only (user, point in time, item, label); its history is the slice of the user's timeline strictly
before that point, found by binary search when a batch is built. So histories cost no storage, hold nothing newer than
their example by construction, and are found by the same code when serving.

Shape letters: U users, E events, B queries, N history entries of a batch (ragged).
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
Int32Array = npt.NDArray[np.int32]
Int16Array = npt.NDArray[np.int16]
Int8Array = npt.NDArray[np.int8]
Float32Array = npt.NDArray[np.float32]
Order = Literal["time", "sequence", "none"]

_FEW_QUERIES = 16
"""Up to so many are searched one by one; more are halved side by side, whose steps cost as much for one as for hundreds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timelines:
    """The events of U users, each user's sorted by `t_E`.

    Attributes:
        offsets_U1: Events of user u are ``offsets_U1[u]:offsets_U1[u + 1]``.
        t_E: Microseconds since 1970 UTC ("time"), the position in the user's sequence ("sequence"), or 0 ("none").
        item_E: Dense item, -1 for one outside the vocabulary.
        action_E: Code of the action (`lowerfunnel.events.schema.ACTION_CODE`).
        order: What `t_E` means.
        surface_E: Code of the surface: 0 unknown, else 1 and its place among the log's surfaces, sorted.
        dwell_E: Seconds that the user stayed, NaN where unknown.

    Left out, surfaces and dwells are unknown throughout.
    """

    offsets_U1: Int64Array
    t_E: Int64Array
    item_E: Int32Array
    action_E: Int8Array
    order: Order
    surface_E: Int16Array = field(default_factory=lambda: np.zeros(0, np.int16))
    dwell_E: Float32Array = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        events = len(self.t_E)
        if not len(self.surface_E):
            object.__setattr__(self, "surface_E", np.zeros(events, np.int16))
        if not len(self.dwell_E):
            object.__setattr__(self, "dwell_E", np.full(events, np.nan, np.float32))
        lengths = {name: len(getattr(self, f"{name}_E")) for name in ("t", "item", "action", "surface", "dwell")}
        if {*lengths.values(), int(self.offsets_U1[-1])} != {events}:
            raise ValueError(
                f"a timeline's columns must have one length: {', '.join(f'{name} {n}' for name, n in lengths.items())}, "
                f"last offset {int(self.offsets_U1[-1])}"
            )

    @property
    def users(self) -> int:
        """How many users there are."""
        return len(self.offsets_U1) - 1

    @classmethod
    def build(
        cls,
        *,
        user_E: Int32Array,
        t_E: Int64Array,
        item_E: Int32Array,
        action_E: Int8Array,
        users: int,
        order: Order,
        surface_E: Int16Array | None = None,
        dwell_E: Float32Array | None = None,
    ) -> "Timelines":
        """Sort unsorted events into timelines. Events of one user at one t keep the order in which they came."""
        if len(user_E) and not (int(user_E.min()) >= 0 and int(user_E.max()) < users):
            raise ValueError(f"users must lie in 0..{users - 1}, got {int(user_E.min())}..{int(user_E.max())}")
        by_user_t = np.lexsort((t_E, user_E))
        offsets_U1 = np.zeros(users + 1, np.int64)
        np.cumsum(np.bincount(user_E, minlength=users), out=offsets_U1[1:])
        return cls(
            offsets_U1=offsets_U1,
            t_E=t_E[by_user_t],
            item_E=item_E[by_user_t],
            action_E=action_E[by_user_t],
            order=order,
            surface_E=np.zeros(0, np.int16) if surface_E is None else surface_E[by_user_t],
            dwell_E=np.zeros(0, np.float32) if dwell_E is None else dwell_E[by_user_t],
        )

    def of_actions(self, codes: tuple[int, ...]) -> "Timelines":
        """Return the timelines of the events of some actions alone."""
        keep_E = np.isin(self.action_E, np.array(codes, np.int8))
        return self if keep_E.all() else self._kept(keep_E)

    def _kept(self, keep_E: npt.NDArray[np.bool_]) -> "Timelines":
        kept_before_E1 = np.zeros(len(keep_E) + 1, np.int64)
        np.cumsum(keep_E, out=kept_before_E1[1:])
        return Timelines(
            offsets_U1=kept_before_E1[self.offsets_U1],
            t_E=self.t_E[keep_E],
            item_E=self.item_E[keep_E],
            action_E=self.action_E[keep_E],
            order=self.order,
            surface_E=self.surface_E[keep_E],
            dwell_E=self.dwell_E[keep_E],
        )

    def until(self, until_U: Int64Array) -> "Timelines":
        """Return the timelines cut off: of each user the events strictly before `until_U`."""
        keep_E = self.t_E < np.repeat(until_U, np.diff(self.offsets_U1))
        return self if keep_E.all() else self._kept(keep_E)

    def before(self, user_B: Int32Array, t_B: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Return, per query, where its user's events strictly before `t_B` start and stop.

        A log without order has no "before": all of the user's events are returned, and the caller takes out what would
        explain the example by itself. An unknown user (-1) has no events.
        """
        known_B = user_B >= 0
        user_B = np.where(known_B, user_B, 0)
        start_B = self.offsets_U1[user_B]
        stop_B = self.offsets_U1[user_B + 1]
        stop_B = np.where(known_B, stop_B, start_B)
        if self.order == "none":
            return start_B, stop_B
        if len(user_B) <= _FEW_QUERIES:
            bounds = zip(start_B.tolist(), stop_B.tolist(), t_B.tolist(), strict=True)
            found = [start + int(self.t_E[start:stop].searchsorted(t)) for start, stop, t in bounds]
            return start_B, np.array(found, np.int64)
        low_B, high_B = start_B.copy(), stop_B.copy()
        while (open_B := low_B < high_B).any():
            middle_B = (low_B + high_B) >> 1
            # A closed search keeps its bounds; its middle may lie past the end, so it is not looked at.
            earlier_B = open_B & (self.t_E[np.minimum(middle_B, max(len(self.t_E) - 1, 0))] < t_B)
            low_B = np.where(earlier_B, middle_B + 1, low_B)
            high_B = np.where(open_B & ~earlier_B, middle_B, high_B)
        return start_B, low_B


def ragged_index(start_B: Int64Array, stop_B: Int64Array) -> tuple[Int64Array, Int64Array]:
    """List the positions of B slices one after another.

    Returns:
        The positions, and the B + 1 offsets at which each slice's positions begin.

    Example:
        >>> ragged_index(np.array([3, 9]), np.array([5, 10]))
        (array([3, 4, 9]), array([0, 2, 3]))
    """
    length_B = stop_B - start_B
    if len(start_B) == 1:  # a request that is served alone
        return np.arange(int(start_B[0]), int(stop_B[0]), dtype=np.int64), np.array([0, int(length_B[0])], np.int64)
    offsets_B1 = np.zeros(len(start_B) + 1, np.int64)
    np.cumsum(length_B, out=offsets_B1[1:])
    position_N = np.arange(int(offsets_B1[-1]), dtype=np.int64)
    position_N += np.repeat(start_B - offsets_B1[:-1], length_B)
    return position_N, offsets_B1
