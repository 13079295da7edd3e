"""Where rankings put given (query, item) pairs.

Shape letters: Q queries, K length of a list, N pairs.
"""

import numpy as np

from lowerfunnel.evaluation.evaluation_set import EvaluationSet
from lowerfunnel.events.timeline import Int32Array, Int64Array
from lowerfunnel.index.ranking import Ranking


class RankLookup:
    """Finds pairs in a ranking: lists are sorted by item once, and pairs are found by binary search."""

    def __init__(self, ranking: Ranking) -> None:
        # One integer per place sorts a list by item and still knows the place.
        packed_QK = (ranking.item_QK.astype(np.int64) << 32) | np.arange(ranking.item_QK.shape[1])
        packed_QK.sort(axis=1)
        self._rank_QK: Int64Array = (packed_QK & 0xFFFFFFFF) + 1
        packed_QK >>= 32
        # A list's own stretch of the integers, so that all lists together are one sorted array; -1 comes first.
        packed_QK += np.arange(ranking.queries, dtype=np.int64)[:, None] << 32
        self._sorted_QK = packed_QK

    def ranks(self, row_N: Int64Array, item_N: Int32Array) -> Int32Array:
        """Return the 1-based rank of each pair's item in its query's list; 0 if not found, or if the item is -1."""
        if self._sorted_QK.size == 0:
            return np.zeros(len(row_N), np.int32)
        wanted_N = (row_N << 32) + item_N
        place_N = np.minimum(np.searchsorted(self._sorted_QK.ravel(), wanted_N), self._sorted_QK.size - 1)
        found_N = (self._sorted_QK.ravel()[place_N] == wanted_N) & (item_N >= 0)
        return np.where(found_N, self._rank_QK.ravel()[place_N], 0).astype(np.int32)


def pair_ranks(ranking: Ranking, evaluation_set: EvaluationSet) -> Int32Array:
    """Return the rank of every held-out pair, 1-based; 0 where it was not found.

    Raises:
        ValueError: If the ranking does not hold one list per query.
    """
    if ranking.queries != evaluation_set.queries:
        raise ValueError(f"{evaluation_set.queries} queries need as many lists, the ranking holds {ranking.queries}")
    return RankLookup(ranking).ranks(rows_of(evaluation_set.pair_offsets), evaluation_set.pair_item_P)


def rows_of(offsets_Q1: Int64Array) -> Int64Array:
    """Return the query of each entry of a ragged array.

    Example:
        >>> rows_of(np.array([0, 2, 2, 3]))
        array([0, 0, 2])
    """
    return np.repeat(np.arange(len(offsets_Q1) - 1, dtype=np.int64), np.diff(offsets_Q1))
