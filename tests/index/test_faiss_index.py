"""What only the FAISS members have."""

import sys

import numpy as np
import numpy.typing as npt
import pytest

from lowerfunnel.errors import MissingPackageError
from lowerfunnel.index.exact import ExactIndex
from lowerfunnel.index.faiss_index import FaissIndex, _unreachable
from lowerfunnel.index.settings import IndexConfig


def unit_vectors(rows: int, width: int, seed: int) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    centre = rng.standard_normal((20, width))
    vector = (centre[rng.integers(0, 20, rows)] + 0.5 * rng.standard_normal((rows, width))).astype(np.float32)
    unit: npt.NDArray[np.float32] = vector / np.linalg.norm(vector, axis=1, keepdims=True)
    return unit


@pytest.mark.parametrize(("kind", "least_recall"), [("flat", 1.0), ("hnsw", 0.95), ("ivf", 0.95)])
def test_recall_against_exact_search_is_high(kind: str, least_recall: float) -> None:
    vector_ID, query_QD = unit_vectors(3_000, 16, 0), unit_vectors(50, 16, 1)
    truth = ExactIndex(vector_ID).search(query_QD, 10).item_QK
    index = FaissIndex.build(vector_ID, kind=kind, probes=32)  # type: ignore[arg-type]
    found = index.search(query_QD, 10).item_QK
    shared = sum(len(set(a) & set(b)) for a, b in zip(truth.tolist(), found.tolist(), strict=True))
    assert shared / truth.size >= least_recall


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_a_query_that_excludes_very_much_is_searched_exactly(kind: str) -> None:
    vector_ID, query_QD = unit_vectors(3_000, 16, 0), unit_vectors(2, 16, 1)
    exclusions = {"excluded_offsets": np.array([0, 2_900, 2_900]), "excluded_item": np.arange(2_900, dtype=np.int32)}
    truth = ExactIndex(vector_ID).search(query_QD, 100, **exclusions)
    found = FaissIndex.build(vector_ID, kind=kind).search(query_QD, 100, **exclusions)  # type: ignore[arg-type]
    assert found.item_QK[0].tolist() == truth.item_QK[0].tolist()


def test_an_item_cut_off_from_the_graph_is_still_found() -> None:
    faiss = pytest.importorskip("faiss")
    vector_ID = unit_vectors(400, 8, 0)
    index = FaissIndex.build(vector_ID, kind="hnsw", links=4)
    graph = index._faiss_index.hnsw
    lost = 123 if graph.entry_point != 123 else 124
    neighbour = faiss.rev_swig_ptr(graph.neighbors.data(), graph.neighbors.size())
    neighbour[neighbour == lost] = -1  # as an unlucky build would leave it: with links out of it, none into it
    assert lost in _unreachable(index._faiss_index).tolist()
    mended = FaissIndex(index._faiss_index, kind="hnsw", search_width=64, probes=1, largest_norm=1.0)
    assert lost in mended.unreachable.tolist()
    found = mended.search(vector_ID[lost : lost + 1], 5)
    assert found.item_QK[0, 0] == lost
    assert len(set(found.item_QK[0].tolist())) == 5


def test_every_item_finds_itself() -> None:
    vector_ID = unit_vectors(2_000, 8, 0)
    index = FaissIndex.build(vector_ID, kind="hnsw", links=4, build_width=20)
    assert (index.search(vector_ID, 1).item_QK[:, 0] == np.arange(2_000)).mean() > 0.99


def test_the_same_build_gives_the_same_graph() -> None:
    vector_ID, query_QD = unit_vectors(1_000, 8, 0), unit_vectors(20, 8, 1)
    first, second = (
        FaissIndex.build(vector_ID, kind="hnsw", links=4, build_width=10, search_width=5) for _ in range(2)
    )
    assert first.search(query_QD, 5).item_QK.tolist() == second.search(query_QD, 5).item_QK.tolist()


def test_more_lists_than_items_are_refused() -> None:
    with pytest.raises(ValueError, match="3 items cannot fill 8 inverted lists"):
        FaissIndex.build(np.eye(3, dtype=np.float32), kind="ivf", lists=8)


def test_a_missing_faiss_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'lowerfunnel\[faiss\]'"):
        IndexConfig(kind="faiss_flat").build(np.eye(3, dtype=np.float32))
