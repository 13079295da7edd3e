"""FAISS behind the contract of an index: flat, HNSW graph or inverted lists.

FAISS takes no exclusions per query, so lists are fetched longer than asked for, by as many items as the queries
exclude, and cut afterwards. A query for which that does not fill the list, or which excludes too much, is searched
exactly.

Shape letters: Q queries, I items, D width, K length of a list, F length of a fetched list, U unreachable items, L links
of a node, X excluded pairs.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lowerfunnel.errors import RunError, require
from lowerfunnel.index.contract import checked_queries, checked_vectors, largest_norm, require_finite_scores
from lowerfunnel.index.exact import ExactIndex
from lowerfunnel.index.exclusions import Exclusions
from lowerfunnel.index.rank_key import NO_KEY, best_keys, rank_keys, ranking_of_keys
from lowerfunnel.index.ranking import NO_ITEM, Float32Array, Int32Array, Int64Array, Ranking
from lowerfunnel.index.storage import write_index

FaissKind = Literal["flat", "hnsw", "ivf"]

_DATA_FILE = "index.faiss"
_LONGEST_OVERFETCH = 1024
"""A query that excludes more items than this is searched exactly: walking a graph for thousands of items costs more."""
_POINTS_PER_LIST = 39
"""Below this many training points per centroid FAISS calls a clustering unreliable."""


class FaissIndex:
    """A FAISS index of inner products. Made by `build` or `load`."""

    def __init__(
        self, faiss_index: Any, *, kind: FaissKind, search_width: int, probes: int, largest_norm: float
    ) -> None:
        self._faiss_index = faiss_index
        self._kind: FaissKind = kind
        self._search_width = search_width
        self._probes = probes
        self._largest_norm = largest_norm
        self._exact_index: ExactIndex | None = None
        unreachable_U = _unreachable(faiss_index) if kind == "hnsw" else np.zeros(0, np.int32)
        self._unreachable_U: Int32Array = unreachable_U
        self._unreachable_vector_UD = _vectors(faiss_index)[unreachable_U] if len(unreachable_U) else None

    @classmethod
    def build(
        cls,
        vector_ID: Float32Array,
        *,
        kind: FaissKind,
        links: int = 32,
        build_width: int = 200,
        search_width: int = 256,
        lists: int | None = None,
        probes: int = 64,
        build_threads: int = 1,
        seed: int = 0,
    ) -> "FaissIndex":
        """Build an index over float32 vectors, whose rows are the items.

        Args:
            vector_ID: Finite vectors.
            kind: "flat" compares with every item, "hnsw" walks a graph, "ivf" looks into the nearest lists.
            links: Links per node of the graph (FAISS: M); twice as many on its lowest level.
            build_width: Candidates kept while a node is linked (FAISS: efConstruction).
            search_width: Candidates kept while searching (FAISS: efSearch); at least the length of the fetched list.
            lists: Number of inverted lists; None for 4 sqrt(I), with at least 39 items to a list.
            probes: Lists looked into per query (FAISS: nprobe); as many as there are lists makes the search exact.
            build_threads: Threads that link nodes. More than one is faster, and the graph differs from build to build.
            seed: For the clustering into lists.
        """
        faiss = require("faiss", extra="faiss")
        vector_ID = checked_vectors(vector_ID)
        items, width = vector_ID.shape
        if kind == "flat":
            index = faiss.IndexFlatIP(width)
        elif kind == "hnsw":
            index = faiss.IndexHNSWFlat(width, links, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = build_width
        else:
            index = _empty_lists(faiss, width, _number_of_lists(lists, items), seed)
        if items:
            threads_before = faiss.omp_get_max_threads()
            faiss.omp_set_num_threads(build_threads)
            try:
                if kind == "ivf":
                    index.train(vector_ID)
                index.add(vector_ID)
            finally:
                faiss.omp_set_num_threads(threads_before)
        if kind == "ivf":
            index.make_direct_map()  # the vectors must be readable again, for exact search
        return cls(index, kind=kind, search_width=search_width, probes=probes, largest_norm=largest_norm(vector_ID))

    @property
    def items(self) -> int:
        """How many items there are."""
        return int(self._faiss_index.ntotal)

    @property
    def width(self) -> int:
        """Length of the vectors."""
        return int(self._faiss_index.d)

    @property
    def unreachable(self) -> Int32Array:
        """Items that no path of the graph leads to; they are scored exactly beside it."""
        return self._unreachable_U

    def search(
        self,
        query_QD: Float32Array,
        k: int,
        *,
        excluded_offsets: Int64Array | None = None,
        excluded_item: Int32Array | None = None,
    ) -> Ranking:
        """Return the `k` best items of each query that the index finds; see `Index.search`."""
        query_QD = checked_queries(query_QD, k, width=self.width)
        require_finite_scores(largest_norm(query_QD), self._largest_norm)
        exclusions = Exclusions.build(excluded_offsets, excluded_item, queries=len(query_QD), items=self.items)
        if self.items == 0 or len(query_QD) == 0:
            return Ranking.empty(len(query_QD), k)
        overfetch = int(np.minimum(exclusions.counts, _LONGEST_OVERFETCH).max())
        found = self._search_fetched(query_QD, k, min(k + overfetch, self.items), exclusions)
        wanted_Q = np.minimum(k, self.items - exclusions.counts)
        short_Q = (found.lengths < wanted_Q) | (exclusions.counts > _LONGEST_OVERFETCH)
        if short_Q.any():
            row_S = np.flatnonzero(short_Q)
            of_short = exclusions.take(row_S)
            exact = self._exact().search(
                query_QD[row_S], k, excluded_offsets=of_short.offsets_Q1, excluded_item=of_short.item_X
            )
            found.item_QK[row_S] = exact.item_QK
            found.score_QK[row_S] = exact.score_QK
        return found

    def save(self, folder: Path) -> None:
        """Write the index to `folder`."""
        faiss = require("faiss", extra="faiss")
        description = {
            "kind": f"faiss_{self._kind}",
            "search_width": self._search_width,
            "probes": self._probes,
            "largest_norm": self._largest_norm,
        }
        write_index(folder, _DATA_FILE, faiss.serialize_index(self._faiss_index).tobytes(), description)

    @classmethod
    def load(cls, description: dict[str, Any], content: bytes, folder: Path) -> "FaissIndex":
        """Make the index of what `lowerfunnel.index.storage.read_index` read and checked."""
        faiss = require("faiss", extra="faiss")
        kinds: dict[str, FaissKind] = {"faiss_flat": "flat", "faiss_hnsw": "hnsw", "faiss_ivf": "ivf"}
        try:
            kind = kinds[description["kind"]]
            search_width, probes = int(description["search_width"]), int(description["probes"])
            norm = float(description["largest_norm"])
            index = faiss.deserialize_index(np.frombuffer(content, np.uint8))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RunError(f"{folder} holds no FAISS index that can be read ({error}): build it again") from error
        return cls(index, kind=kind, search_width=search_width, probes=probes, largest_norm=norm)

    def _search_fetched(self, query_QD: Float32Array, k: int, fetch: int, exclusions: Exclusions) -> Ranking:
        """Search for `fetch` items per query and keep the best `k` that are not excluded."""
        score_QF, item_QF = self._faiss_index.search(query_QD, fetch, params=self._parameters(fetch))
        if self._unreachable_vector_UD is not None:
            beside_QU = np.broadcast_to(self._unreachable_U, (len(query_QD), len(self._unreachable_U)))
            # Another entry into the graph may still find one of them: it must not count twice.
            item_QF = np.where(np.isin(item_QF, self._unreachable_U), NO_ITEM, item_QF)
            item_QF = np.concatenate([item_QF, beside_QU], axis=1)
            score_QF = np.concatenate([score_QF, query_QD @ self._unreachable_vector_UD.T], axis=1)
        wanted_QF = item_QF >= 0
        row_Q = np.arange(len(query_QD), dtype=np.int64)
        wanted_QF &= ~exclusions.contains(row_Q[:, None], np.maximum(item_QF, 0))
        key_QF = np.where(wanted_QF, rank_keys(score_QF, np.where(wanted_QF, item_QF, 0)), NO_KEY)
        return ranking_of_keys(best_keys(key_QF, k), k)

    def _parameters(self, fetch: int) -> Any:
        """Return FAISS's own parameters of one search: given per call, so that searches change nothing."""
        faiss = require("faiss", extra="faiss")
        if self._kind == "hnsw":
            return faiss.SearchParametersHNSW(efSearch=max(self._search_width, fetch))
        if self._kind == "ivf":
            return faiss.SearchParametersIVF(nprobe=self._probes)
        return None

    def _exact(self) -> ExactIndex:
        """Return an exact index over the same vectors, made when it is first needed."""
        if self._exact_index is None:
            self._exact_index = ExactIndex(_vectors(self._faiss_index))
        return self._exact_index


def _vectors(faiss_index: Any) -> Float32Array:
    """Read the vectors back."""
    vector_ID: Float32Array = faiss_index.reconstruct_n(0, faiss_index.ntotal)
    return vector_ID


def _number_of_lists(lists: int | None, items: int) -> int:
    if lists is None:
        return max(1, min(int(4 * items**0.5), items // _POINTS_PER_LIST))
    if lists > max(items, 1):
        raise ValueError(f"{items} items cannot fill {lists} inverted lists: ask for fewer, or leave it open")
    return lists


def _empty_lists(faiss: Any, width: int, lists: int, seed: int) -> Any:
    """Return inverted lists whose centroids, like the items, are compared by inner product."""
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = seed
    index.cp.spherical = True
    index.cp.min_points_per_centroid = 1  # otherwise it prints to stderr; the default of `lists` keeps 39
    return index


def _unreachable(faiss_index: Any) -> Int32Array:
    """List the items that no path on the lowest level of an HNSW graph leads to from its entry point.

    Linking can leave a node without a link to it, and no search width ever finds such an item. Breadth first, a whole
    front of nodes at a time.
    """
    faiss = require("faiss", extra="faiss")
    items = int(faiss_index.ntotal)
    if items == 0:
        return np.zeros(0, np.int32)
    graph = faiss_index.hnsw
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
