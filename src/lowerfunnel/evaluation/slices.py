"""Which held-out pairs belong to which slice of the evaluation.

A slice restricts the held-out pairs, not the ranking: the list still spans the whole catalogue, and what is relevant
outside the slice stands in it as any other item. Queries without a pair in the slice do not count for it.

Shape letters: Q queries, P held-out pairs sorted by query, H history entries of all queries, I items, V advertisers.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from lowerfunnel.evaluation.evaluation_set import BoolArray
from lowerfunnel.evaluation.pair_rank import rows_of
from lowerfunnel.events.schema import ACTION_CODE, ACTIONS, FUNNEL_DEPTH
from lowerfunnel.events.timeline import Int8Array, Int32Array, Int64Array

DEPTH_A = np.array([FUNNEL_DEPTH[action] for action in ACTIONS], np.int8)
"""How deep each action lies in the funnel, by its code."""

ACTIVITY_BINS = ("low", "middle", "high")
ADVERTISER_BINS = ("small", "middle", "large")
CONVERSION_BINS = {"conversions_0": 0, "conversions_1_2": 1, "conversions_3_9": 3, "conversions_10_up": 10}
"""Slices of users by the fewest past conversions that they have."""
AGE_BINS = {"item_age_under_7d": 0, "item_age_7_28d": 7, "item_age_over_28d": 28}
"""Slices of items by the fewest days between their first event and the request."""
_DAY_US = 86_400_000_000


def build_slices(
    *,
    pair_offsets: Int64Array,
    pair_item_P: Int32Array,
    history_offsets: Int64Array,
    history_item: Int32Array,
    history_action: Int8Array,
    train_count_I: Int64Array,
    cold_at_most: int = 5,
    surface_P: Int32Array | None = None,
    surfaces: Sequence[str] = (),
    conversions: Sequence[str] | None = None,
    item_age_us_P: Int64Array | None = None,
    advertiser_I: Int32Array | None = None,
) -> dict[str, BoolArray]:
    """Build the slices that every evaluation reports.

    Args:
        pair_offsets: Q + 1 offsets into `pair_item_P`.
        pair_item_P: Held-out items, -1 outside the catalogue.
        history_offsets: Q + 1 offsets into the history.
        history_item: What the users did before their requests.
        history_action: Codes of these actions.
        train_count_I: How many events of training each item has.
        cold_at_most: An item with no more than this many is cold; so is one outside the catalogue.
        surface_P: Position in `surfaces` of where the held-out event happened, -1 if unknown; None for a log without.
        surfaces: Names of the surfaces.
        conversions: Actions that count as conversions; None for no slices by past conversions.
        item_age_us_P: Microseconds from an item's first event to the request, 0 or less for an item that had none
            before; None for a log without times.
        advertiser_I: Dense advertiser of each item, -1 for none; None for a catalogue without advertisers.

    Returns:
        By name: "all"; "retargeting", the user had touched the item before, and "discovery", the item was new to the
        user (an impression is no touch); "cold_items"; "activity_none" for users without history, and
        "activity_low", "activity_middle", "activity_high" for the thirds of the others by the length of theirs (users
        of one length share a third); "surface=NAME" each; `CONVERSION_BINS` by how often the user had converted before
        the request; `AGE_BINS` by the age of the item, the youngest also for one without an event before;
        "advertiser_small", "advertiser_middle", "advertiser_large" for the thirds of the advertisers by their events of
        training (advertisers with equally many share a third). All but the first three only where they hold a pair.
    """
    row_P = rows_of(pair_offsets)
    touched_P = _touched(row_P, pair_item_P, history_offsets, history_item, history_action)
    named = {"cold_items": (pair_item_P < 0) | (_counts(train_count_I, pair_item_P) <= cold_at_most)}
    bin_Q = _activity_bins(np.diff(history_offsets))
    for code, name in enumerate(("none", *ACTIVITY_BINS)):
        named[f"activity_{name}"] = bin_Q[row_P] == code
    if surface_P is not None:
        named |= {f"surface={name}": surface_P == code for code, name in enumerate(surfaces)}
    if conversions is not None:
        count_Q = _converted(history_offsets, history_action, conversions)
        named |= _binned(CONVERSION_BINS, count_Q[row_P])
    if item_age_us_P is not None:
        named |= _binned(AGE_BINS, np.maximum(item_age_us_P, 0) // _DAY_US)
    if advertiser_I is not None:
        size_I = _advertiser_sizes(advertiser_I, train_count_I)
        size_P = np.where(pair_item_P >= 0, size_I[np.maximum(pair_item_P, 0)], 0)
        named |= {f"advertiser_{name}": size_P == code for code, name in enumerate(ADVERTISER_BINS, start=1)}
    always = {"all": np.ones(len(pair_item_P), np.bool_), "retargeting": touched_P, "discovery": ~touched_P}
    return always | {name: inside_P for name, inside_P in named.items() if inside_P.any()}


def restrict(inside_P: BoolArray, offsets_Q1: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Return the queries that have a pair in a slice, and the offsets of their pairs in it.

    Example:
        >>> restrict(np.array([True, False, False, True, True]), np.array([0, 2, 3, 5]))
        (array([0, 2]), array([0, 1, 3]))
    """
    kept_before_P1 = np.zeros(len(inside_P) + 1, np.int64)
    np.cumsum(inside_P, out=kept_before_P1[1:])
    count_Q = np.diff(kept_before_P1[offsets_Q1])
    row_S = np.flatnonzero(count_Q)
    return row_S, np.concatenate([np.zeros(1, np.int64), np.cumsum(count_Q[row_S])])


def _touched(
    row_P: Int64Array,
    pair_item_P: Int32Array,
    history_offsets: Int64Array,
    history_item: Int32Array,
    history_action: Int8Array,
) -> BoolArray:
    """Tell which pairs' items are in their user's history, with more than an impression."""
    touch_H = (DEPTH_A[history_action] > 0) & (history_item >= 0)
    touched_pair = np.unique((rows_of(history_offsets)[touch_H] << 32) | history_item[touch_H])
    if not len(touched_pair):
        return np.zeros(len(row_P), np.bool_)
    pair_P = (row_P << 32) | np.maximum(pair_item_P, 0)
    place_P = np.minimum(np.searchsorted(touched_pair, pair_P), len(touched_pair) - 1)
    found_P: BoolArray = (touched_pair[place_P] == pair_P) & (pair_item_P >= 0)
    return found_P


def _counts(train_count_I: Int64Array, pair_item_P: Int32Array) -> Int64Array:
    if not len(train_count_I):
        return np.zeros(len(pair_item_P), np.int64)
    return train_count_I[np.maximum(pair_item_P, 0)]


def _activity_bins(length_Q: Int64Array) -> Int64Array:
    """Return 0 for users without history, else 1, 2 or 3 by the third of their history's length."""
    active_Q = length_Q > 0
    if not active_Q.any():
        return np.zeros(len(length_Q), np.int64)
    edges = np.quantile(length_Q[active_Q], [1 / 3, 2 / 3])
    bin_Q = 1 + np.searchsorted(edges, length_Q, side="left")
    return np.where(active_Q, bin_Q, 0)


def _binned(fewest: Mapping[str, int], value_P: Int64Array) -> dict[str, BoolArray]:
    """Return which values fall into each bin, which reaches from its own number up to the next."""
    bin_P = np.searchsorted(list(fewest.values()), value_P, side="right") - 1
    return {name: bin_P == code for code, name in enumerate(fewest)}


def _converted(history_offsets: Int64Array, history_action: Int8Array, conversions: Sequence[str]) -> Int64Array:
    """Count the conversions of each query's history."""
    converted_H = np.isin(history_action, [ACTION_CODE[action] for action in conversions])
    before_H1 = np.zeros(len(converted_H) + 1, np.int64)
    np.cumsum(converted_H, out=before_H1[1:])
    count_Q: Int64Array = np.diff(before_H1[history_offsets])
    return count_Q


def _advertiser_sizes(advertiser_I: Int32Array, train_count_I: Int64Array) -> Int64Array:
    """Return 1, 2 or 3 by the third of its advertiser, and 0 for an item without one."""
    known_I = advertiser_I >= 0
    size_I = np.zeros(len(advertiser_I), np.int64)
    if not known_I.any():
        return size_I
    events_V = np.bincount(advertiser_I[known_I], weights=train_count_I[known_I])
    # Codes between the advertisers of the catalogue, should there be any, are no advertisers.
    there_V = np.bincount(advertiser_I[known_I]) > 0
    edges = np.quantile(events_V[there_V], [1 / 3, 2 / 3])
    size_I[known_I] = 1 + np.searchsorted(edges, events_V, side="left")[advertiser_I[known_I]]
    return size_I
