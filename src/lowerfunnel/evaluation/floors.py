"""Floors that need no learning: what is popular, and what the user already touched.

Shape letters: Q queries, I items, K length of a list, H history entries of the queries (ragged), A actions, M places of
the popularity order that are looked at, B queries of a block.
"""

import numpy as np
import numpy.typing as npt

from lowerfunnel.evaluation.evaluation_set import EvaluationSet
from lowerfunnel.evaluation.pair_rank import rows_of
from lowerfunnel.evaluation.slices import DEPTH_A
from lowerfunnel.events.timeline import Int8Array, Int32Array, Int64Array, Timelines, ragged_index
from lowerfunnel.index.exclusions import Exclusions
from lowerfunnel.index.ranking import NO_ITEM, Ranking

Float64Array = npt.NDArray[np.float64]

_BLOCK = 512


class PopularityRetriever:
    """The items with the largest weighted count of training events, the same for everyone but for what is excluded.

    Items without any event come last, by their number.
    """

    def __init__(self, timelines: Timelines, weight_A: Float64Array, *, items: int) -> None:
        """Count the events of training.

        Args:
            timelines: Events of training.
            weight_A: What an event counts, by the code of its action.
            items: Size of the catalogue.
        """
        known_E = timelines.item_E >= 0
        count_I = np.bincount(timelines.item_E[known_E], weights=weight_A[timelines.action_E[known_E]], minlength=items)
        self._order_I: Int32Array = np.argsort(-count_I, kind="stable").astype(np.int32)
        self._place_I = np.empty(items, np.int64)
        self._place_I[self._order_I] = np.arange(items)
        self._score_I = (count_I / max(float(count_I.max(initial=0.0)), 1e-30)).astype(np.float32)

    @property
    def items(self) -> int:
        """Size of the catalogue."""
        return len(self._order_I)

    def retrieve(self, queries: EvaluationSet, k: int) -> Ranking:
        """Return the most popular items that are not excluded; scores are shares of the largest count."""
        return self.fill(Ranking.empty(queries.queries, k), exclusions_of(queries, self.items))

    def fill(self, listed: Ranking, exclusions: Exclusions) -> Ranking:
        """Fill up lists by popularity, with items that are neither in them nor excluded.

        The listed scores, which must be positive, are raised by 1 to stay above those of what follows.
        """
        filled = Ranking.empty(listed.queries, listed.item_QK.shape[1])
        for start in range(0, listed.queries, _BLOCK):
            stop = min(start + _BLOCK, listed.queries)
            item_BK, score_BK = listed.item_QK[start:stop], listed.score_QK[start:stop]
            filled.item_QK[start:stop], filled.score_QK[start:stop] = item_BK, score_BK + 1
            self._fill_block(filled.item_QK[start:stop], filled.score_QK[start:stop], *exclusions.block(start, stop))
        return filled

    def _fill_block(
        self, item_BK: Int32Array, score_BK: npt.NDArray[np.float32], row_X: Int64Array, item_X: Int32Array
    ) -> None:
        """Fill up the lists of a block in place."""
        listed_BK = item_BK != NO_ITEM
        count_B = np.count_nonzero(listed_BK, axis=1)
        taken_row = np.concatenate([np.nonzero(listed_BK)[0], row_X])
        taken_place = self._place_I[np.concatenate([item_BK[listed_BK], item_X])]
        # Even if all that is taken were at the top, this many places hold enough others.
        looked_at = min(self.items, item_BK.shape[1] + int(np.bincount(taken_row, minlength=1).max()))
        free_BM = np.ones((len(item_BK), looked_at), np.bool_)
        inside = taken_place < looked_at
        free_BM[taken_row[inside], taken_place[inside]] = False
        row_N, place_N = np.nonzero(free_BM)
        free_B = np.count_nonzero(free_BM, axis=1)
        column_N = np.arange(len(row_N)) - (np.cumsum(free_B) - free_B)[row_N] + count_B[row_N]
        fits_N = column_N < item_BK.shape[1]
        row_N, column_N, new_N = row_N[fits_N], column_N[fits_N], self._order_I[place_N[fits_N]]
        item_BK[row_N, column_N] = new_N
        score_BK[row_N, column_N] = self._score_I[new_N]


class OwnHistoryRetriever:
    """What the user touched before, deepest in the funnel first and then latest first; then what is popular.

    Impressions and hides are no touches. An item counts with its deepest event. The history is that of the evaluation
    set where it has one, so also of users that were never trained, else that of the training timelines.
    """

    def __init__(self, timelines: Timelines, popularity: PopularityRetriever) -> None:
        self._timelines = timelines
        self._popularity = popularity

    def retrieve(self, queries: EvaluationSet, k: int) -> Ranking:
        """Return the user's own items, then popular ones."""
        exclusions = exclusions_of(queries, self._popularity.items)
        offsets_Q1, item_H, action_H = history_of(queries, self._timelines)
        row_H, depth_H = rows_of(offsets_Q1), DEPTH_A[action_H].astype(np.int64)
        keep_H = (depth_H > 0) & (item_H >= 0)
        keep_H &= ~exclusions.contains(row_H, np.maximum(item_H, 0))
        # Later entries lie further back in the array, so depth and place order a user's events.
        worth = (depth_H[keep_H] << 48) | np.flatnonzero(keep_H)
        row, item = row_H[keep_H], item_H[keep_H]
        best_first = np.lexsort((-worth, item, row))
        row, item, worth = row[best_first], item[best_first], worth[best_first]
        first = np.ones(len(row), np.bool_)
        first[1:] = (row[1:] != row[:-1]) | (item[1:] != item[:-1])
        row, item, worth = row[first], item[first], worth[first]
        in_order = np.lexsort((-worth, row))
        row, item = row[in_order], item[in_order]
        count_Q = np.bincount(row, minlength=queries.queries)
        column = np.arange(len(row)) - (np.cumsum(count_Q) - count_Q)[row]
        listed = Ranking.empty(queries.queries, k)
        fits = column < k
        listed.item_QK[row[fits], column[fits]] = item[fits]
        listed.score_QK[row[fits], column[fits]] = 1 / (1 + column[fits])
        return self._popularity.fill(listed, exclusions)


def exclusions_of(queries: EvaluationSet, items: int) -> Exclusions:
    """Return what the queries exclude, checked."""
    return Exclusions.build(queries.excluded_offsets, queries.excluded_item, queries=queries.queries, items=items)


def history_of(queries: EvaluationSet, timelines: Timelines) -> tuple[Int64Array, Int32Array, Int8Array]:
    """Return offsets, items and actions of the queries' histories: their own, else those of the training timelines."""
    if queries.history_offsets is not None and queries.history_item is not None and queries.history_action is not None:
        return queries.history_offsets, queries.history_item, queries.history_action
    known_Q = queries.user_Q >= 0
    user_Q = np.where(known_Q, queries.user_Q, 0)
    start_Q = timelines.offsets_U1[user_Q]
    stop_Q = np.where(known_Q, timelines.offsets_U1[np.minimum(user_Q + 1, timelines.users)], start_Q)
    position_H, offsets_Q1 = ragged_index(start_Q, stop_Q)
    return offsets_Q1, timelines.item_E[position_H], timelines.action_E[position_H]
