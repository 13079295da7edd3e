"""How items performed day by day, joined as of the day before.

Shape letters: I items, E events, K distinct (item, day) with an event, D days of the log, N look-ups, G groups of actions,
F features.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lowerfunnel.events.schema import ACTIONS
from lowerfunnel.events.timeline import Float32Array, Int8Array, Int32Array, Int64Array

COUNTER_GROUPS: dict[str, tuple[str, ...]] = {
    "impressions": ("impression",),
    "clicks": ("click", "view"),
    "carts": ("add_to_cart", "save", "favorite"),
    "conversions": ("checkout", "signup", "lead"),
}
"""What is counted as one; hides and returns are not counted."""

COUNTER_DAYS = (7, 28)
"""Lengths of the windows, in whole UTC days; rates are those of the longest."""

COUNTER_NAMES = (
    *(f"{group}_{days}d" for days in COUNTER_DAYS for group in COUNTER_GROUPS),
    "click_rate_28d",
    "conversion_rate_28d",
)
"""What each column of `DailyCounters.at` is."""

PRIOR_IMPRESSIONS = 100.0
"""Impressions at the overall click rate that every item gets on top of its own."""

PRIOR_CLICKS = 20.0
"""Clicks at the overall conversion rate that every item gets on top of its own."""

_DAY_US = 86_400_000_000
_GROUP_BY_CODE = np.array(
    [next((g for g, names in enumerate(COUNTER_GROUPS.values()) if action in names), -1) for action in ACTIONS],
    np.int64,
)
_GROUPS = len(COUNTER_GROUPS)
_IMPRESSIONS, _CLICKS, _, _CONVERSIONS = range(_GROUPS)


@dataclass(frozen=True, kw_only=True, slots=True)
class DailyCounters:
    """Events of I items by UTC day, cumulated. Rows exist only for days on which an item had an event.

    Attributes:
        items: How many items there are.
        first_day: UTC day of the log's first event, counted from 1970.
        days: Days from the first event to the last, D.
        key_K: ``item * D + day - first_day`` of each row, ascending.
        before_K1G: Events in all rows before each one, by group.
        overall_D1G: Events of all items on all days before each one, by group.
    """

    items: int
    first_day: int
    days: int
    key_K: Int64Array
    before_K1G: Int64Array
    overall_D1G: Int64Array

    @classmethod
    def build(cls, item_E: Int32Array, t_us_E: Int64Array, action_E: Int8Array, *, items: int) -> "DailyCounters":
        """Count events, in any order: `t_us_E` in microseconds since 1970 UTC, `action_E` codes of actions.

        Events on items outside the catalogue (-1), and of actions that are not counted, are left out. Memory is linear in
        the events while building and in the distinct (item, day) after.
        """
        group_E = _GROUP_BY_CODE[action_E]
        counted_E = (item_E >= 0) & (group_E >= 0)
        item_C, group_C, day_C = item_E[counted_E].astype(np.int64), group_E[counted_E], t_us_E[counted_E] // _DAY_US
        first_day = int(day_C.min()) if len(day_C) else 0
        days = int(day_C.max()) - first_day + 1 if len(day_C) else 1
        cell, count = np.unique((item_C * days + day_C - first_day) * _GROUPS + group_C, return_counts=True)
        key, group = np.divmod(cell, _GROUPS)
        key_K, row = np.unique(key, return_inverse=True)
        return cls(
            items=items,
            first_day=first_day,
            days=days,
            key_K=key_K,
            before_K1G=_cumulated(row * _GROUPS + group, count, rows=len(key_K)),
            overall_D1G=_cumulated(key % days * _GROUPS + group, count, rows=days),
        )

    def at(self, item_N: Int32Array, t_us_N: Int64Array) -> Float32Array:
        """Return how each item had performed by the end of the UTC day before `t_us_N`.

        A window of d days ends there and begins d whole days earlier, so no event of the same day counts, nor a later one.
        Counts are ``log1p``. A rate is the natural log of an item's smoothed rate over the overall one of the same window:
        with n impressions, c clicks and the overall clicks per impression r,

            log(((c + r * PRIOR_IMPRESSIONS) / (n + PRIOR_IMPRESSIONS)) / r)

        and alike for conversions per click with PRIOR_CLICKS; 0 where there is no overall rate to compare with. So an
        item without an event is a row of zeros, and so is one outside the catalogue.

        Returns:
            [N, F], in the order of `COUNTER_NAMES`.
        """
        known_N = (item_N >= 0) & (item_N < self.items)
        # Looked up in the order in which the rows lie: far fewer of them miss the cache.
        sorted_N = np.argsort(np.where(known_N, item_N, 0), kind="stable")
        row_N = np.where(known_N, item_N, 0)[sorted_N].astype(np.int64)
        stop_N = t_us_N[sorted_N] // _DAY_US - self.first_day
        until_NG, overall_until_NG = self._before(row_N, stop_N)
        columns = []
        for days in COUNTER_DAYS:
            before_NG, overall_before_NG = self._before(row_N, stop_N - days)
            own_NG, overall_NG = until_NG - before_NG, overall_until_NG - overall_before_NG
            columns.append(np.log1p(own_NG))
        clicks = _log_lift(own_NG, overall_NG, of=_CLICKS, per=_IMPRESSIONS, prior=PRIOR_IMPRESSIONS)
        conversions = _log_lift(own_NG, overall_NG, of=_CONVERSIONS, per=_CLICKS, prior=PRIOR_CLICKS)
        counters_NF = np.zeros((len(item_N), len(COUNTER_NAMES)), np.float32)
        counters_NF[sorted_N] = np.concatenate([*columns, clicks[:, None], conversions[:, None]], axis=1)
        counters_NF[~known_N] = 0.0
        return counters_NF

    def _before(self, item_N: Int64Array, day_N: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Return the events before a day, counted from the first: up to a constant of the item's own, and of all items."""
        # Days outside the log are its ends, so that a key never reaches past the beginning of the next item.
        day_N = np.clip(day_N, 0, self.days)
        row_N = np.searchsorted(self.key_K, item_N * self.days + day_N)
        return self.before_K1G[row_N], self.overall_D1G[day_N]


def _cumulated(cell: Int64Array, count: Int64Array, *, rows: int) -> Int64Array:
    """Return what lies before each row, and after the last one, from counts by cell ``row * G + group``."""
    # Counts are added up as floats, which are exact up to 2^53 of them.
    count_RG = np.bincount(cell, weights=count, minlength=rows * _GROUPS).reshape(rows, _GROUPS).astype(np.int64)
    return np.concatenate([np.zeros((1, _GROUPS), np.int64), count_RG.cumsum(axis=0)])


def _log_lift(
    own_NG: Int64Array, overall_NG: Int64Array, *, of: int, per: int, prior: float
) -> npt.NDArray[np.float64]:
    has_rate_N = (overall_NG[:, of] > 0) & (overall_NG[:, per] > 0)
    rate_N = np.where(has_rate_N, overall_NG[:, of], 1) / np.where(has_rate_N, overall_NG[:, per], 1)
    lift_N = (own_NG[:, of] / rate_N + prior) / (own_NG[:, per] + prior)
    return np.where(has_rate_N, np.log(lift_N), 0.0)
