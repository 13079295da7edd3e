"""Widths that were measured, and what becomes of them."""

import json
from pathlib import Path

import numpy as np
import pytest

from lowerfunnel.errors import RunError
from lowerfunnel.index.allowed import Allowed
from lowerfunnel.index.exact import ExactIndex
from lowerfunnel.index.faiss_index import FaissIndex
from lowerfunnel.index.ranking import Ranking
from lowerfunnel.index.settings import IndexConfig, load_index
from lowerfunnel.index.tune import recall, tune


def vectors(rows: int, seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal((rows, 10)).astype(np.float32)
    return vector / np.linalg.norm(vector, axis=1, keepdims=True)


def ranking(*lists: list[int]) -> Ranking:
    item_QK = np.array(lists, np.int32)
    return Ranking(item_QK=item_QK, score_QK=np.zeros(item_QK.shape, np.float32))


def test_recall_by_hand() -> None:
    truth = ranking([1, 2, 3, 4], [5, 6, -1, -1], [-1, -1, -1, -1])
    found = ranking([4, 9, 8, 1], [6, -1, -1, -1], [-1, -1, -1, -1])
    assert recall(found, truth) == pytest.approx((2 / 4 + 1 / 2 + 1) / 3)


@pytest.mark.parametrize("kind", ["faiss_hnsw", "faiss_ivf", "faiss_ivfpq"])
def test_the_target_is_reached_on_other_queries_and_the_curve_is_kept(kind: str, tmp_path: Path) -> None:
    vector_ID, query_QD = vectors(6_000, 0), vectors(120, 1)
    config = IndexConfig(kind=kind, target_recall=0.95, target_k=20, hnsw_build_width=40, ivf_probes=1)  # type: ignore[arg-type]
    index = config.build(vector_ID, query_QD=query_QD)
    assert isinstance(index, FaissIndex)
    other_QD = vectors(100, 2)
    assert recall(index.search(other_QD, 20), ExactIndex(vector_ID).search(other_QD, 20)) >= 0.92
    index.save(tmp_path)
    curve = json.loads((tmp_path / "index.json").read_text())["curve"]
    assert {"share", "width", "recall", "p50_ms", "p99_ms"} == set(curve[0])
    unfiltered = [point for point in curve if point["share"] == 1]
    assert [point["width"] for point in unfiltered] == sorted({point["width"] for point in unfiltered})
    assert unfiltered[-1]["recall"] >= 0.95 > max([0, *(point["recall"] for point in unfiltered[:-1])])
    loaded = load_index(tmp_path)
    assert isinstance(loaded, FaissIndex)
    assert (loaded.widths, list(loaded.curve)) == (index.widths, curve)


def test_a_search_of_a_given_width_is_made_whatever_the_plan_would_be() -> None:
    index = FaissIndex.build(vectors(6_000, 0), kind="ivf", exact_item_ns=1e-3)
    allowed = Allowed.of_places(np.arange(0, 6_000, 40), items=6_000)
    assert index.plan(allowed, 10).strategy == "exact"
    assert index.search_with_width(vectors(5, 1), 10, 20, allowed=allowed).lengths.min() > 0


def test_a_higher_target_is_searched_more_widely() -> None:
    index = FaissIndex.build(vectors(4_000, 0), kind="ivf")
    low, high = (tune(index, vectors(60, 1), target_recall=target, k=10).widths.at(1) for target in (0.6, 0.99))
    assert low < high


def test_a_target_out_of_reach_says_how_far_it_came() -> None:
    index = FaissIndex.build(vectors(3_000, 0), kind="ivfpq", quantised_bytes=1, refine=1)
    with pytest.raises(RunError, match=r"no search width reaches a recall of 1.0 at 10 \(the widest, \d+, finds 0\."):
        tune(index, vectors(30, 1), target_recall=1.0, k=10)


def test_what_cannot_be_tuned_is_refused() -> None:
    vector_ID = vectors(100, 0)
    with pytest.raises(ValueError, match="got flat"):
        tune(FaissIndex.build(vector_ID, kind="flat"), vector_ID, target_recall=0.9, k=5)
    with pytest.raises(ValueError, match="at least one query"):
        tune(FaissIndex.build(vector_ID, kind="ivf"), vector_ID[:0], target_recall=0.9, k=5)
    with pytest.raises(ValueError, match="measured on queries of the user tower"):
        IndexConfig(kind="faiss_ivf", target_recall=0.9).build(vector_ID)
    with pytest.raises(ValueError, match=r"must lie in \(0, 1\], got 1.5"):
        IndexConfig(target_recall=1.5)
