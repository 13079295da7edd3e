"""Histories of a batch, gathered from timelines.

Shape letters: B queries, N history entries of the batch (ragged over B).
"""

from dataclasses import dataclass

import numpy as np

from lowerfunnel.events.schema import ACTIONS, FUNNEL_DEPTH
from lowerfunnel.events.timeline import (
    Float32Array,
    Int8Array,
    Int16Array,
    Int32Array,
    Int64Array,
    Timelines,
    ragged_index,
)

AGE_BUCKETS = 24
"""Ages are bucketed by the logarithm to base 2, of minutes with time and of steps back without.

Both count back from the latest entry, not from the query: a session keeps its shape however long ago it was, and a
request at the end of the log is answered as one right after the user's last event would be.
"""

_DEPTH_BY_CODE = np.array([FUNNEL_DEPTH[action] for action in ACTIONS], np.int8)
_MINUTE_US = 60_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Histories:
    """What B users did before their queries, latest last.

    Attributes:
        offsets_B1: Entries of query b are ``offsets_B1[b]:offsets_B1[b + 1]``.
        item_N: Dense item.
        action_N: Code of the action.
        age_N: Bucket of how long before the latest entry this one was, 0 for the latest; all 0 in a log without order.
        surface_N: Code of the surface, 0 unknown (`lowerfunnel.events.timeline.Timelines`).
        dwell_N: Seconds that the user stayed, NaN where unknown.
        back_N: 0 for the latest entry, 1 for the one before it, and so on; all 0 in a log without order.
    """

    offsets_B1: Int64Array
    item_N: Int32Array
    action_N: Int8Array
    age_N: Int8Array
    surface_N: Int16Array
    dwell_N: Float32Array
    back_N: Int32Array


def gather_histories(
    timelines: Timelines,
    user_B: Int32Array,
    t_B: Int64Array,
    *,
    max_length: int,
    target_item_B: Int32Array | None = None,
    target_action_B: Int8Array | None = None,
    hide_target: bool = False,
    entry_dropout: float = 0.0,
    generator: np.random.Generator | None = None,
) -> Histories:
    """Gather the latest `max_length` events of each user strictly before `t_B`.

    A target is given for training. In a log without order, events on the target item that lie as deep in the funnel as
    the target's own action, or deeper, are left out: the purchase to be predicted, or what can only follow from it, must
    not explain itself, while a cart that may have come before stays. With `hide_target` every event on the target item
    is left out, so that only what is new to a user can be learned. Entries without a dense item are left out too, and in
    training a random share `entry_dropout` of all, drawn from `generator`.

    Raises:
        ValueError: If entries are to be dropped without a generator to draw from.
    """
    if entry_dropout and generator is None:
        raise ValueError(f"entry_dropout={entry_dropout} needs a generator to draw from")
    start_B, stop_B = timelines.before(user_B, t_B)
    start_B = np.maximum(start_B, stop_B - max_length)
    position_N, offsets_B1 = ragged_index(start_B, stop_B)
    item_N = timelines.item_E[position_N]
    keep_N = item_N >= 0
    if target_item_B is not None and target_action_B is not None and (hide_target or timelines.order == "none"):
        length_B = np.diff(offsets_B1)
        own_N = item_N == np.repeat(target_item_B, length_B)
        if not hide_target:
            depth_N = _DEPTH_BY_CODE[timelines.action_E[position_N]]
            own_N &= depth_N >= np.repeat(_DEPTH_BY_CODE[target_action_B], length_B)
        keep_N &= ~own_N
    if entry_dropout and generator is not None:
        keep_N &= generator.random(len(keep_N)) >= entry_dropout
    if not keep_N.all():
        kept_before_N1 = np.zeros(len(keep_N) + 1, np.int64)
        np.cumsum(keep_N, out=kept_before_N1[1:])
        offsets_B1 = kept_before_N1[offsets_B1]
        position_N = position_N[keep_N]
    # Counted from the latest entry that is left: what was left out must not show as a gap.
    gap_us_N = _gap_us(timelines, position_N, offsets_B1)
    back_N = np.repeat(offsets_B1[1:], np.diff(offsets_B1)) - 1 - np.arange(len(position_N))
    return Histories(
        offsets_B1=offsets_B1,
        item_N=timelines.item_E[position_N],
        action_N=timelines.action_E[position_N],
        age_N=_log2_bucket(back_N if timelines.order == "sequence" else gap_us_N // _MINUTE_US),
        surface_N=timelines.surface_E[position_N],
        dwell_N=timelines.dwell_E[position_N],
        back_N=np.zeros_like(back_N, np.int32) if timelines.order == "none" else back_N.astype(np.int32),
    )


def _gap_us(timelines: Timelines, position_N: Int64Array, offsets_B1: Int64Array) -> Int64Array:
    """Return how long before its query's latest entry each one was, in microseconds; 0 without times."""
    if timelines.order != "time" or not len(position_N):
        return np.zeros(len(position_N), np.int64)
    t_N = timelines.t_E[position_N]
    # An empty history has no latest entry, and repeats whatever stands in for it 0 times.
    latest_B = t_N[np.maximum(offsets_B1[1:] - 1, 0)]
    return np.repeat(latest_B, np.diff(offsets_B1)) - t_N


def _log2_bucket(age_N: Int64Array) -> Int8Array:
    """Return 0 for an age below 1, then 1 + floor(log2(age)), capped at the last bucket."""
    _, exponent_N = np.frexp(age_N.astype(np.float64))
    return np.clip(exponent_N, 0, AGE_BUCKETS - 1).astype(np.int8)
