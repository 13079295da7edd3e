"""Generators that need no query: a fixed order of items, such as the popular or the newest.

Shape letters: I items of a segment, N items of the list, K items of an answer, P allowed items.
"""

import numpy as np

from lowerfunnel.index.allowed import Allowed
from lowerfunnel.index.ranking import Float32Array, Int32Array, Int64Array
from lowerfunnel.serving.blending.source_list import SourceList

_FIRST_BLOCK = 1_024
_SWEPT_PER_LOOKED_UP = 16
"""Testing every item of a segment in order costs about this much less per item than looking one up out of order."""


class RankedList:
    """Items of one segment in a fixed order, best first. Never changed after it was made."""

    def __init__(self, place_N: Int32Array | Int64Array, score_N: Float32Array, *, items: int) -> None:
        """Take over an order.

        Args:
            place_N: Distinct places, best first; not every item need be among them.
            score_N: Their scores, never rising: a share of conversions, the time of arrival.
            items: Size of the segment, I.

        Raises:
            ValueError: If places repeat or lie outside the segment, or scores are missing, NaN or rising.
        """
        if place_N.shape != score_N.shape or place_N.ndim != 1:
            raise ValueError(f"one score per item is needed, got items {place_N.shape} and scores {score_N.shape}")
        if len(place_N) and not (int(place_N.min()) >= 0 and int(place_N.max()) < items):
            raise ValueError(f"places must lie in 0..{items - 1}, got {int(place_N.min())}..{int(place_N.max())}")
        if not bool((score_N[1:] <= score_N[:-1]).all()) or bool(np.isnan(score_N).any()):
            raise ValueError("scores must never rise along the list and not be NaN; sort the items by score first")
        self._place_N = np.asarray(place_N, np.int64)
        self._score_N = np.asarray(score_N, np.float32)
        self._rank_I = np.full(items, -1, np.int32)
        self._rank_I[self._place_N] = np.arange(len(place_N), dtype=np.int32)
        if int(np.count_nonzero(self._rank_I >= 0)) != len(place_N):
            raise ValueError(f"places must be distinct, got {len(place_N)} with repeats; rank each item once")

    def __len__(self) -> int:
        return len(self._place_N)

    @property
    def items(self) -> int:
        """Size of the segment."""
        return len(self._rank_I)

    def top(self, allowed: Allowed, k: int) -> SourceList:
        """Return the first `k` allowed items, or all there are.

        Where many items are allowed the list is walked in blocks until `k` are found; where few are, their ranks are
        sorted. Both give the same answer.

        Raises:
            ValueError: If the set is of another segment, or `k` is less than 1.
        """
        if allowed.items != self.items or k < 1:
            raise ValueError(
                f"a set of {self.items} items and k of at least 1 are needed, got {allowed.items} items and k={k}"
            )
        rank_K = self._walk(allowed, k) if self._walking_is_shorter(allowed, k) else self._sort(allowed, k)
        return SourceList(place_N=self._place_N[rank_K], score_N=self._score_N[rank_K])

    def _walking_is_shorter(self, allowed: Allowed, k: int) -> bool:
        expected_walk = min(len(self), k * self.items // max(allowed.count, 1))
        return expected_walk <= allowed.count + self.items // _SWEPT_PER_LOOKED_UP

    def _walk(self, allowed: Allowed, k: int) -> Int64Array:
        found: list[Int64Array] = []
        missing, start, block = k, 0, max(_FIRST_BLOCK, 2 * k)
        while missing > 0 and start < len(self):
            rank_P = np.flatnonzero(allowed.contains(self._place_N[start : start + block]))[:missing] + start
            found.append(rank_P)
            missing -= len(rank_P)
            start += block
            block *= 2
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def _sort(self, allowed: Allowed, k: int) -> Int64Array:
        rank_P = self._rank_I[allowed.places()]
        rank_P = rank_P[rank_P >= 0]
        if len(rank_P) > k:
            rank_P = np.partition(rank_P, k - 1)[:k]
        rank_P.sort()
        return rank_P.astype(np.int64)
