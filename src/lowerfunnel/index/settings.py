"""Settings of an index, and how an index is made from them or from a folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lowerfunnel.errors import RunError
from lowerfunnel.index.contract import Index
from lowerfunnel.index.exact import ExactIndex
from lowerfunnel.index.faiss_index import FaissIndex, FaissKind
from lowerfunnel.index.ranking import Float32Array
from lowerfunnel.index.storage import read_index, vectors_of_exact

IndexKind = Literal["exact", "faiss_flat", "faiss_hnsw", "faiss_ivf"]

_FAISS_KINDS: dict[str, FaissKind] = {"faiss_flat": "flat", "faiss_hnsw": "hnsw", "faiss_ivf": "ivf"}


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexConfig:
    """Which index is built, and its parameters by name: libraries disagree about the defaults."""

    kind: IndexKind = "exact"
    """"exact" needs no extra and is always right; the others need the extra "faiss"."""
    hnsw_links: int = 32
    """Links per node of the HNSW graph (M)."""
    hnsw_build_width: int = 200
    """Candidates kept while the HNSW graph is built (efConstruction)."""
    hnsw_search_width: int = 256
    """Candidates kept while the HNSW graph is searched (efSearch)."""
    ivf_lists: int | None = None
    """Number of inverted lists; left out, 4 times the square root of the number of items."""
    ivf_probes: int = 64
    """Inverted lists looked into per query (nprobe)."""
    build_threads: int = 1
    """Threads that build a FAISS index. More than one makes the HNSW graph differ from build to build."""

    def __post_init__(self) -> None:
        numbers = {
            "hnsw_links": (self.hnsw_links, 2),
            "hnsw_build_width": (self.hnsw_build_width, 1),
            "hnsw_search_width": (self.hnsw_search_width, 1),
            "ivf_lists": (1 if self.ivf_lists is None else self.ivf_lists, 1),
            "ivf_probes": (self.ivf_probes, 1),
            "build_threads": (self.build_threads, 1),
        }
        for name, (value, least) in numbers.items():
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")

    def build(self, vector_ID: Float32Array, *, seed: int = 0) -> Index:
        """Build the index over float32 vectors, whose rows are the items."""
        if self.kind == "exact":
            return ExactIndex(vector_ID)
        return FaissIndex.build(
            vector_ID,
            kind=_FAISS_KINDS[self.kind],
            links=self.hnsw_links,
            build_width=self.hnsw_build_width,
            search_width=self.hnsw_search_width,
            lists=self.ivf_lists,
            probes=self.ivf_probes,
            build_threads=self.build_threads,
            seed=seed,
        )


def load_index(folder: Path) -> Index:
    """Read an index that `Index.save` wrote.

    Raises:
        RunError: If `folder` holds no index, or a damaged one.
    """
    description, content = read_index(folder)
    kind = description.get("kind")
    if kind == "exact":
        return ExactIndex(vectors_of_exact(content, folder))
    if kind in _FAISS_KINDS:
        return FaissIndex.load(description, content, folder)
    raise RunError(f"{folder} holds an index of kind {kind!r}, which this program does not know: build it again")
