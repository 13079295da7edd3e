"""Inverted lists by FAISS, for inner products, of whole vectors or of product-quantised ones.

The items are dealt to the nearest centroid (k-means, Euclidean), but a query looks into the lists whose centroids have
the largest inner product with it: a centroid's inner product is the mean score of its list. Clustering by inner product
itself gathers everything around the longest centroids; on vectors of unequal length it needs more than ten times as
many lists for the same recall.

Shape letters: I items, E width of the rows, L lists, Q queries, F fetched candidates, P lists looked into, S sample.
"""

from typing import Any

import numpy as np

from lowerfunnel.errors import require
from lowerfunnel.index.allowed import Allowed
from lowerfunnel.index.faiss_rows import rows_of_flat, selector
from lowerfunnel.index.plan import Strategy
from lowerfunnel.index.ranking import Float32Array, Int32Array, Int64Array
from lowerfunnel.index.self_search import lost_items

_POINTS_PER_LIST = 39
"""Below this many training points per centroid FAISS calls a clustering unreliable."""
_SAMPLED_PER_LIST = 64
_ROUNDS = 10
_COUNTED = 32_768
"""About so many of the allowed items are counted list by list before any list is looked into."""
_LOCAL_GROWTH = 0.5
"""How the width shrinks as allowed items get more frequent where a query looks; measured: a power of 1/3 to 1/2."""
_RARER_GROWTH = 2.0
"""How it grows as they get rarer: faster, as those that are there lie off the middle of their lists."""
_OWN_FETCH = 10
_FAR = 1.5
"""A query that looks into this many times the planned lists is one whose likes the filter bars."""
# What a filtered search takes, fitted to single searches of 1,000,000 x 65 on one thread: for a list of the catalogue,
# an item looked at, one of them that is allowed and so scored, and one counted beforehand.
_LIST_NS = 200.0
_LOOK_NS = 5.0
_SCORE_NS = 20.0
_COUNT_NS = 20.0


class Lists:
    """Inverted lists. The width is the number of lists that a search looks into (nprobe)."""

    strategy: Strategy = "lists"
    growth = 1 / 3

    def __init__(self, faiss_index: Any, *, refine: int) -> None:
        """Take over what `build` made or FAISS read.

        Args:
            faiss_index: An IndexIVFFlat, or an IndexRefine over an IndexIVFPQ.
            refine: Candidates per wanted item whose vectors are compared exactly; of quantised vectors only.
        """
        faiss = require("faiss", extra="faiss")
        self.faiss_index = faiss_index
        self.refine = refine
        is_refined = isinstance(faiss_index, faiss.IndexRefine)
        self._lists = faiss.downcast_index(faiss_index.base_index) if is_refined else faiss_index
        self.widest = int(self._lists.nlist)
        self._size_L = np.array([self._lists.get_list_size(place) for place in range(self.widest)], np.int64)
        self._centroid_LE = rows_of_flat(faiss.downcast_index(self._lists.quantizer))
        self._list_I: Int32Array = np.full(int(self._lists.ntotal), -1, np.int32)
        self.row_IE = (
            rows_of_flat(faiss.downcast_index(faiss_index.refine_index))
            if is_refined
            else np.empty((int(self._lists.ntotal), int(self._lists.d)), np.float32)
        )
        inverted = self._lists.invlists
        for place in range(self.widest):
            size = int(inverted.list_size(place))
            if not size:
                continue
            item_N = faiss.rev_swig_ptr(inverted.get_ids(place), size)
            self._list_I[item_N] = place
            if not is_refined:
                code = faiss.rev_swig_ptr(inverted.get_codes(place), size * self.row_IE.shape[1] * 4)
                self.row_IE[item_N] = code.view(np.float32).reshape(size, -1)

    @classmethod
    def build(
        cls, vector_ID: Float32Array, *, lists: int | None, quantised_bytes: int | None, refine: int, seed: int
    ) -> "Lists":
        """Cluster a sample and deal all items to the centroids, on as many threads as OpenMP is set to.

        Args:
            vector_ID: Finite vectors.
            lists: Number of lists; None for 2 sqrt(I), with at least 39 items to a list.
            quantised_bytes: Bytes per item in the lists, whose vectors are then compared again; None for whole vectors.
            refine: See `Lists`.
            seed: For the sample and the clustering.
        """
        faiss = require("faiss", extra="faiss")
        items, width = vector_ID.shape
        if quantised_bytes is not None:
            # Each byte stands for equally many coordinates: zeros fill up the last.
            part = -(-width // quantised_bytes)
            vector_ID = np.pad(vector_ID, ((0, 0), (0, part * quantised_bytes - width)))
            width = vector_ID.shape[1]
        lists = _number_of_lists(lists, items)
        sample_S = np.random.default_rng(seed).permutation(items)[: lists * _SAMPLED_PER_LIST]
        sample_SE: Float32Array = vector_ID[np.sort(sample_S)]
        centroid_LE = _centroids(faiss, sample_SE, lists, seed)
        by_product, by_distance = faiss.IndexFlatIP(width), faiss.IndexFlatL2(width)
        by_product.add(centroid_LE)
        by_distance.add(centroid_LE)
        if quantised_bytes is None:
            index = faiss.IndexIVFFlat(by_product, width, lists, faiss.METRIC_INNER_PRODUCT)
        else:
            index = faiss.IndexIVFPQ(by_product, width, lists, quantised_bytes, 8, faiss.METRIC_INNER_PRODUCT)
            index.pq.cp.seed = seed
            index.pq.cp.min_points_per_centroid = 1
            if items:
                rest_SE: Float32Array = sample_SE - centroid_LE[_nearest(by_distance, sample_SE)]
                if items < index.pq.ksub:  # FAISS needs as many points as codes
                    rest_SE = np.resize(rest_SE, (index.pq.ksub, width))
                index.pq.train(np.ascontiguousarray(rest_SE))
        index.is_trained = True
        index.own_fields = True
        by_product.this.disown()
        if items:
            list_I = _nearest(by_distance, vector_ID)
            index.add_core(items, faiss.swig_ptr(vector_ID), None, faiss.swig_ptr(list_I))
        if quantised_bytes is not None:
            whole = faiss.IndexFlatIP(width)
            whole.add(vector_ID)
            refined = faiss.IndexRefine(index, whole)
            refined.own_fields = refined.own_refine_index = True
            for owned in (index, whole):
                owned.this.disown()
            index = refined
        return cls(index, refine=refine)

    def candidates(
        self, query_QE: Float32Array, fetch: int, width: int, allowed: Allowed | None, most_ns: float
    ) -> Int64Array:
        """Return up to `fetch` allowed items per query, times `refine`; -1 where a row has ended.

        How deep the best allowed items lie depends on the share of allowed items where a query looks, not in the whole
        catalogue. So it is counted which lists hold how many, and a query looks on until it has looked into as many
        lists as the share among them asks for: fewer where the filter likes what the query likes, up to all where the
        filter bars it; and into none where it would look far on and take longer than `most_ns`. `width` is meant for a
        filter that has nothing to do with the query.
        """
        faiss = require("faiss", extra="faiss")
        fetch = min(fetch * self.refine, len(self._list_I))
        if allowed is None:
            parameters = faiss.SearchParametersIVF(nprobe=min(width, self.widest))
            item_QF: Int64Array = self._lists.search(query_QE, fetch, params=parameters)[1]
            return item_QF
        step = max(1, -(-allowed.count // _COUNTED))
        held_L = np.bincount(self._list_I[allowed.every(step).places()], minlength=self.widest) * step
        score_QL = query_QE @ self._centroid_LE.T
        list_QL = np.argsort(-score_QL, axis=1)
        held_QL, passed_QL = held_L[list_QL], np.cumsum(self._size_L[list_QL], axis=1)
        seen_QL = np.cumsum(held_QL, axis=1)
        local_QL = seen_QL / np.maximum(passed_QL, 1)
        share = allowed.count / allowed.items
        with np.errstate(divide="ignore"):
            rarer_QL = share / np.minimum(local_QL, 1.0)
        needed_QL = width * np.where(rarer_QL > 1, rarer_QL**_RARER_GROWTH, rarer_QL**_LOCAL_GROWTH)
        enough_QL = np.arange(1, self.widest + 1) >= needed_QL
        enough_QL[:, -1] = True
        reach_Q: Int64Array = enough_QL.argmax(axis=1) + 1
        row_Q = np.arange(len(query_QE))
        cost_Q = passed_QL[row_Q, reach_Q - 1] * _LOOK_NS + seen_QL[row_Q, reach_Q - 1] * _SCORE_NS
        reach_Q[(cost_Q > most_ns) & (reach_Q > _FAR * width)] = 0
        list_QP = list_QL[:, : max(1, int(reach_Q.max()))].copy()
        barred_QP = np.arange(list_QP.shape[1]) >= reach_Q[:, None]
        if step == 1:
            barred_QP |= held_QL[:, : list_QP.shape[1]] == 0  # all were counted: there is nothing in them
        list_QP[barred_QP] = -1
        score_QP = np.ascontiguousarray(np.take_along_axis(score_QL, list_QL[:, : list_QP.shape[1]], 1))
        return self._looked_into(query_QE, fetch, list_QP, score_QP, allowed)

    def cost_ns(self, width: int, allowed_share: float) -> float:
        """Return about how long one search takes."""
        looked = min(width / self.widest, 1.0) * len(self._list_I)
        counted = min(allowed_share * len(self._list_I), _COUNTED)
        return self.widest * _LIST_NS + looked * (_LOOK_NS + allowed_share * _SCORE_NS) + counted * _COUNT_NS

    def lost(self, width: int) -> Int32Array:
        """List the items that are in no list, or that a search of their own list for them does not bring back."""

        def of_own_list(query_NE: Float32Array, item_N: Int64Array) -> Int64Array:
            list_N1 = self._list_I[item_N].astype(np.int64)[:, None]
            score_N1 = np.einsum("ne,ne->n", query_NE, self._centroid_LE[list_N1[:, 0]])[:, None]
            return self._looked_into(query_NE, _OWN_FETCH * self.refine, list_N1, score_N1, None)

        in_none_U = np.flatnonzero(self._list_I < 0)
        return np.union1d(in_none_U, lost_items(of_own_list, self.row_IE)).astype(np.int32)

    def _looked_into(
        self, query_QE: Float32Array, fetch: int, list_QP: Int64Array, score_QP: Float32Array, allowed: Allowed | None
    ) -> Int64Array:
        """Return up to `fetch` allowed items per query out of given lists, -1 for none, best list first."""
        faiss = require("faiss", extra="faiss")
        score_QF = np.empty((len(query_QE), fetch), np.float32)
        item_QF = np.empty((len(query_QE), fetch), np.int64)
        parameters = faiss.SearchParametersIVF(nprobe=list_QP.shape[1], sel=selector(allowed))
        self._lists.search_preassigned_c(
            len(query_QE), faiss.swig_ptr(query_QE), fetch, faiss.swig_ptr(list_QP), faiss.swig_ptr(score_QP),
            faiss.swig_ptr(score_QF), faiss.swig_ptr(item_QF), False, parameters,
        )  # fmt: skip
        return item_QF


def _centroids(faiss: Any, sample_SE: Float32Array, lists: int, seed: int) -> Float32Array:
    if not len(sample_SE):
        return np.zeros((lists, sample_SE.shape[1]), np.float32)
    clustering = faiss.Kmeans(sample_SE.shape[1], lists, niter=_ROUNDS, seed=seed, min_points_per_centroid=1)
    clustering.train(sample_SE)
    centroid_LE: Float32Array = clustering.centroids
    return centroid_LE


def _nearest(by_distance: Any, row_NE: Float32Array) -> Int64Array:
    list_N: Int64Array = np.ascontiguousarray(by_distance.search(row_NE, 1)[1][:, 0])
    return np.maximum(list_N, 0)  # vectors so long that their distances overflow have no nearest


def _number_of_lists(lists: int | None, items: int) -> int:
    if lists is None:
        return max(1, min(int(2 * items**0.5), items // _POINTS_PER_LIST))
    if lists > max(items, 1):
        raise ValueError(f"{items} items cannot fill {lists} inverted lists: ask for fewer, or leave it open")
    return lists
