"""Baselines from the library `implicit`: item-to-item neighbours and matrix factorisation.

Both learn from one matrix of users x items whose entries add up the weights of a user's events on an item. Neither
leaves out what a user already touched; only what the queries exclude. Where a baseline knows nothing for a query, or no
more, popular items follow.

Shape letters: Q queries, I items, K length of a list, H history entries of the queries (ragged), A actions, B queries
of a block, F factors, N scored items of a block (ragged), S queries of whom something is known, R the rest.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from lowerfunnel.errors import require
from lowerfunnel.evaluation.evaluation_set import EvaluationSet
from lowerfunnel.evaluation.floors import PopularityRetriever, exclusions_of, history_of
from lowerfunnel.evaluation.pair_rank import rows_of
from lowerfunnel.events.timeline import Int8Array, Int32Array, Int64Array, Timelines
from lowerfunnel.index.exact import ExactIndex
from lowerfunnel.index.rank_key import best_keys, pad_rows, rank_keys, ranking_of_keys
from lowerfunnel.index.ranking import Float32Array, Ranking

Float64Array = npt.NDArray[np.float64]

_BLOCK = 1024


class ItemKnnRetriever:
    """Items whose buyers are most like those of the user's own items.

    Each item keeps its `neighbours` most similar items (itself among them) by the inner product of BM25-weighted
    columns; a query's score of an item adds up its similarity to the items of the history, by the weights of their
    events. The history is that of the evaluation set where it has one, else that of the training timelines.
    """

    def __init__(
        self,
        timelines: Timelines,
        weight_A: Float64Array,
        popularity: PopularityRetriever,
        *,
        neighbours: int = 100,
        bm25_k1: float = 1.2,
        bm25_b: float = 0.75,
        threads: int = 0,
    ) -> None:
        """Find every item's neighbours.

        Args:
            timelines: Events of training.
            weight_A: What an event counts, by the code of its action; 0 leaves it out.
            popularity: Follows where the neighbours end.
            neighbours: Kept per item.
            bm25_k1: How late repeated events stop to count.
            bm25_b: How much the size of a row is evened out.
            threads: 0 for as many as there are cores.
        """
        module = require("implicit.nearest_neighbours", extra="baselines")
        trained = _matrix(timelines.offsets_U1, timelines.item_E, timelines.action_E, weight_A, popularity.items)
        if trained.nnz:
            # What the library's BM25Recommender does, but for a conversion that makes it warn.
            weighted = module.bm25_weight(trained.T, bm25_k1, bm25_b).T.tocsr()
            model = module.ItemItemRecommender(K=neighbours, num_threads=threads)
            model.fit(weighted, show_progress=False)
            self._similarity_II = model.similarity.astype(np.float32)
        else:  # there is no average length to weight by, and there are no neighbours
            self._similarity_II = (trained.T @ trained).tocsr()
        self._timelines = timelines
        self._weight_A = weight_A
        self._popularity = popularity

    def retrieve(self, queries: EvaluationSet, k: int) -> Ranking:
        """Return the items most similar to the history, then popular ones."""
        exclusions = exclusions_of(queries, self._popularity.items)
        offsets_Q1, item_H, action_H = history_of(queries, self._timelines)
        history_QI = _matrix(offsets_Q1, item_H, action_H, self._weight_A, self._popularity.items)
        listed = Ranking.empty(queries.queries, k)
        for start in range(0, queries.queries, _BLOCK):
            stop = min(start + _BLOCK, queries.queries)
            score_BI = history_QI[start:stop] @ self._similarity_II
            row_N = rows_of(score_BI.indptr.astype(np.int64))
            item_N, score_N = score_BI.indices.astype(np.int32), score_BI.data.astype(np.float32)
            keep_N = (score_N > 0) & ~exclusions.contains(row_N + start, item_N)
            key_BC = pad_rows(
                rank_keys(score_N[keep_N], item_N[keep_N]), np.bincount(row_N[keep_N], minlength=stop - start)
            )
            found = ranking_of_keys(best_keys(key_BC, k), k)
            listed.item_QK[start:stop], listed.score_QK[start:stop] = found.item_QK, found.score_QK
        return self._popularity.fill(listed, exclusions)


class AlsRetriever:
    """Matrix factorisation of implicit feedback by alternating least squares.

    A trained user is answered with its trained factors; one that was never trained with factors solved for the history
    in the evaluation set, if there is one.

    References:
        Hu, Koren and Volinsky, ICDM 2008; solved by conjugate gradients as in Takács et al., RecSys 2011.
    """

    def __init__(
        self,
        timelines: Timelines,
        weight_A: Float64Array,
        popularity: PopularityRetriever,
        *,
        factors: int = 128,
        regularization: float = 0.01,
        alpha: float = 10.0,
        iterations: int = 15,
        seed: int = 0,
        threads: int = 0,
    ) -> None:
        """Factorise.

        Args:
            timelines: Events of training.
            weight_A: What an event adds to the confidence, by the code of its action; 0 leaves it out.
            popularity: Answers those of whom nothing is known.
            factors: Length of the vectors.
            regularization: Of the squared length of the vectors.
            alpha: Multiplies the confidence. At 1 a single event weighs no more than an item the user never saw.
            iterations: Of users and items in turn.
            seed: Of the vectors at the start.
            threads: 0 for as many as there are cores.
        """
        module = require("implicit.cpu.als", extra="baselines")
        trained = _matrix(timelines.offsets_U1, timelines.item_E, timelines.action_E, weight_A, popularity.items)
        with _one_blas_thread():
            self._model = module.AlternatingLeastSquares(
                factors=factors,
                regularization=regularization,
                alpha=alpha,
                iterations=iterations,
                random_state=seed,
                num_threads=threads,
            )
            self._model.fit(trained, show_progress=False)
        self._index = ExactIndex(self._model.item_factors)
        self._known_U = np.diff(trained.indptr) > 0
        self._weight_A = weight_A
        self._popularity = popularity

    def retrieve(self, queries: EvaluationSet, k: int) -> Ranking:
        """Return the items of largest inner product, or popular ones where nothing is known of the user."""
        exclusions = exclusions_of(queries, self._popularity.items)
        factor_QF = np.zeros((queries.queries, self._index.width), np.float32)
        known_Q = self._fill_factors(queries, factor_QF)
        row_S = np.flatnonzero(known_Q)
        of_known = exclusions.take(row_S)
        found = self._index.search(
            factor_QF[row_S], k, excluded_offsets=of_known.offsets_Q1, excluded_item=of_known.item_X
        )
        row_R = np.flatnonzero(~known_Q)
        popular = self._popularity.fill(Ranking.empty(len(row_R), k), exclusions.take(row_R))
        answer = Ranking.empty(queries.queries, k)
        for row, part in ((row_S, found), (row_R, popular)):
            answer.item_QK[row], answer.score_QK[row] = part.item_QK, part.score_QK
        return answer

    def _fill_factors(self, queries: EvaluationSet, factor_QF: Float32Array) -> npt.NDArray[np.bool_]:
        """Write the factors of the users of whom something is known; return which they are."""
        known_Q = np.zeros(queries.queries, np.bool_)
        trained_Q = queries.user_Q >= 0
        known_Q[trained_Q] = self._known_U[queries.user_Q[trained_Q]]
        factor_QF[known_Q] = self._model.user_factors[queries.user_Q[known_Q]]
        if queries.history_offsets is None or queries.history_item is None or queries.history_action is None:
            return known_Q
        history_QI = _matrix(
            queries.history_offsets,
            queries.history_item,
            queries.history_action,
            self._weight_A,
            self._popularity.items,
        )
        new_Q = ~known_Q & (np.diff(history_QI.indptr) > 0)
        if new_Q.any():
            with _one_blas_thread():
                factor_QF[new_Q] = self._model.recalculate_user(np.flatnonzero(new_Q), history_QI[new_Q])
        known_Q |= new_Q
        return known_Q


def _matrix(offsets_Q1: Int64Array, item_H: Int32Array, action_H: Int8Array, weight_A: Float64Array, items: int) -> Any:
    """Return a sparse matrix of rows x items that adds up the weights of each row's events on each item."""
    sparse = require("scipy.sparse", extra="baselines")
    weight_H = weight_A[action_H]
    keep_H = (item_H >= 0) & (weight_H > 0)
    matrix = sparse.csr_matrix(
        (weight_H[keep_H].astype(np.float32), (rows_of(offsets_Q1)[keep_H], item_H[keep_H])),
        shape=(len(offsets_Q1) - 1, items),
    )
    matrix.sum_duplicates()
    return matrix


def _one_blas_thread() -> Any:
    """Keep BLAS to one thread: implicit's own threads each call it, and it warns of their fight for the cores."""
    return require("threadpoolctl", extra="baselines").threadpool_limits(1, "blas")
