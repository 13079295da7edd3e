"""Milvus behind the contract of an index: for catalogues beyond one machine.

A list is found in up to three steps, each for those queries only whose list the step before left short: a search of
the graph for as many items as exclusions and the allowed set are expected to cost, the same for ever longer lists, and
last the eligible vectors themselves, read and scored here. Few allowed items are read and scored at once.

Shape letters: Q queries, B queries of a batch, D width, K length of a list, S short lists, N found items or read rows,
X excluded pairs, P allowed items.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError

from lowerfunnel.errors import DataError, RunError
from lowerfunnel.index.allowed import Allowed
from lowerfunnel.index.contract import (
    checked_queries,
    checked_vectors,
    largest_norm,
    require_allowed_of,
    require_finite_scores,
)
from lowerfunnel.index.exclusions import Exclusions
from lowerfunnel.index.milvus_collection import LONGEST_ID_LIST, MilvusCollection, Sample, id_list, sample_of
from lowerfunnel.index.milvus_connection import MilvusConnection
from lowerfunnel.index.plan import Plan
from lowerfunnel.index.rank_key import NO_KEY, best_keys, pad_rows, rank_keys, ranking_of_keys
from lowerfunnel.index.ranking import Float32Array, Int32Array, Int64Array, Ranking
from lowerfunnel.index.storage import write_index

LONGEST_LIST = 16_384
"""Milvus answers no more items to a query."""
MOST_LINKS = 2048
"""Milvus takes no more links per node."""

_FEWEST_LINKS = 2  # Milvus Lite does not check, and fewer end its process
_SAMPLE_FILE = "sample.safetensors"
_READ_AT_ONCE = 1024
"""So few allowed items are read and scored here: exact, and one request."""
_LONGEST_OVERFETCH = 1024
_ROWS_A_PAGE = 4096
_QUERIES_A_BATCH = 1024
_FOUND_A_CALL = 2_000_000
_QUERY_BYTES_A_CALL = 16 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class _Eligible:
    """What may come back to the queries of a batch, and the part of it that Milvus itself filters.

    Attributes:
        allowed: Items that may come back at all; None for all of them.
        exclusions: Those of `allowed` that a query must not get.
        expression: Milvus' filter: it passes every allowed item, and perhaps others.
        passing: How many items pass the filter.
        items: Size of the catalogue.
    """

    allowed: Allowed | None
    exclusions: Exclusions
    expression: str
    passing: int
    items: int

    @property
    def count(self) -> int:
        """How many items are allowed."""
        return self.items if self.allowed is None else self.allowed.count

    def places(self) -> Int64Array:
        """Return the allowed items, ascending."""
        return np.arange(self.items, dtype=np.int64) if self.allowed is None else self.allowed.places()

    def contains(self, row_N: Int64Array, item_N: Int32Array) -> Any:
        """Tell which found items may come back to their queries, as a mask."""
        inside_N = ~self.exclusions.contains(row_N, item_N)
        return inside_N if self.allowed is None else inside_N & self.allowed.contains(item_N)

    def take(self, row_S: Int64Array) -> "_Eligible":
        """Return the same for some queries."""
        return _Eligible(
            allowed=self.allowed,
            exclusions=self.exclusions.take(row_S),
            expression=self.expression,
            passing=self.passing,
            items=self.items,
        )


class MilvusIndex:
    """An HNSW graph over inner products in a collection of Milvus. Made by `build` or `load`."""

    def __init__(
        self,
        collection: MilvusCollection,
        *,
        sample: Sample,
        search_width: int,
        build_timeout_s: float,
        largest_norm: float,
    ) -> None:
        self._collection = collection
        self._sample = sample
        self._search_width = search_width
        self._build_timeout_s = build_timeout_s
        self._largest_norm = largest_norm

    @classmethod
    def build(
        cls,
        vector_ID: Float32Array,
        *,
        uri: str,
        prefix: str = "lowerfunnel",
        token_env: str | None = None,
        links: int = 32,
        build_width: int = 200,
        search_width: int = 256,
        timeout_s: float = 10.0,
        build_timeout_s: float = 3600.0,
    ) -> "MilvusIndex":
        """Build a new collection over float32 vectors, whose rows are the items. Older collections stay.

        Args:
            vector_ID: Finite vectors, at most 32,768 wide.
            uri: Address of the server, or a folder ending in ``.db`` for Milvus Lite.
            prefix: Beginning of the collection's name.
            token_env: Name of the environment variable that holds the token; None for a server without.
            links: Links per node of the graph (Milvus: M), 2..2048.
            build_width: Candidates kept while a node is linked (Milvus: efConstruction).
            search_width: Candidates kept while searching (Milvus: ef); at least the length of the fetched list.
            timeout_s: Longest time of a call.
            build_timeout_s: Longest time of a step of the build: a message of rows, flushing, linking, loading.

        Raises:
            DataError: If the vectors are not finite or too wide.
            RunError: If Milvus refuses, or holds something else than what was written.
            StoreError: If Milvus is out of reach or too slow.
            ValueError: If a parameter of the graph cannot be.
        """
        if not (_FEWEST_LINKS <= links <= MOST_LINKS and min(build_width, search_width) >= 1):
            raise ValueError(
                f"links must lie in {_FEWEST_LINKS}..{MOST_LINKS}, and both widths be at least 1; got links={links}, "
                f"build_width={build_width}, search_width={search_width}"
            )
        vector_ID = checked_vectors(vector_ID)
        collection = MilvusCollection.build(
            MilvusConnection(uri, token_env=token_env, timeout_s=timeout_s),
            vector_ID,
            prefix=prefix,
            links=links,
            build_width=build_width,
            build_timeout_s=build_timeout_s,
        )
        return cls(
            collection,
            sample=sample_of(vector_ID),
            search_width=search_width,
            build_timeout_s=build_timeout_s,
            largest_norm=largest_norm(vector_ID),
        )

    @property
    def items(self) -> int:
        """How many items there are."""
        return self._collection.items

    @property
    def width(self) -> int:
        """Length of the vectors."""
        return self._collection.width

    @property
    def collection(self) -> str:
        """Name of the collection."""
        return self._collection.name

    def search(
        self,
        query_QD: Float32Array,
        k: int,
        *,
        excluded_offsets: Int64Array | None = None,
        excluded_item: Int32Array | None = None,
        allowed: Allowed | None = None,
    ) -> Ranking:
        """Return the `k` best items of each query that the index finds; see `Index.search`.

        Raises:
            DataError: If a list would hold more than 16,384 items.
            RunError: If the collection is gone or was changed.
            StoreError: If Milvus is out of reach or too slow.
        """
        query_QD = checked_queries(query_QD, k, width=self.width)
        require_finite_scores(largest_norm(query_QD), self._largest_norm)
        exclusions = Exclusions.build(excluded_offsets, excluded_item, queries=len(query_QD), items=self.items)
        eligible = self._eligible(exclusions, allowed)
        wanted_Q = np.minimum(k, eligible.count - eligible.exclusions.counts)
        longest = int(wanted_Q.max(initial=0))
        if longest > LONGEST_LIST:
            raise DataError(
                f"lists of {longest} items were asked for, and Milvus answers at most {LONGEST_LIST} to a query: ask "
                "for fewer"
            )
        ranking = Ranking.empty(len(query_QD), k)
        open_Q = np.flatnonzero(wanted_Q)  # a query without eligible items is answered already
        for start in range(0, len(open_Q), _QUERIES_A_BATCH):
            row_B = open_Q[start : start + _QUERIES_A_BATCH]
            found = self._search_batch(query_QD[row_B], k, eligible.take(row_B), wanted_Q[row_B])
            ranking.item_QK[row_B] = found.item_QK
            ranking.score_QK[row_B] = found.score_QK
        return ranking

    def plan(self, allowed: Allowed | None, k: int) -> Plan:
        """Say how `search` goes about a list of `k` of the allowed items."""
        require_allowed_of(self.items, allowed)
        count = self.items if allowed is None else allowed.count
        if allowed is not None and count <= _READ_AT_ONCE:
            return Plan(strategy="exact", width=count)
        fetch = -(-min(k, count) * self.items // count) if count else 0
        return Plan(strategy="graph", width=max(self._search_width, min(fetch, LONGEST_LIST)))

    @property
    def exact(self) -> None:
        """None: the vectors are in Milvus."""
        return

    def save(self, folder: Path) -> None:
        """Write to `folder` where the collection is and how to know it again; the vectors stay in Milvus."""
        description = {
            "kind": "milvus",
            "uri": self._collection.connection.uri,
            "token_env": self._collection.connection.token_env,
            "timeout_s": self._collection.connection.timeout_s,
            "build_timeout_s": self._build_timeout_s,
            "collection": self._collection.name,
            "items": self.items,
            "width": self.width,
            "fingerprint": self._collection.fingerprint,
            "search_width": self._search_width,
            "largest_norm": self._largest_norm,
        }
        sample = {"place": torch.from_numpy(self._sample.place_S), "vector": torch.from_numpy(self._sample.vector_SD)}
        write_index(folder, _SAMPLE_FILE, lambda path: safetensors.torch.save_file(sample, path), description)

    @classmethod
    def load(cls, description: dict[str, Any], content: bytes, folder: Path) -> "MilvusIndex":
        """Open again what `lowerfunnel.index.storage.open_index` read and checked.

        Raises:
            RunError: If the description is damaged, or the collection is gone or another one.
            StoreError: If Milvus is out of reach or too slow.
        """
        try:
            token_env = description["token_env"]
            uri, name, print_of = (str(description[key]) for key in ("uri", "collection", "fingerprint"))
            items, width, search_width = (int(description[key]) for key in ("items", "width", "search_width"))
            timeout_s, build_timeout_s, norm = (
                float(description[key]) for key in ("timeout_s", "build_timeout_s", "largest_norm")
            )
            tensors = safetensors.torch.load(content)
            sample = Sample(place_S=tensors["place"].numpy(), vector_SD=tensors["vector"].numpy())
        except (KeyError, TypeError, ValueError, SafetensorError) as error:
            raise RunError(
                f"{folder} does not say which collection to open ({error}): build the index again"
            ) from error
        connection = MilvusConnection(uri, token_env=token_env, timeout_s=timeout_s)
        collection = MilvusCollection(connection=connection, name=name, items=items, width=width, fingerprint=print_of)
        collection.open(sample, timeout_s=build_timeout_s)
        return cls(
            collection,
            sample=sample,
            search_width=search_width,
            build_timeout_s=build_timeout_s,
            largest_norm=norm,
        )

    def drop(self) -> None:
        """Delete the collection from Milvus, for everyone. Searches raise `RunError` from then on."""
        self._collection.drop()

    def _eligible(self, exclusions: Exclusions, allowed: Allowed | None) -> _Eligible:
        """Choose what Milvus filters: a short list of items that are not allowed, or nothing.

        A list of allowed items is not sent: the graph walk that Milvus then makes found 64% of the best 100 where 5% were
        allowed (Milvus Lite, 100,000 items), while longer lists, cut here, found more than 99%.
        """
        if allowed is None:
            return _Eligible(allowed=None, exclusions=exclusions, expression="", passing=self.items, items=self.items)
        require_allowed_of(self.items, allowed)
        expression, passing = "", self.items
        if 0 < self.items - allowed.count <= LONGEST_ID_LIST:
            expression, passing = id_list(np.flatnonzero(~allowed.mask()), inside=False), allowed.count
        inside_X = allowed.contains(exclusions.item_X)
        row_X = np.repeat(np.arange(len(exclusions.counts)), exclusions.counts)[inside_X]
        offsets_Q1 = np.zeros(len(exclusions.counts) + 1, np.int64)
        np.cumsum(np.bincount(row_X, minlength=len(exclusions.counts)), out=offsets_Q1[1:])
        return _Eligible(
            allowed=allowed,
            exclusions=Exclusions(offsets_Q1=offsets_Q1, item_X=exclusions.item_X[inside_X]),
            expression=expression,
            passing=passing,
            items=self.items,
        )

    def _search_batch(self, query_BD: Float32Array, k: int, eligible: _Eligible, wanted_B: Int64Array) -> Ranking:
        """Search for lists of which each can hold an item at least."""
        if eligible.allowed is not None and eligible.count <= _READ_AT_ONCE:
            return self._score_eligible(query_BD, k, eligible)
        overfetch = int(np.minimum(eligible.exclusions.counts, _LONGEST_OVERFETCH).max())
        longest_fetch = min(eligible.passing, LONGEST_LIST)
        # Were the allowed items spread evenly over a list, so many would have to be fetched.
        fetch = min(-(-(int(wanted_B.max()) + overfetch) * eligible.passing // eligible.count), longest_fetch)
        ranking = self._search_graph(query_BD, k, fetch, eligible)
        while len(row_S := np.flatnonzero(ranking.lengths < wanted_B)):
            more, of_short = fetch < longest_fetch, eligible.take(row_S)
            fetch = min(4 * fetch, longest_fetch)
            found = (
                self._search_graph(query_BD[row_S], k, fetch, of_short)
                if more
                else self._score_eligible(query_BD[row_S], k, of_short)
            )
            ranking.item_QK[row_S] = found.item_QK
            ranking.score_QK[row_S] = found.score_QK
            if not more:
                break
        return ranking

    def _search_graph(self, query_BD: Float32Array, k: int, fetch: int, eligible: _Eligible) -> Ranking:
        """Ask Milvus for `fetch` items per query and keep the best `k` that may come back."""
        ranking = Ranking.empty(len(query_BD), k)
        at_once = max(1, min(_FOUND_A_CALL // fetch, _QUERY_BYTES_A_CALL // (4 * max(self.width, 1))))
        for start in range(0, len(query_BD), at_once):
            row_B = np.arange(start, min(start + at_once, len(query_BD)))
            count_B, item_N, score_N = self._collection.search(
                query_BD[row_B],
                fetch,
                expression=eligible.expression,
                search_width=max(self._search_width, fetch),
            )
            row_N = np.repeat(np.arange(len(row_B)), count_B)
            kept_N = eligible.contains(row_N + start, item_N)
            key_N = rank_keys(score_N[kept_N], item_N[kept_N])
            key_BN = pad_rows(key_N, np.bincount(row_N[kept_N], minlength=len(row_B)))
            found = ranking_of_keys(best_keys(key_BN, k), k)
            ranking.item_QK[row_B] = found.item_QK
            ranking.score_QK[row_B] = found.score_QK
        return ranking

    def _score_eligible(self, query_BD: Float32Array, k: int, eligible: _Eligible) -> Ranking:
        """Read every allowed vector, a page at a time, and score it here."""
        place_P = eligible.places()
        row_B1 = np.arange(len(query_BD))[:, None]
        best_BK = np.full((len(query_BD), 0), NO_KEY, np.int64)
        for start in range(0, len(place_P), _ROWS_A_PAGE):
            item_N = place_P[start : start + _ROWS_A_PAGE].astype(np.int32)
            vector_ND = self._collection.vectors(item_N.astype(np.int64))
            key_BN = rank_keys(query_BD @ vector_ND.T, item_N)
            key_BN = np.where(eligible.exclusions.contains(row_B1, item_N[None, :]), NO_KEY, key_BN)
            best_BK = best_keys(np.concatenate([best_BK, key_BN], axis=1), k)
        return ranking_of_keys(best_BK, k)
