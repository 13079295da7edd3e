"""The oracle: what a retriever would find that knows the truth of the synthetic world.

Shape letters: Q queries, I items of the catalogue, K length of a list, B queries of a block.
"""

import numpy as np

from lowerfunnel.errors import RunError
from lowerfunnel.evaluation.evaluation_set import EvaluationSet
from lowerfunnel.evaluation.floors import exclusions_of
from lowerfunnel.features.vocabulary import Vocabulary
from lowerfunnel.index.rank_key import best_keys, rank_keys, ranking_of_keys
from lowerfunnel.index.ranking import Ranking
from lowerfunnel.world import World

_DAY_US = 86_400_000_000
_BLOCK = 256


class OracleRetriever:
    """Ranks all items by how many purchases of each its user truly starts in the days after the request.

    It knows tastes, missions and their ends, and not the draws: neither those to come nor those that were. So it can
    miss what lies in a cart already, which the log may tell. It does not know which ads will be shown, and leaves out
    what they add.
    """

    def __init__(self, world: World, users: Vocabulary, items: Vocabulary, *, days: int) -> None:
        """Prepare an oracle.

        Args:
            world: The world of the log.
            users: Of the log.
            items: Of the catalogue.
            days: Length of the test period.

        Raises:
            RunError: If the log has users or items that the world has not.
        """
        self._world = world
        self._days = days
        self._row_U = _rows(users, world.user_id_U, "users")
        self._row_I = _rows(items, world.item_id_I, "items")

    def retrieve(self, queries: EvaluationSet, k: int) -> Ranking:
        """Return the `k` items of the largest true demand that are not excluded.

        Raises:
            RunError: If a query is of a user outside the log, of whom the truth cannot be looked up.
        """
        if (queries.user_Q < 0).any():
            raise RunError(
                f"{int((queries.user_Q < 0).sum())} test users are not in the log's users, so the oracle cannot know them; "
                "give the log its users.parquet"
            )
        exclusions = exclusions_of(queries, len(self._row_I))
        found = Ranking.empty(queries.queries, k)
        item_I = np.arange(len(self._row_I), dtype=np.int64)
        for start in range(0, queries.queries, _BLOCK):
            stop = min(start + _BLOCK, queries.queries)
            from_day_B = (queries.at_us_Q[start:stop] - self._world.start_us) / _DAY_US
            demand_BI = self._world.truth.demand_QI(self._row_U[queries.user_Q[start:stop]], from_day_B, self._days)
            score_BI = demand_BI[:, self._row_I].astype(np.float32)
            score_BI[exclusions.block(start, stop)] = -np.inf
            key_BI = rank_keys(score_BI.ravel(), np.tile(item_I, stop - start)).reshape(score_BI.shape)
            listed = ranking_of_keys(best_keys(key_BI, k), k)
            found.item_QK[start:stop] = np.where(np.isneginf(listed.score_QK), -1, listed.item_QK)
            found.score_QK[start:stop] = listed.score_QK
        return found


def _rows(vocabulary: Vocabulary, id_N: np.typing.NDArray[np.int64], what: str) -> np.typing.NDArray[np.int64]:
    """Return the row of the world's population for each id of a vocabulary."""
    ids = vocabulary.ids.to_numpy(zero_copy_only=False)
    place = np.searchsorted(id_N, ids) if np.issubdtype(ids.dtype, np.integer) else np.zeros(0, np.int64)
    if len(place) != len(ids) or not (id_N[np.minimum(place, len(id_N) - 1)] == ids).all():
        raise RunError(f"the log has {what} that its world has not: it was not made by this version; make it again")
    return place
