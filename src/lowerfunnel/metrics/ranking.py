"""Metrics of ranked lists, one value per query, from the ranks of the held-out items alone.

A ranking of the whole catalogue enters only by where it put what was held out, so every metric costs as much as there
are held-out pairs, whatever the length of the lists.

Shape letters: Q queries, Q1 = Q + 1 offsets, P held-out (query, item) pairs sorted by query.

Everywhere, `rank_P` is the 1-based place of a pair's item in its query's list, and 0 where the list does not hold it;
the pairs of query q are ``offsets_Q1[q]:offsets_Q1[q + 1]``, at least one each. Relevance is binary.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
RankMetric = Callable[[npt.NDArray[np.int32], Int64Array, int], FloatArray]


def recall(rank_P: npt.NDArray[np.int32], offsets_Q1: Int64Array, k: int) -> FloatArray:
    r"""Share of a query's held-out items among its first k: ``hits / relevant``.

    Not divided by ``min(k, relevant)``, as some do: a user who bought more than k items cannot reach 1.

    Example:
        >>> recall(np.array([1, 0, 12], np.int32), np.array([0, 2, 3]), 10)
        array([0.5, 0. ])
    """
    return _sums((rank_P > 0) & (rank_P <= k), offsets_Q1) / relevant_items(offsets_Q1)


def hit_rate(rank_P: npt.NDArray[np.int32], offsets_Q1: Int64Array, k: int) -> FloatArray:
    """1 where at least one held-out item is among the first k, else 0. Its mean is the share of queries with a hit.

    Some multi-behaviour papers call the number of hits over the number of held-out items a hit ratio: that is the mean
    of `recall` weighted by `relevant_items`, here named "micro_recall". With one held-out item a query all three agree.

    Example:
        >>> hit_rate(np.array([1, 0, 12], np.int32), np.array([0, 2, 3]), 10)
        array([1., 0.])
    """
    return (_first_rank(rank_P, offsets_Q1) <= k).astype(np.float64)


def reciprocal_rank(rank_P: npt.NDArray[np.int32], offsets_Q1: Int64Array, k: int) -> FloatArray:
    """One over the rank of the first held-out item, 0 if that lies after k. Its mean is MRR@k.

    Example:
        >>> reciprocal_rank(np.array([4, 2, 12], np.int32), np.array([0, 2, 3]), 10)
        array([0.5, 0. ])
    """
    first_Q = _first_rank(rank_P, offsets_Q1)
    return np.where(first_Q <= k, 1.0 / first_Q, 0.0)


def ndcg(rank_P: npt.NDArray[np.int32], offsets_Q1: Int64Array, k: int) -> FloatArray:
    r"""Normalised discounted cumulative gain of the first k.

    ``sum over hits of 1 / log2(rank + 1)``, over its largest possible value: that of ``min(relevant, k)`` hits at the
    top.

    References:
        Järvelin and Kekäläinen, TOIS 2002, with binary gains and the discount in use since Burges et al., ICML 2005.

    Example:
        >>> ndcg(np.array([3, 0, 12], np.int32), np.array([0, 1, 3]), 10)
        array([0.5, 0. ])
    """
    inside_P = (rank_P > 0) & (rank_P <= k)
    gain_P = np.where(inside_P, 1.0 / np.log2(np.maximum(rank_P, 1) + 1.0), 0.0)
    most = np.minimum(relevant_items(offsets_Q1), k)
    ideal_of_count = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(2, int(most.max(initial=0)) + 2)))])
    ndcg_Q: FloatArray = _sums(gain_P, offsets_Q1) / ideal_of_count[most]
    return ndcg_Q


def relevant_items(offsets_Q1: Int64Array) -> Int64Array:
    """Count each query's held-out items.

    Raises:
        ValueError: If a query has none: a share of nothing is no number.
    """
    count_Q = np.diff(offsets_Q1)
    if len(count_Q) and int(count_Q.min()) < 1:
        raise ValueError(
            f"{int((count_Q < 1).sum())} of {len(count_Q)} queries have no held-out item; drop them before measuring"
        )
    return count_Q


def concentration(slots_I: Int64Array, *, share: float = 0.9) -> float:
    """Return which share of all I items fills `share` of the recommended slots; the most recommended come first.

    1 / I where one item fills them all, and close to `share` where all items are recommended equally often.

    Args:
        slots_I: In how many lists each item stood, for all items of the catalogue.
        share: Of the slots.

    Raises:
        ValueError: If there are no slots.

    Example:
        >>> concentration(np.array([6, 0, 3, 1]))
        0.5
    """
    total = int(slots_I.sum())
    if total < 1:
        raise ValueError("no list holds any item, so nothing fills the slots")
    filled_I = np.cumsum(np.sort(slots_I)[::-1])
    # Compared as integers: 0.9 * 10 in floating point may not be the 9 that is reached.
    needed = int(np.ceil(round(share * total, 6)))
    return float(np.searchsorted(filled_I, needed) + 1) / len(slots_I)


def weighted_mean(value_Q: FloatArray, weight_Q: npt.NDArray[np.floating] | Int64Array | None = None) -> float:
    """Reduce values to one number: their mean, weighted if weights are given.

    Raises:
        ValueError: If there are no values, or the weights do not add up to more than zero.
    """
    if weight_Q is None:
        weight_Q = np.ones(len(value_Q))
    total = float(weight_Q.sum())
    if not total > 0:
        raise ValueError(f"the weights of {len(value_Q)} values must add up to more than zero, got {total}")
    return float((value_Q * weight_Q).sum() / total)


def _sums(value_P: npt.NDArray[np.bool_] | FloatArray, offsets_Q1: Int64Array) -> FloatArray:
    """Add up the values of each query."""
    row_P = np.repeat(np.arange(len(offsets_Q1) - 1), np.diff(offsets_Q1))
    return np.bincount(row_P, weights=value_P, minlength=len(offsets_Q1) - 1).astype(np.float64)


def _first_rank(rank_P: npt.NDArray[np.int32], offsets_Q1: Int64Array) -> FloatArray:
    """Return the best rank of each query's pairs, infinity where none was found."""
    relevant_items(offsets_Q1)  # reduceat needs at least one pair each
    if len(offsets_Q1) == 1:
        return np.zeros(0)
    first_Q: FloatArray = np.minimum.reduceat(np.where(rank_P > 0, rank_P, np.inf), offsets_Q1[:-1])
    return first_Q


RANK_METRICS: dict[str, RankMetric] = {"recall": recall, "hr": hit_rate, "ndcg": ndcg, "mrr": reciprocal_rank}
"""The metrics of this file by the name under which they are reported, as in "recall@100"."""
