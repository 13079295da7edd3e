"""What only the FAISS members have."""

import sys

import numpy as np
import numpy.typing as npt
import pytest

from lowerfunnel.errors import MissingPackageError
from lowerfunnel.index.allowed import Allowed
from lowerfunnel.index.exact import ExactIndex
from lowerfunnel.index.faiss_graph import Graph
from lowerfunnel.index.faiss_index import FaissIndex
from lowerfunnel.index.faiss_lists import Lists
from lowerfunnel.index.plan import Widths
from lowerfunnel.index.settings import IndexConfig


def unit_vectors(rows: int, width: int, seed: int) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    centre = rng.standard_normal((20, width))
    vector = (centre[rng.integers(0, 20, rows)] + 0.5 * rng.standard_normal((rows, width))).astype(np.float32)
    unit: npt.NDArray[np.float32] = vector / np.linalg.norm(vector, axis=1, keepdims=True)
    return unit


@pytest.mark.parametrize(("kind", "least_recall"), [("flat", 1.0), ("hnsw", 0.95), ("ivf", 0.95), ("ivfpq", 0.95)])
def test_recall_against_exact_search_is_high(kind: str, least_recall: float) -> None:
    vector_ID, query_QD = unit_vectors(3_000, 16, 0), unit_vectors(50, 16, 1)
    truth = ExactIndex(vector_ID).search(query_QD, 10).item_QK
    index = FaissIndex.build(vector_ID, kind=kind, probes=32)  # type: ignore[arg-type]
    found = index.search(query_QD, 10).item_QK
    shared = sum(len(set(a) & set(b)) for a, b in zip(truth.tolist(), found.tolist(), strict=True))
    assert shared / truth.size >= least_recall


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf", "ivfpq"])
def test_a_query_that_excludes_very_much_is_searched_exactly(kind: str) -> None:
    vector_ID, query_QD = unit_vectors(3_000, 16, 0), unit_vectors(2, 16, 1)
    exclusions = {"excluded_offsets": np.array([0, 2_900, 2_900]), "excluded_item": np.arange(2_900, dtype=np.int32)}
    truth = ExactIndex(vector_ID).search(query_QD, 100, **exclusions)
    found = FaissIndex.build(vector_ID, kind=kind).search(query_QD, 100, **exclusions)  # type: ignore[arg-type]
    assert found.item_QK[0].tolist() == truth.item_QK[0].tolist()


def put_together(method: Graph | Lists, kind: str, width: int) -> FaissIndex:
    return FaissIndex(
        method,
        kind=kind,  # type: ignore[arg-type]
        width=width,
        widths=Widths(points=((100, 8),), growth=1.0),
        largest_norm=1.0,
        lost_U=method.lost(8),
    )


def test_an_item_cut_off_from_the_graph_is_still_found() -> None:
    faiss = pytest.importorskip("faiss")
    vector_ID = unit_vectors(400, 8, 0)
    method = FaissIndex.build(vector_ID, kind="hnsw", links=4).method
    assert isinstance(method, Graph)
    graph = method.faiss_index.hnsw
    lost = 123 if graph.entry_point != 123 else 124
    neighbour = faiss.rev_swig_ptr(graph.neighbors.data(), graph.neighbors.size())
    neighbour[neighbour == lost] = -1  # as an unlucky build would leave it: with links out of it, none into it
    assert lost in method.unreachable().tolist()
    mended = put_together(method, "hnsw", 8)
    assert lost in mended.lost.tolist()
    found = mended.search(vector_ID[lost : lost + 1], 5)
    assert found.item_QK[0, 0] == lost
    assert len(set(found.item_QK[0].tolist())) == 5
    barred = mended.search(vector_ID[lost : lost + 1], 5, allowed=Allowed.everything(400).without(np.array([lost])))
    assert lost not in barred.item_QK[0].tolist()


def test_an_item_whose_code_is_broken_is_still_found() -> None:
    faiss = pytest.importorskip("faiss")
    vector_ID = unit_vectors(800, 8, 0)
    method = FaissIndex.build(vector_ID, kind="ivfpq", lists=4, refine=1).method
    assert isinstance(method, Lists)
    before = set(method.lost(8).tolist())
    inverted = faiss.downcast_index(method.faiss_index.base_index).invlists
    item = int(faiss.rev_swig_ptr(inverted.get_ids(2), 1)[0])
    code = faiss.rev_swig_ptr(inverted.get_codes(2), 4)
    worst, worst_score = code.copy(), np.inf
    for other in range(0, int(inverted.list_size(2)) * 4, 4):  # give it the code of the least like it
        like = int(faiss.rev_swig_ptr(inverted.get_ids(2), int(inverted.list_size(2)))[other // 4])
        if vector_ID[like] @ vector_ID[item] < worst_score:
            worst_score = float(vector_ID[like] @ vector_ID[item])
            worst = faiss.rev_swig_ptr(inverted.get_codes(2), other + 4)[other:].copy()
    code[:] = worst
    mended = put_together(method, "ivfpq", 8)
    assert item not in before
    assert item in mended.lost.tolist()
    found = mended.search(vector_ID[item : item + 1], 5)
    assert found.item_QK[0, 0] == item
    assert len(set(found.item_QK[0].tolist())) == 5


@pytest.mark.parametrize("kind", ["hnsw", "ivf", "ivfpq"])
def test_every_item_finds_itself(kind: str) -> None:
    vector_ID = unit_vectors(2_000, 8, 0)
    index = FaissIndex.build(vector_ID, kind=kind, links=4, build_width=20)  # type: ignore[arg-type]
    assert (index.search(vector_ID, 1).item_QK[:, 0] == np.arange(2_000)).mean() > 0.99


@pytest.mark.parametrize("kind", ["hnsw", "ivf", "ivfpq"])
def test_vectors_of_very_unequal_length_cost_no_recall(kind: str) -> None:
    rng = np.random.default_rng(0)
    vector_ID = np.column_stack([unit_vectors(5_000, 16, 0), rng.uniform(-16, -5, 5_000)]).astype(np.float32)
    query_QD = np.column_stack([unit_vectors(50, 16, 1), np.full(50, 0.1)]).astype(np.float32)
    truth = ExactIndex(vector_ID).search(query_QD, 10).item_QK
    found = FaissIndex.build(vector_ID, kind=kind).search(query_QD, 10).item_QK  # type: ignore[arg-type]
    shared = sum(len(set(a) & set(b)) for a, b in zip(truth.tolist(), found.tolist(), strict=True))
    assert shared / truth.size >= 0.95


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf", "ivfpq"])
def test_a_search_leaves_the_number_of_threads_as_it_was(kind: str) -> None:
    faiss = pytest.importorskip("faiss")
    index = FaissIndex.build(unit_vectors(300, 8, 0), kind=kind, build_threads=2)  # type: ignore[arg-type]
    before = faiss.omp_get_max_threads()
    index.search(unit_vectors(3, 8, 1), 5)
    assert faiss.omp_get_max_threads() == before


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
