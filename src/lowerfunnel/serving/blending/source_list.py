"""What one generator found for one request.

Shape letters: N items of a list.
"""

from dataclasses import dataclass

import numpy as np

from lowerfunnel.index.ranking import NO_ITEM, Float32Array, Int64Array, Ranking


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SourceList:
    """Distinct items, best first.

    Attributes:
        place_N: Places in one numbering that all lists of an answer share.
        score_N: Their scores, comparable within this list only.
    """

    place_N: Int64Array
    score_N: Float32Array

    def __post_init__(self) -> None:
        if self.place_N.shape != self.score_N.shape or self.place_N.ndim != 1:
            raise ValueError(
                f"a list needs one score per item, got items {self.place_N.shape} and scores {self.score_N.shape}"
            )

    @classmethod
    def of_ranking(cls, ranking: Ranking, query: int = 0) -> "SourceList":
        """Take one list out of what an index answered, without the fill at its end."""
        held_N = ranking.item_QK[query] != NO_ITEM
        return cls(place_N=ranking.item_QK[query][held_N].astype(np.int64), score_N=ranking.score_QK[query][held_N])

    def __len__(self) -> int:
        return len(self.place_N)
