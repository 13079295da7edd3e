"""Items that a query must not get, as one compressed sparse row structure.

Shape letters: Q queries, X excluded (query, item) pairs, N any pairs.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lowerfunnel.errors import DataError
from lowerfunnel.index.ranking import Int32Array, Int64Array


@dataclass(frozen=True, kw_only=True, slots=True)
class Exclusions:
    """What each of Q queries must not get: distinct items of the catalogue, sorted within a query.

    Attributes:
        offsets_Q1: Items of query q are ``item_X[offsets_Q1[q]:offsets_Q1[q + 1]]``.
        item_X: Dense items.
    """

    offsets_Q1: Int64Array
    item_X: Int32Array

    @classmethod
    def build(
        cls, offsets_Q1: Int64Array | None, item_X: Int32Array | None, *, queries: int, items: int
    ) -> "Exclusions":
        """Check exclusions as a caller gives them and bring them into one form.

        Repeats count once, and -1 (an item outside the catalogue) excludes nothing. None excludes nothing at all.

        Raises:
            DataError: If an item lies outside -1..items - 1.
            ValueError: If the offsets do not fit the queries and the items.
        """
        if offsets_Q1 is None and item_X is None:
            return cls(offsets_Q1=np.zeros(queries + 1, np.int64), item_X=np.zeros(0, np.int32))
        if offsets_Q1 is None or item_X is None:
            raise ValueError("exclusions are offsets and items together; one of the two was not given")
        if (
            len(offsets_Q1) != queries + 1
            or int(offsets_Q1[0]) != 0
            or int(offsets_Q1[-1]) != len(item_X)
            or bool((np.diff(offsets_Q1) < 0).any())
        ):
            raise ValueError(
                f"{queries} queries need {queries + 1} rising exclusion offsets from 0 to {len(item_X)} (the items "
                f"given), got {len(offsets_Q1)} offsets"
            )
        if len(item_X) and not (int(item_X.min()) >= -1 and int(item_X.max()) < items):
            raise DataError(
                f"excluded items must lie in -1..{items - 1}, got {int(item_X.min())}..{int(item_X.max())}: exclude by "
                "positions in the catalogue that the index was built over"
            )
        row_X = np.repeat(np.arange(queries, dtype=np.int64), np.diff(offsets_Q1))
        inside_X = item_X >= 0
        pair_X = np.unique(row_X[inside_X] * items + item_X[inside_X])
        distinct_row_X, distinct_item_X = np.divmod(pair_X, max(items, 1))
        offsets = np.zeros(queries + 1, np.int64)
        np.cumsum(np.bincount(distinct_row_X, minlength=queries), out=offsets[1:])
        return cls(offsets_Q1=offsets, item_X=distinct_item_X.astype(np.int32))

    @property
    def counts(self) -> Int64Array:
        """How many items each query must not get."""
        return np.diff(self.offsets_Q1)

    def contains(self, row_N: Int64Array, item_N: Int32Array | Int64Array) -> npt.NDArray[np.bool_]:
        """Tell which of N (query, item) pairs are excluded; any shapes that broadcast."""
        pair_N = (np.asarray(row_N, np.int64) << 32) | item_N
        if not len(self.item_X):
            return np.zeros(pair_N.shape, np.bool_)
        row_X = np.repeat(np.arange(len(self.offsets_Q1) - 1, dtype=np.int64), self.counts)
        pair_X = (row_X << 32) | self.item_X
        place_N = np.minimum(np.searchsorted(pair_X, pair_N), len(pair_X) - 1)
        found_N: npt.NDArray[np.bool_] = pair_X[place_N] == pair_N
        return found_N

    def block(self, start: int, stop: int) -> tuple[Int64Array, Int32Array]:
        """Return the exclusions of queries start..stop as pairs: the query counted from `start`, and the item."""
        low, high = int(self.offsets_Q1[start]), int(self.offsets_Q1[stop])
        row_X = np.repeat(np.arange(stop - start, dtype=np.int64), np.diff(self.offsets_Q1[start : stop + 1]))
        return row_X, self.item_X[low:high]

    def take(self, row_Q: Int64Array) -> "Exclusions":
        """Return the exclusions of the queries `row_Q`, in that order."""
        count_Q = self.counts[row_Q]
        offsets_Q1 = np.zeros(len(row_Q) + 1, np.int64)
        np.cumsum(count_Q, out=offsets_Q1[1:])
        position_X = np.arange(int(offsets_Q1[-1])) + np.repeat(self.offsets_Q1[row_Q] - offsets_Q1[:-1], count_Q)
        return Exclusions(offsets_Q1=offsets_Q1, item_X=self.item_X[position_X])
