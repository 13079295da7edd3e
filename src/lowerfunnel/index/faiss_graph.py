"""An HNSW graph by FAISS, for inner products.

A graph over inner products has hubs: with vectors of unequal length nearly every link leads to the same few long ones,
and most items cannot be reached (recall below .1 on vectors with a popularity coordinate). So every vector gets one
more coordinate that makes all equally long (Bachrach et al., RecSys 2014): the order by Euclidean distance to a query
whose further coordinate is 0 is then the order by inner product.

Shape letters: I items, D width, E = D + 1, Q queries, F fetched candidates, L links of a node.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from lowerfunnel.errors import require
from lowerfunnel.index.allowed import Allowed
from lowerfunnel.index.faiss_rows import rows_of_flat, selector
from lowerfunnel.index.plan import Strategy
from lowerfunnel.index.ranking import Float32Array, Int32Array, Int64Array

_STEP_NS = 1_500.0
"""One candidate of a walk: about 30 distances, each to a vector somewhere in memory."""
_NEAR = 128
"""The nearest items of a query, by which it is told how much of what it likes a filter bars."""
_SURE = 2.0
"""Standard errors that the allowed share among them must lie below that of all before a query walks farther."""
_EXPECTED = 8
"""So many of them are allowed on average where none at all means that the filter bars what the query likes."""
_FIRST_OWN_WIDTH = 32
"""Nearly every item finds itself at once; only the others are searched for at full width."""
_OWN_BLOCK = 8192


class Graph:
    """An HNSW graph. Its width is the number of candidates that a walk keeps (efSearch)."""

    strategy: Strategy = "graph"
    growth = 1.0
    refine = 1

    def __init__(self, faiss_index: Any) -> None:
        self.faiss_index = faiss_index
        self.row_IE = rows_of_flat(require("faiss", extra="faiss").downcast_index(faiss_index.storage))
        self.widest = max(1, len(self.row_IE))

    @classmethod
    def build(cls, vector_ID: Float32Array, *, links: int, build_width: int) -> "Graph":
        """Link the items one after another, on as many threads as OpenMP is set to.

        Args:
            vector_ID: Finite vectors.
            links: Links per node (FAISS: M); twice as many on the lowest level.
            build_width: Candidates kept while a node is linked (FAISS: efConstruction).
        """
        faiss = require("faiss", extra="faiss")
        square_I = np.einsum("id,id->i", vector_ID, vector_ID, dtype=np.float64)
        further_I = np.sqrt(square_I.max(initial=0.0) - square_I)
        row_IE = np.column_stack([vector_ID, further_I.astype(np.float32)])
        index = faiss.IndexHNSWFlat(row_IE.shape[1], links, faiss.METRIC_L2)
        index.hnsw.efConstruction = build_width
        if len(row_IE):
            index.add(row_IE)
        return cls(index)

    def candidates(
        self, query_QE: Float32Array, fetch: int, width: int, allowed: Allowed | None, most_ns: float = np.inf
    ) -> Int64Array:
        """Return up to `fetch` allowed items per query, -1 where a row has ended.

        A walk passes what a filter bars, but ends where it has seen enough, allowed or not: where the filter bars what the
        query likes, it ends before it comes to the best allowed items, and what it has met on its way fills the list. So
        each query looks at its nearest items first, and walks as much farther as fewer of them are allowed than of all;
        not at all where none is, or where it would take longer than `most_ns`.
        """
        if allowed is None:
            return self._walk(query_QE, fetch, width, None)
        near = min(_NEAR, allowed.items)
        near_QN = self._walk(query_QE, near, near, None)
        share = allowed.count / max(allowed.items, 1)
        local_Q = allowed.contains(near_QN.ravel()).reshape(near_QN.shape).mean(axis=1)
        surely_Q = local_Q + _SURE * (share * (1 - share) / near) ** 0.5
        farther_Q = 2.0 ** np.ceil(np.log2(np.maximum(share / np.maximum(surely_Q, 1e-9), 1.0)))
        farther_Q[(local_Q == 0) & (share * near >= _EXPECTED)] = np.inf
        item_QF = np.full((len(query_QE), fetch), -1, np.int64)
        for farther in np.unique(farther_Q).tolist():
            if farther == 1 or (farther * width < self.widest and self.cost_ns(int(farther * width), share) <= most_ns):
                row_S = np.flatnonzero(farther_Q == farther)
                item_QF[row_S] = self._walk(query_QE[row_S], fetch, int(farther * width), allowed)
        return item_QF

    def _walk(self, query_QE: Float32Array, fetch: int, width: int, allowed: Allowed | None) -> Int64Array:
        faiss = require("faiss", extra="faiss")
        parameters = faiss.SearchParametersHNSW(efSearch=max(width, fetch), sel=selector(allowed))
        item_QF: Int64Array = self.faiss_index.search(query_QE, fetch, params=parameters)[1]
        return item_QF

    def cost_ns(self, width: int, allowed_share: float) -> float:
        """Return about how long one walk takes; a filter shortens nothing, the walk goes over what it bars."""
        return width * _STEP_NS

    def lost(self, width: int) -> Int32Array:
        """List the items that nothing leads to, and those that a search for their own row does not find."""
        lost_I = np.zeros(len(self.row_IE), np.bool_)
        lost_I[self.unreachable()] = True
        left_N: Int64Array = np.flatnonzero(~lost_I)
        for tried in sorted({min(width, _FIRST_OWN_WIDTH), width}):
            missed = [np.zeros(0, np.int64)]
            for start in range(0, len(left_N), _OWN_BLOCK):
                own_N = left_N[start : start + _OWN_BLOCK]
                found_N = self.candidates(self.row_IE[own_N], 1, tried, None)[:, 0]
                # All rows are equally long, so whatever is as near as an item itself is equal to it.
                is_equal_N = (self.row_IE[np.maximum(found_N, 0)] == self.row_IE[own_N]).all(axis=1) & (found_N >= 0)
                missed.append(own_N[(found_N != own_N) & ~is_equal_N])
            left_N = np.concatenate(missed)
        lost_I[left_N] = True
        return np.flatnonzero(lost_I).astype(np.int32)

    def unreachable(self) -> Int32Array:
        """List the items that no path on the lowest level leads to from the entry point.

        Linking can leave a node without a link to it, and no search width ever finds such an item. Breadth first, a
        whole front of nodes at a time.
        """
        faiss = require("faiss", extra="faiss")
        items = len(self.row_IE)
        if items == 0:
            return np.zeros(0, np.int32)
        graph = self.faiss_index.hnsw
        links = int(graph.nb_neighbors(0))
        first_I = faiss.vector_to_array(graph.offsets)[:items].astype(np.int64)
        neighbour = faiss.vector_to_array(graph.neighbors)
        reached_I: npt.NDArray[np.bool_] = np.zeros(items, np.bool_)
        front = np.array([graph.entry_point], np.int64)
        reached_I[front] = True
        while len(front):
            next_L = neighbour[first_I[front][:, None] + np.arange(links)].ravel()
            next_L = np.unique(next_L[next_L >= 0])
            front = next_L[~reached_I[next_L]].astype(np.int64)
            reached_I[front] = True
        return np.flatnonzero(~reached_I).astype(np.int32)
