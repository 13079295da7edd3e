"""FAISS behind the contract of an index: flat, HNSW graph, inverted lists, or lists of product-quantised vectors.

FAISS only proposes: the scores of what it brings are computed from the items' own vectors, which lie in one matrix
beside it (or are FAISS's own memory, where that has them in order). A search for few allowed items scores those instead.
FAISS takes no exclusions per query, so lists are fetched longer than asked for, by as many items as the queries exclude,
and cut afterwards; of a single query they are taken out of the allowed items.

Shape letters: Q queries, I items, D width, E width of the rows (D, and what a method adds), K length of a list, F length
of a fetched list, U items searched beside, S queries whose lists are still short.
"""

from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from lowerfunnel.errors import RunError, require
from lowerfunnel.index.allowed import Allowed
from lowerfunnel.index.contract import (
    checked_queries,
    checked_vectors,
    largest_norm,
    require_allowed_of,
    require_finite_scores,
)
from lowerfunnel.index.exact import ExactIndex
from lowerfunnel.index.exclusions import Exclusions
from lowerfunnel.index.faiss_flat import Flat
from lowerfunnel.index.faiss_graph import Graph
from lowerfunnel.index.faiss_lists import Lists
from lowerfunnel.index.faiss_rows import Threads
from lowerfunnel.index.method import Method
from lowerfunnel.index.plan import Plan, Widths
from lowerfunnel.index.rank_key import NO_KEY, best_keys, rank_keys, ranking_of_keys
from lowerfunnel.index.ranking import NO_ITEM, Float32Array, Int32Array, Int64Array, Ranking
from lowerfunnel.index.storage import write_index

FaissKind = Literal["flat", "hnsw", "ivf", "ivfpq"]

_DATA_FILE = "index.faiss"

EXACT_ITEM_NS = 80.0
"""What gathering and scoring one allowed item takes, measured on one thread over 1,000,000 x 65 (see the benchmark)."""
DEPTH = 100.0
"""The depth for which a width given by hand is meant."""

_EXACT_PREFERRED = 1.5
"""An exact search may take this many times as long as an approximate one: its recall is 1 whatever the filter."""
_EXACT_PREFERRED_FAR = 3.0
"""The same for a query that has to look on and on, as the filter bars what it likes: recall suffers there."""
_LONGEST_OVERFETCH = 1024
"""A query that excludes more items than this, among other queries, is searched exactly."""
_FEW_BARRED = 1024
"""Up to so many items that may not come back, all others are searched as if they might."""
_FETCHED_TO_STRIKE_OUT = 256
"""So many more are fetched then; if more of what is fetched is barred, the list is short and searched as with any set."""
_LONGEST_OVERFETCH_ALONE = 128
"""A single query that excludes more items than this gets a set of allowed items."""
_WIDER = 4
_ROWS_AT_ONCE = 1 << 17


class FaissIndex:
    """A FAISS index of inner products. Made by `build`, or by `load`."""

    def __init__(
        self,
        method: Method,
        *,
        kind: FaissKind,
        width: int,
        widths: Widths,
        largest_norm: float,
        lost_U: Int32Array,
        curve: tuple[dict[str, float], ...] = (),
        search_threads: int = 1,
        exact_item_ns: float = EXACT_ITEM_NS,
    ) -> None:
        """Put an index together.

        Args:
            method: What proposes items.
            kind: The kind of `method`.
            width: Length of the vectors.
            widths: How wide a search is, by its depth.
            largest_norm: Length of the longest vector.
            lost_U: Items that searches do not find; they are scored exactly, for every query.
            curve: What `lowerfunnel.index.tune` measured; kept for whoever looks.
            search_threads: OpenMP threads that share the queries of one call.
            exact_item_ns: Cost of an exactly scored item: the larger, the smaller a set must be to be searched so.
        """
        self.method = method
        self.kind: FaissKind = kind
        self.widths = widths
        self.largest_norm = largest_norm
        self.curve = curve
        self.search_threads = search_threads
        self._width = width
        self._exact_item_ns = exact_item_ns
        self._lost_U = lost_U
        self._exact = ExactIndex.over(method.row_IE, threads=search_threads)
        self._is_lost_I: npt.NDArray[np.bool_] = np.zeros(len(method.row_IE) + 1, np.bool_)  # the last stands for -1
        self._is_lost_I[lost_U] = True

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
        quantised_bytes: int | None = None,
        refine: int = 8,
        build_threads: int = 1,
        search_threads: int = 1,
        exact_item_ns: float = EXACT_ITEM_NS,
        seed: int = 0,
    ) -> "FaissIndex":
        """Build an index over float32 vectors, whose rows are the items, and search it once for every item.

        Args:
            vector_ID: Finite vectors.
            kind: "flat" compares with every item, "hnsw" walks a graph, "ivf" looks into the likeliest lists, "ivfpq"
                does so over quantised vectors and compares the best of them again.
            links: Links per node of the graph (FAISS: M); twice as many on its lowest level.
            build_width: Candidates kept while a node is linked (FAISS: efConstruction).
            search_width: Candidates kept while searching for the best 100 of all items (FAISS: efSearch).
            lists: Number of inverted lists; None for 2 sqrt(I), with at least 39 items to a list.
            probes: Lists looked into for the best 100 of all items (FAISS: nprobe).
            quantised_bytes: Bytes of a quantised vector; None for one to two coordinates.
            refine: Candidates per wanted item that "ivfpq" compares exactly.
            build_threads: Threads that build. With more than one the graph differs from build to build.
            search_threads: Threads that share the queries of one call.
            exact_item_ns: See `FaissIndex`.
            seed: For the clustering.
        """
        vector_ID = checked_vectors(vector_ID)
        norm = largest_norm(vector_ID)
        with Threads(build_threads):
            method: Method
            if kind == "flat":
                method = Flat.build(vector_ID)
            elif kind == "hnsw":
                method = Graph.build(vector_ID, links=links, build_width=build_width)
            else:
                coded = (quantised_bytes or max(1, -(-vector_ID.shape[1] // 2))) if kind == "ivfpq" else None
                method = Lists.build(
                    vector_ID, lists=lists, quantised_bytes=coded, refine=refine if coded else 1, seed=seed
                )
            by_hand = search_width if kind == "hnsw" else probes
            lost_U = method.lost(by_hand)
        return cls(
            method,
            kind=kind,
            width=vector_ID.shape[1],
            widths=Widths(points=((DEPTH, by_hand),), growth=method.growth),
            largest_norm=norm,
            lost_U=lost_U,
            search_threads=search_threads,
            exact_item_ns=exact_item_ns,
        )

    @property
    def items(self) -> int:
        """How many items there are."""
        return len(self.method.row_IE)

    @property
    def width(self) -> int:
        """Length of the vectors."""
        return self._width

    @property
    def lost(self) -> Int32Array:
        """Items that a search for themselves did not find, or that nothing leads to; they are scored exactly beside."""
        return self._lost_U

    def search(
        self,
        query_QD: Float32Array,
        k: int,
        *,
        excluded_offsets: Int64Array | None = None,
        excluded_item: Int32Array | None = None,
        allowed: Allowed | None = None,
    ) -> Ranking:
        """Return the `k` best items of each query that the index finds; see `Index.search`."""
        require_allowed_of(self.items, allowed)
        query_QD = checked_queries(query_QD, k, width=self.width)
        require_finite_scores(largest_norm(query_QD), self.largest_norm)
        exclusions = Exclusions.build(excluded_offsets, excluded_item, queries=len(query_QD), items=self.items)
        if self.items == 0 or len(query_QD) == 0:
            return Ranking.empty(len(query_QD), k)
        query_QE = self._filled_up(query_QD)
        if len(query_QD) == 1 and len(exclusions.item_X) > (_LONGEST_OVERFETCH_ALONE if allowed is None else 0):
            allowed = (Allowed.everything(self.items) if allowed is None else allowed).without(exclusions.item_X)
            exclusions = Exclusions.build(None, None, queries=1, items=self.items)
        plan = self.plan(allowed, k)
        if allowed is not None and self.items - allowed.count <= _FEW_BARRED and plan.strategy != "exact":
            # Nearly everything may come back: what may not is struck out afterwards, which spares looking each item up.
            width = self.plan(None, k).width
            found, _ = self._search_once(query_QE, k, width, exclusions, None, struck_out_but=allowed)
            if bool((found.lengths >= np.minimum(k, allowed.count - _excluded_of_allowed(exclusions, allowed))).all()):
                return found
        if plan.strategy == "exact" and (allowed is not None or self.kind != "flat"):
            return self._search_exactly(query_QE, k, exclusions, allowed)
        return self._search_widening(query_QE, k, plan.width, exclusions, allowed)

    def plan(self, allowed: Allowed | None, k: int) -> Plan:
        """Say how `search` goes about a list of `k` of the allowed items.

        All items are searched as the index's kind says. Of a set the allowed items are scored one by one if that is
        about as cheap, or if the approximate search would have to be as wide as it can be.
        """
        require_allowed_of(self.items, allowed)
        count = self.items if allowed is None else allowed.count
        if self.method.strategy == "exact" or count == 0:
            return Plan(strategy="exact", width=count)
        width = self.widths.at(k * self.items / count)
        if width >= self.method.widest or (allowed is not None and self.exact_is_cheaper(width, count)):
            return Plan(strategy="exact", width=count)
        return Plan(strategy=self.method.strategy, width=width)

    def search_with_width(
        self, query_QD: Float32Array, k: int, width: int, *, allowed: Allowed | None = None
    ) -> Ranking:
        """Return what one approximate search of a given width finds, whatever the plan; lists may come back short."""
        query_QE = self._filled_up(checked_queries(query_QD, k, width=self.width))
        exclusions = Exclusions.build(None, None, queries=len(query_QD), items=self.items)
        return self._search_once(query_QE, k, width, exclusions, allowed)[0]

    def with_widths(self, widths: Widths, curve: tuple[dict[str, float], ...]) -> "FaissIndex":
        """Return the same index, searched as wide as was measured to be needed."""
        return self._changed(widths=widths, curve=curve)

    @property
    def exact(self) -> ExactIndex:
        """The same vectors searched exactly; it holds no copy of them."""
        return self._exact

    def save(self, folder: Path) -> None:
        """Write the index to `folder`."""
        faiss = require("faiss", extra="faiss")
        description = {
            "kind": f"faiss_{self.kind}",
            "width": self._width,
            "widths": [list(point) for point in self.widths.points],
            "widths_growth": self.widths.growth,
            "largest_norm": self.largest_norm,
            "lost": self._lost_U.tolist(),
            "refine": self.method.refine,
            "search_threads": self.search_threads,
            "exact_item_ns": self._exact_item_ns,
            "curve": list(self.curve),
        }
        write_index(folder, _DATA_FILE, lambda path: faiss.write_index(self.method.faiss_index, str(path)), description)

    @classmethod
    def load(cls, description: dict[str, Any], file: BinaryIO, folder: Path) -> "FaissIndex":
        """Read the index that `lowerfunnel.index.storage.open_index` checked, straight from its open file."""
        faiss = require("faiss", extra="faiss")
        kinds: dict[str, FaissKind] = {f"faiss_{kind}": kind for kind in ("flat", "hnsw", "ivf", "ivfpq")}
        try:
            kind = kinds[description["kind"]]
            points = tuple((float(depth), int(width)) for depth, width in description["widths"])
            read = faiss.read_index(faiss.PyCallbackIOReader(file.read, 1 << 20))
            method: Method
            if kind == "flat":
                method = Flat(read)
            elif kind == "hnsw":
                method = Graph(read)
            else:
                method = Lists(read, refine=int(description["refine"]))
            return cls(
                method,
                kind=kind,
                width=int(description["width"]),
                widths=Widths(points=points, growth=float(description["widths_growth"])),
                largest_norm=float(description["largest_norm"]),
                lost_U=np.array(description["lost"], np.int32),
                curve=tuple(description["curve"]),
                search_threads=int(description["search_threads"]),
                exact_item_ns=float(description["exact_item_ns"]),
            )
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise RunError(f"{folder} holds no FAISS index that can be read ({error}): build it again") from error

    def _changed(self, **changes: Any) -> "FaissIndex":
        kept: dict[str, Any] = {
            "kind": self.kind, "width": self._width, "widths": self.widths, "largest_norm": self.largest_norm,
            "lost_U": self._lost_U, "curve": self.curve, "search_threads": self.search_threads,
            "exact_item_ns": self._exact_item_ns,
        }  # fmt: skip
        return FaissIndex(self.method, **{**kept, **changes})

    def _filled_up(self, query_QD: Float32Array) -> Float32Array:
        further = self.method.row_IE.shape[1] - self._width
        return np.pad(query_QD, ((0, 0), (0, further))) if further else query_QD

    def exact_is_cheaper(self, width: int, count: int) -> bool:
        """Tell whether scoring `count` allowed items takes about as long as one search of a width, or less."""
        return count * self._exact_item_ns <= _EXACT_PREFERRED * self.method.cost_ns(width, count / self.items)

    def _search_exactly(
        self, query_QE: Float32Array, k: int, exclusions: Exclusions, allowed: Allowed | None
    ) -> Ranking:
        return self._exact.search(
            query_QE, k, excluded_offsets=exclusions.offsets_Q1, excluded_item=exclusions.item_X, allowed=allowed
        )

    def _search_widening(
        self, query_QE: Float32Array, k: int, width: int, exclusions: Exclusions, allowed: Allowed | None
    ) -> Ranking:
        """Search wider and wider for the queries whose lists are short of what is eligible; in the end exactly."""
        count = self.items if allowed is None else allowed.count
        most_ns = count * self._exact_item_ns / _EXACT_PREFERRED_FAR
        beside = len(self._lost_U if allowed is None else self._lost_U[allowed.contains(self._lost_U)])
        wanted_Q = np.minimum(k, count - _excluded_of_allowed(exclusions, allowed))
        ranking = Ranking.empty(len(query_QE), k)
        is_left_Q = exclusions.counts <= _LONGEST_OVERFETCH
        exact_Q = ~is_left_Q
        while is_left_Q.any():
            row_S = np.flatnonzero(is_left_Q)
            found, own_S = self._search_once(query_QE[row_S], k, width, exclusions.take(row_S), allowed, most_ns)
            # What lies beside comes with every search, however bad it is: a list filled up with that is not done.
            done_S = (found.lengths >= wanted_Q[row_S]) & (own_S >= np.minimum(wanted_Q[row_S], count - beside))
            ranking.item_QK[row_S[done_S]] = found.item_QK[done_S]
            ranking.score_QK[row_S[done_S]] = found.score_QK[done_S]
            is_left_Q[row_S[done_S]] = False
            # Where nothing at all came, the filter bars what the query likes: there exact search is no dearer.
            exact_Q[row_S[own_S == 0]] = True
            is_left_Q &= ~exact_Q
            width *= _WIDER
            if width >= self.method.widest or self.exact_is_cheaper(width, count):
                break
        row_S = np.flatnonzero(is_left_Q | exact_Q)
        if len(row_S):
            exact = self._search_exactly(query_QE[row_S], k, exclusions.take(row_S), allowed)
            ranking.item_QK[row_S] = exact.item_QK
            ranking.score_QK[row_S] = exact.score_QK
        return ranking

    def _search_once(
        self,
        query_QE: Float32Array,
        k: int,
        width: int,
        exclusions: Exclusions,
        allowed: Allowed | None,
        most_ns: float = np.inf,
        struck_out_but: Allowed | None = None,
    ) -> tuple[Ranking, Int64Array]:
        """Return the best `k` of what the method proposes and of the items beside, but for what is struck out.

        And how many the method proposed itself, by query.
        """
        barred = 0 if struck_out_but is None else min(self.items - struck_out_but.count, _FETCHED_TO_STRIKE_OUT)
        fetch = min(k + int(exclusions.counts.max(initial=0)) + barred, self.items)
        block = max(1, _ROWS_AT_ONCE // (fetch * self.method.refine + len(self._lost_U)))
        ranking = Ranking.empty(len(query_QE), k)
        beside_U = self._lost_U if allowed is None else self._lost_U[allowed.contains(self._lost_U)]
        own_Q = np.zeros(len(query_QE), np.int64)
        for start in range(0, len(query_QE), block):
            part_QE = query_QE[start : start + block]
            with Threads(self.search_threads):
                item_QF = self.method.candidates(part_QE, fetch, width, allowed, most_ns)
            own_Q[start : start + block] = (item_QF >= 0).sum(axis=1)
            if len(self._lost_U):
                # A search may still find one of them: it must not count twice.
                item_QF = np.where(self._is_lost_I[item_QF], NO_ITEM, item_QF)
                item_QF = np.concatenate([item_QF, np.broadcast_to(beside_U, (len(part_QE), len(beside_U)))], axis=1)
            safe_QF = np.maximum(item_QF, 0)
            row_QFE = self.method.row_IE[safe_QF.ravel()].reshape(*safe_QF.shape, -1)
            score_QF = np.matmul(row_QFE, part_QE[:, :, None])[:, :, 0]
            row_Q = np.arange(start, start + len(part_QE), dtype=np.int64)
            wanted_QF = (item_QF >= 0) & ~exclusions.contains(row_Q[:, None], safe_QF)
            if struck_out_but is not None:
                wanted_QF &= struck_out_but.contains(safe_QF.ravel()).reshape(safe_QF.shape)
            key_QF = np.where(wanted_QF, rank_keys(score_QF, safe_QF), NO_KEY)
            found = ranking_of_keys(best_keys(key_QF, k), k)
            ranking.item_QK[start : start + block] = found.item_QK
            ranking.score_QK[start : start + block] = found.score_QK
        return ranking, own_Q


def _excluded_of_allowed(exclusions: Exclusions, allowed: Allowed | None) -> Int64Array:
    """Return how many allowed items each query excludes."""
    if allowed is None:
        return exclusions.counts
    before_X1 = np.concatenate([[0], np.cumsum(allowed.contains(exclusions.item_X))])
    return np.diff(before_X1[exclusions.offsets_Q1])
