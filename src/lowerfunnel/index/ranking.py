"""The best items of each query: what an index or a retriever answers.

Shape letters: Q queries, K length of a list.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]

NO_ITEM = -1
"""Fills the tail of a list that is shorter than asked for; its score is minus infinity."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """One list of items per query, best first.

    Attributes:
        item_QK: Dense items, -1 where a list has ended.
        score_QK: Their scores, never rising along a list; minus infinity where it has ended.
    """

    item_QK: Int32Array
    score_QK: Float32Array

    def __post_init__(self) -> None:
        if self.item_QK.shape != self.score_QK.shape or self.item_QK.ndim != 2:
            raise ValueError(
                "a ranking needs two matrices of one shape (queries, length), got items "
                f"{self.item_QK.shape} and scores {self.score_QK.shape}"
            )
        if self.item_QK.dtype != np.int32 or self.score_QK.dtype != np.float32:
            raise ValueError(
                f"a ranking holds int32 items and float32 scores, got {self.item_QK.dtype} and {self.score_QK.dtype}"
            )

    @classmethod
    def empty(cls, queries: int, k: int) -> "Ranking":
        """Return `queries` lists of length `k` with nothing in them."""
        return cls(
            item_QK=np.full((queries, k), NO_ITEM, np.int32), score_QK=np.full((queries, k), -np.inf, np.float32)
        )

    @property
    def queries(self) -> int:
        """How many lists there are."""
        return int(self.item_QK.shape[0])

    @property
    def lengths(self) -> Int64Array:
        """How many items each list holds."""
        length_Q: Int64Array = np.count_nonzero(self.item_QK != NO_ITEM, axis=1).astype(np.int64)
        return length_Q
