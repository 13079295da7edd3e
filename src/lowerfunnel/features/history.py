"""Histories of a batch, gathered from timelines.

Shape letters: B queries, N history entries of the batch (ragged over B).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lowerfunnel.events.schema import ACTIONS, FUNNEL_DEPTH
from lowerfunnel.events.timeline import Int8Array, Int32Array, Int64Array, Timelines, ragged_index

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
    """

    offsets_B1: Int64Array
    item_N: Int32Array
    action_N: Int8Array
    age_N: Int8Array


def gather_histories(
    timelines: Timelines,
    user_B: Int32Array,
    t_B: Int64Array,
    *,
    max_length: int,
    target_item_B: Int32Array | None = None,
    target_action_B: Int8Array | None = None,
    hide_target: bool = False,
) -> Histories:
    """Gather the latest `max_length` events of each user strictly before `t_B`.

    A target is given for training. In a log without order, events on the target item that lie as deep in the funnel as
    the target's own action, or deeper, are left out: the purchase to be predicted, or what can only follow from it, must
    not explain itself, while a cart that may have come before stays. With `hide_target` every event on the target item
    is left out, so that only what is new to a user can be learned. Entries without a dense item are left out too.
    """
    start_B, stop_B = timelines.before(user_B, t_B)
    start_B = np.maximum(start_B, stop_B - max_length)
    position_N, offsets_B1 = ragged_index(start_B, stop_B)
    length_B = np.diff(offsets_B1)
    item_N = timelines.item_E[position_N]
    action_N = timelines.action_E[position_N]
    age_N: npt.NDArray[np.int8]
    if timelines.order == "time":
        latest_B = timelines.t_E[np.maximum(stop_B - 1, 0)] if len(timelines.t_E) else t_B
        gap_N = np.repeat(latest_B, length_B) - timelines.t_E[position_N]
        age_N = _log2_bucket(gap_N // _MINUTE_US)
    elif timelines.order == "sequence":
        back_N = np.repeat(offsets_B1[1:], length_B) - 1 - np.arange(len(position_N))
        age_N = _log2_bucket(back_N)
    else:
        age_N = np.zeros(len(position_N), np.int8)
    keep_N = item_N >= 0
    if target_item_B is not None and target_action_B is not None and (hide_target or timelines.order == "none"):
        own_N = item_N == np.repeat(target_item_B, length_B)
        if not hide_target:
            own_N &= _DEPTH_BY_CODE[action_N] >= np.repeat(_DEPTH_BY_CODE[target_action_B], length_B)
        keep_N &= ~own_N
    if not keep_N.all():
        kept_before_N1 = np.zeros(len(keep_N) + 1, np.int64)
        np.cumsum(keep_N, out=kept_before_N1[1:])
        offsets_B1 = kept_before_N1[offsets_B1]
        item_N, action_N, age_N = item_N[keep_N], action_N[keep_N], age_N[keep_N]
    return Histories(offsets_B1=offsets_B1, item_N=item_N, action_N=action_N, age_N=age_N)


def _log2_bucket(age_N: Int64Array) -> Int8Array:
    """Return 0 for an age below 1, then 1 + floor(log2(age)), capped at the last bucket."""
    _, exponent_N = np.frexp(age_N.astype(np.float64))
    return np.clip(exponent_N, 0, AGE_BUCKETS - 1).astype(np.int8)
