"""Every user's events in memory, as one compressed sparse row structure.

A training example is only (user, point in time, item, label); its history is the slice of the user's timeline strictly
before that point, found by binary search when a batch is built. So histories cost no storage, hold nothing newer than
their example by construction, and are found by the same code when serving.

Shape letters: U users, E events, B queries, N history entries of a batch (ragged).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
Int32Array = npt.NDArray[np.int32]
Int8Array = npt.NDArray[np.int8]
Order = Literal["time", "sequence", "none"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Timelines:
    """The events of U users, each user's sorted by `t_E`.

    Attributes:
        offsets_U1: Events of user u are ``offsets_U1[u]:offsets_U1[u + 1]``.
        t_E: Microseconds since 1970 UTC ("time"), the position in the user's sequence ("sequence"), or 0 ("none").
        item_E: Dense item, -1 for one outside the vocabulary.
        action_E: Code of the action (`lowerfunnel.events.schema.ACTION_CODE`).
        order: What `t_E` means.
    """

    offsets_U1: Int64Array
    t_E: Int64Array
    item_E: Int32Array
    action_E: Int8Array
    order: Order

    def __post_init__(self) -> None:
        events = len(self.t_E)
        if not len(self.item_E) == len(self.action_E) == events == int(self.offsets_U1[-1]):
            raise ValueError(
                f"a timeline's columns must have one length: t {events}, item {len(self.item_E)}, "
                f"action {len(self.action_E)}, last offset {int(self.offsets_U1[-1])}"
            )

    @property
    def users(self) -> int:
        """How many users there are."""
        return len(self.offsets_U1) - 1

    @classmethod
    def build(
        cls, *, user_E: Int32Array, t_E: Int64Array, item_E: Int32Array, action_E: Int8Array, users: int, order: Order
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
        )

    def of_actions(self, codes: tuple[int, ...]) -> "Timelines":
        """Return the timelines of the events of some actions alone."""
        keep_E = np.isin(self.action_E, np.array(codes, np.int8))
        if keep_E.all():
            return self
        kept_before_E1 = np.zeros(len(keep_E) + 1, np.int64)
        np.cumsum(keep_E, out=kept_before_E1[1:])
        return Timelines(
            offsets_U1=kept_before_E1[self.offsets_U1],
            t_E=self.t_E[keep_E],
            item_E=self.item_E[keep_E],
            action_E=self.action_E[keep_E],
            order=self.order,
        )

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
    offsets_B1 = np.zeros(len(start_B) + 1, np.int64)
    np.cumsum(length_B, out=offsets_B1[1:])
    position_N = np.arange(int(offsets_B1[-1]), dtype=np.int64)
    position_N += np.repeat(start_B - offsets_B1[:-1], length_B)
    return position_N, offsets_B1
