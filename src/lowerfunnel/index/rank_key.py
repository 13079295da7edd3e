"""One integer per scored item whose ascending order is best first, equal scores by lower item.

Sorting such keys sorts by (score descending, item ascending) in one pass over int64, which numpy does with vector
instructions; it also makes the order of equal scores part of the definition instead of an accident of the sort.

Shape letters: N scored items (ragged), Q queries, C width of the widest row, K length of a list.
"""

import numpy as np

from lowerfunnel.index.ranking import NO_ITEM, Float32Array, Int32Array, Int64Array, Ranking

NO_KEY = np.iinfo(np.int64).max
"""Sorts after every scored item."""

_LOW_31_BITS = np.int32(0x7FFFFFFF)
_ITEM_BITS = 32
_ITEM_MASK = np.int64(0xFFFFFFFF)


def rank_keys(score_N: Float32Array, item_N: Int32Array | Int64Array) -> Int64Array:
    """Pack scores that are not NaN, and non-negative items below 2^31, into keys.

    Example:
        >>> keys = rank_keys(np.array([0.5, -1.0, 0.5], np.float32), np.array([7, 2, 3], np.int32))
        >>> np.argsort(keys)
        array([2, 0, 1])
    """
    # Adding zero turns -0.0 into 0.0: they are equal, so the item must decide between them.
    bits_N = (score_N + np.float32(0.0)).view(np.int32)
    # The bits of negative floats order backwards; flipping all but their sign orders them with the positive ones.
    ordered_N = np.where(bits_N < 0, bits_N ^ _LOW_31_BITS, bits_N)
    key_N: Int64Array = np.invert(ordered_N).astype(np.int64)
    key_N <<= _ITEM_BITS
    key_N |= item_N
    return key_N


def pad_rows(key_N: Int64Array, count_Q: Int64Array) -> Int64Array:
    """Lay ragged rows of keys, given one after another, side by side: a [Q, C] matrix filled up with `NO_KEY`."""
    key_QC = np.full((len(count_Q), int(count_Q.max(initial=0))), NO_KEY, np.int64)
    before_Q = np.cumsum(count_Q) - count_Q
    row_N = np.repeat(np.arange(len(count_Q)), count_Q)
    key_QC[row_N, np.arange(len(key_N)) - before_Q[row_N]] = key_N
    return key_QC


def best_keys(key_QC: Int64Array, k: int) -> Int64Array:
    """Sort each row in place and return its first `k` keys, or all where there are fewer."""
    key_QC.sort(axis=1)
    return key_QC[:, :k]


def score_of_keys(key: Int64Array) -> Float32Array:
    """Return the scores in keys; minus infinity for `NO_KEY`."""
    ordered = np.invert((key >> _ITEM_BITS).astype(np.int32))
    score = np.where(ordered < 0, ordered ^ _LOW_31_BITS, ordered).view(np.float32)
    return np.where(key == NO_KEY, np.float32(-np.inf), score)


def item_of_keys(key: Int64Array) -> Int32Array:
    """Return the items in keys; -1 for `NO_KEY`."""
    return np.where(key == NO_KEY, NO_ITEM, key & _ITEM_MASK).astype(np.int32)


def ranking_of_keys(key_QC: Int64Array, k: int) -> Ranking:
    """Turn rows of sorted keys into lists of length `k`, padded where a row holds fewer."""
    ranking = Ranking.empty(len(key_QC), k)
    width = min(k, key_QC.shape[1])
    ranking.item_QK[:, :width] = item_of_keys(key_QC[:, :width])
    ranking.score_QK[:, :width] = score_of_keys(key_QC[:, :width])
    return ranking
