"""Settings of an index, and how an index is made from them or from a folder."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lowerfunnel.errors import RunError
from lowerfunnel.index.contract import Index
from lowerfunnel.index.exact import ExactIndex
from lowerfunnel.index.faiss_index import FaissIndex, FaissKind
from lowerfunnel.index.milvus_connection import check_uri
from lowerfunnel.index.milvus_index import MOST_LINKS, MilvusIndex
from lowerfunnel.index.ranking import Float32Array
from lowerfunnel.index.storage import open_index, vectors_of_exact
from lowerfunnel.index.tune import tune

IndexKind = Literal["exact", "faiss_flat", "faiss_hnsw", "faiss_ivf", "faiss_ivfpq", "milvus"]

_FAISS_KINDS: dict[str, FaissKind] = {
    "faiss_flat": "flat",
    "faiss_hnsw": "hnsw",
    "faiss_ivf": "ivf",
    "faiss_ivfpq": "ivfpq",
}
_COLLECTION_PREFIX = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexConfig:
    """Which index is built, and its parameters by name: libraries disagree about the defaults."""

    kind: IndexKind = "exact"
    """"exact" needs no extra and is always right; "milvus" needs the extra "milvus" and a server, the others "faiss"."""
    hnsw_links: int = 32
    """Links per node of the HNSW graph (M)."""
    hnsw_build_width: int = 200
    """Candidates kept while the HNSW graph is built (efConstruction)."""
    hnsw_search_width: int = 256
    """Candidates kept while the HNSW graph is searched for the best 100 of all items (efSearch; Milvus: ef); filters widen
    it."""
    ivf_lists: int | None = None
    """Number of inverted lists; left out, twice the square root of the number of items."""
    ivf_probes: int = 64
    """Inverted lists looked into for the best 100 of all items (nprobe); filters widen it."""
    ivfpq_bytes: int | None = None
    """Bytes of a quantised vector in the lists of "faiss_ivfpq"; left out, one to two coordinates."""
    ivfpq_refine: int = 8
    """Candidates per wanted item whose whole vectors "faiss_ivfpq" compares."""
    target_recall: float | None = None
    """Share of the exact best `target_k` items that an approximate search must find. Given, the search widths are
    measured on queries of the user tower after the build, unfiltered and through filters, and take the place of
    `hnsw_search_width` and `ivf_probes`; a recall that no width reaches is an error."""
    target_k: int = 100
    """Length of the lists that `target_recall` speaks of."""
    search_threads: int = 1
    """Threads that share the queries of one search of a FAISS index."""
    build_threads: int = 1
    """Threads that build a FAISS index. More than one makes the HNSW graph differ from build to build."""
    milvus_uri: str | None = None
    """Address of the Milvus server (http://host:19530), or a folder ending in .db for Milvus Lite. Needed for "milvus"."""
    milvus_prefix: str = "lowerfunnel"
    """Beginning of the names of collections; each build makes a new one, and none is dropped by itself."""
    milvus_token_env: str | None = None
    """Name of the environment variable that holds Milvus' token, "user:password" or an API key; left out, no token."""
    milvus_timeout_s: float = 10.0
    """Seconds that a call to Milvus may take."""
    milvus_build_timeout_s: float = 3600.0
    """Seconds that Milvus may take to store a message of rows, to flush, to link the graph, or to load the collection."""

    def __post_init__(self) -> None:
        numbers = {
            "hnsw_links": (self.hnsw_links, 2),
            "hnsw_build_width": (self.hnsw_build_width, 1),
            "hnsw_search_width": (self.hnsw_search_width, 1),
            "ivf_lists": (1 if self.ivf_lists is None else self.ivf_lists, 1),
            "ivf_probes": (self.ivf_probes, 1),
            "ivfpq_bytes": (1 if self.ivfpq_bytes is None else self.ivfpq_bytes, 1),
            "ivfpq_refine": (self.ivfpq_refine, 1),
            "target_k": (self.target_k, 1),
            "search_threads": (self.search_threads, 1),
            "build_threads": (self.build_threads, 1),
        }
        for name, (value, least) in numbers.items():
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        self._check_milvus()
        if self.target_recall is not None and not 0 < self.target_recall <= 1:
            raise ValueError(f"target_recall must lie in (0, 1], got {self.target_recall}")

    def build(self, vector_ID: Float32Array, *, seed: int = 0, query_QD: Float32Array | None = None) -> Index:
        """Build the index over float32 vectors, whose rows are the items.

        Args:
            vector_ID: Finite vectors.
            seed: For the clustering into lists.
            query_QD: Queries of the user tower, as they will be asked; needed where there is a `target_recall` for an
                approximate kind.

        Raises:
            RunError: If no search width reaches `target_recall`.
            ValueError: If queries are needed and not given.
        """
        if self.kind == "exact":
            return ExactIndex(vector_ID)
        if self.kind == "milvus" and self.milvus_uri is not None:
            return MilvusIndex.build(
                vector_ID,
                uri=self.milvus_uri,
                prefix=self.milvus_prefix,
                token_env=self.milvus_token_env,
                links=self.hnsw_links,
                build_width=self.hnsw_build_width,
                search_width=self.hnsw_search_width,
                timeout_s=self.milvus_timeout_s,
                build_timeout_s=self.milvus_build_timeout_s,
            )
        index = self._build_faiss(vector_ID, seed)
        if self.target_recall is None or self.kind == "faiss_flat":
            return index
        if query_QD is None:
            raise ValueError("index.target_recall is measured on queries of the user tower: give some to the build")
        tuned = tune(index, query_QD, target_recall=self.target_recall, k=self.target_k)
        return index.with_widths(tuned.widths, tuned.curve)

    def _build_faiss(self, vector_ID: Float32Array, seed: int) -> FaissIndex:
        return FaissIndex.build(
            vector_ID,
            kind=_FAISS_KINDS[self.kind],
            links=self.hnsw_links,
            build_width=self.hnsw_build_width,
            search_width=self.hnsw_search_width,
            lists=self.ivf_lists,
            probes=self.ivf_probes,
            quantised_bytes=self.ivfpq_bytes,
            refine=self.ivfpq_refine,
            build_threads=self.build_threads,
            search_threads=self.search_threads,
            seed=seed,
        )

    def _check_milvus(self) -> None:
        if not (0 < self.milvus_timeout_s < math.inf and 0 < self.milvus_build_timeout_s < math.inf):
            raise ValueError(
                "milvus_timeout_s and milvus_build_timeout_s must be above 0 and finite, got "
                f"{self.milvus_timeout_s} and {self.milvus_build_timeout_s}"
            )
        if not _COLLECTION_PREFIX.fullmatch(self.milvus_prefix):
            raise ValueError(
                "milvus_prefix must be a letter or _, then letters, digits and _, at most 200 in all; got "
                f"{self.milvus_prefix!r}"
            )
        if self.kind == "milvus" and self.milvus_uri is None:
            raise ValueError('an index of kind "milvus" needs milvus_uri, the address of the server')
        if self.kind == "milvus" and self.hnsw_links > MOST_LINKS:
            raise ValueError(f"Milvus takes at most {MOST_LINKS} links per node, got hnsw_links={self.hnsw_links}")
        if self.milvus_uri is not None:
            check_uri(self.milvus_uri)


def load_index(folder: Path) -> Index:
    """Read an index that `Index.save` wrote.

    Raises:
        RunError: If `folder` holds no index, or a damaged one, or names a collection of Milvus that is gone or differs.
        StoreError: If that Milvus is out of reach.
    """
    with open_index(folder) as (description, file):
        kind = description.get("kind")
        if kind == "exact":
            return ExactIndex.over(vectors_of_exact(file, folder))
        if kind in _FAISS_KINDS:
            return FaissIndex.load(description, file, folder)
        if kind == "milvus":
            return MilvusIndex.load(description, file.read(), folder)
    raise RunError(f"{folder} holds an index of kind {kind!r}, which this program does not know: build it again")
