"""How much a user had done before a point in time: past actions counted by kind and window.

Shape letters: B queries, E events, K actions, G groups of actions, W windows, F = W * G features.
"""

import numpy as np
import numpy.typing as npt

from lowerfunnel.errors import UnavailableError
from lowerfunnel.events.schema import ACTIONS
from lowerfunnel.events.timeline import Float32Array, Int32Array, Int64Array, Order, Timelines, ragged_index

ACTIVITY_GROUPS: dict[str, tuple[str, ...]] = {
    "engagement": ("view", "click"),
    "consideration": ("save", "favorite", "add_to_cart"),
    "conversion": ("checkout", "signup", "lead"),
    "rejection": ("hide", "return"),
    "impression": ("impression",),
}
"""What is counted as one. Every action is in one group."""

ACTIVITY_DAYS = (1, 7, 30)
"""Lengths of the windows before the point in time; all time comes after them."""

_DAY_US = 86_400_000_000
_GROUP_BY_CODE = np.array(
    [next(g for g, names in enumerate(ACTIVITY_GROUPS.values()) if action in names) for action in ACTIONS], np.int64
)
_FIRST_US = -(2**63)
_MOST_EVENTS = 2_000_000
"""Events looked at in one go: some 50 MB."""


def activity_names(order: Order) -> tuple[str, ...]:
    """Return what each column of `activity_counts` is, window by window: windows need times.

    Example:
        >>> activity_names("sequence")[:2]
        ('engagement', 'consideration')
    """
    windows = [f"_{days}d" for days in ACTIVITY_DAYS] if order == "time" else []
    return tuple(f"{group}{window}" for window in [*windows, ""] for group in ACTIVITY_GROUPS)


def activity_counts(timelines: Timelines, user_B: Int32Array, t_B: Int64Array) -> Float32Array:
    """Count what each user had done strictly before `t_B`, by group of actions, in the windows before it and in all.

    A window of d days holds the events at ``t - d days`` and later. An unknown user (-1) has done nothing. The memory is
    bounded: queries with long pasts are answered a few at a time.

    Returns:
        ``log1p`` of the counts, [B, F], in the order of `activity_names`.

    Raises:
        UnavailableError: In a log without order, where the event that is to be predicted would be counted itself.
    """
    if timelines.order == "none":
        raise UnavailableError(
            "retrieval.tower.activity needs a log with order: without, what is to be predicted would be counted; set it to "
            "false"
        )
    start_B, stop_B = timelines.before(user_B, t_B)
    count_BF = np.zeros((len(user_B), len(activity_names(timelines.order))), np.float32)
    if len(user_B) == 1:
        count_BF[0] = _counts_of_one(timelines, int(start_B[0]), int(stop_B[0]), int(t_B[0]))
        return np.log1p(count_BF)
    for part in _parts(stop_B - start_B):
        count_BF[part] = _counts(timelines, start_B[part], stop_B[part], t_B[part])
    return np.log1p(count_BF)


def _parts(length_B: Int64Array) -> list[slice]:
    """Divide the queries so that each part has `_MOST_EVENTS` events, or is a single query."""
    before_B1 = np.zeros(len(length_B) + 1, np.int64)
    np.cumsum(length_B, out=before_B1[1:])
    parts, start = [], 0
    while start < len(length_B):
        stop = int(np.searchsorted(before_B1, before_B1[start] + _MOST_EVENTS, side="right")) - 1
        stop = max(stop, start + 1)
        parts.append(slice(start, stop))
        start = stop
    return parts


def _counts_of_one(timelines: Timelines, start: int, stop: int, t: int) -> npt.NDArray[np.int64]:
    """Count what `_counts` counts, of one query: its events are sorted by time, so that each window is their tail."""
    group_N = _GROUP_BY_CODE[timelines.action_E[start:stop]]
    first = [0]
    if timelines.order == "time":
        begin_W = np.array([max(t - days * _DAY_US, _FIRST_US) for days in ACTIVITY_DAYS], np.int64)
        first = [*timelines.t_E[start:stop].searchsorted(begin_W).tolist(), 0]
    return np.concatenate([np.bincount(group_N[place:], minlength=len(ACTIVITY_GROUPS)) for place in first])


def _counts(timelines: Timelines, start_B: Int64Array, stop_B: Int64Array, t_B: Int64Array) -> npt.NDArray[np.int64]:
    queries, groups = len(start_B), len(ACTIVITY_GROUPS)
    windows = len(ACTIVITY_DAYS) + 1 if timelines.order == "time" else 1
    position_N, offsets_B1 = ragged_index(start_B, stop_B)
    query_N = np.repeat(np.arange(queries), np.diff(offsets_B1))
    cell_N = query_N * windows
    if timelines.order == "time":
        # The shortest window that an event lies in; the longer ones take it over below.
        age_us_N = t_B[query_N] - timelines.t_E[position_N]
        cell_N += np.searchsorted(np.array(ACTIVITY_DAYS) * _DAY_US, age_us_N, side="left")
    cell_N *= groups
    cell_N += _GROUP_BY_CODE[timelines.action_E[position_N]]
    counted = np.bincount(cell_N, minlength=queries * windows * groups).reshape(queries, windows, groups)
    inside: npt.NDArray[np.int64] = counted.cumsum(axis=1).reshape(queries, windows * groups)
    return inside
