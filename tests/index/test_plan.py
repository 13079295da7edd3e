"""Which way a filtered search goes, and how wide."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.index.allowed import Allowed
from lowerfunnel.index.exact import ExactIndex
from lowerfunnel.index.faiss_index import FaissIndex
from lowerfunnel.index.plan import Plan, Widths
from lowerfunnel.index.tune import recall

MEASURED = Widths(points=((100, 10), (1_000, 40), (10_000, 90)), growth=0.5)


@given(st.floats(0.001, 1e9), st.floats(1, 1e3))
def test_a_deeper_search_is_never_narrower(depth: float, times: float) -> None:
    assert MEASURED.at(depth) <= MEASURED.at(depth * times)


def test_widths_by_hand() -> None:
    assert [MEASURED.at(depth) for depth in (1, 100, 1_000, 10_000, 40_000)] == [10, 10, 40, 90, 180]
    assert MEASURED.at(10**2.5 + 0.01) == 20  # half way on both logarithmic scales


@pytest.mark.parametrize("points", [(), ((10, 5), (10, 6)), ((10, 5), (20, 4)), ((10, 0),)])
def test_points_that_do_not_rise_are_refused(points: tuple[tuple[float, int], ...]) -> None:
    with pytest.raises(ValueError, match="rising depth and width"):
        Widths(points=points, growth=1.0)


def clustered(rows: int, seed: int) -> np.ndarray:
    """Unit vectors around 40 centres, with a popularity coordinate of much larger spread."""
    rng = np.random.default_rng(seed)
    centre = np.random.default_rng(99).standard_normal((40, 12))
    vector = centre[rng.integers(0, 40, rows)] + 0.7 * rng.standard_normal((rows, 12))
    vector /= np.linalg.norm(vector, axis=1, keepdims=True)
    return np.column_stack([vector, rng.normal(-12, 2, rows)]).astype(np.float32)


def queries(rows: int, seed: int) -> np.ndarray:
    """Directions of another distribution than the items', and a constant weight of popularity."""
    query = clustered(rows, seed)
    query[:, :-1] += np.random.default_rng(seed).normal(0.3, 0.3, (rows, 12)).astype(np.float32)
    query[:, -1] = 0.1
    return query


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return clustered(20_000, 0)


@pytest.mark.parametrize(("kind", "strategy"), [("hnsw", "graph"), ("ivf", "lists"), ("ivfpq", "lists")])
def test_few_items_are_scored_one_by_one_and_many_are_not(vectors: np.ndarray, kind: str, strategy: str) -> None:
    index = FaissIndex.build(vectors, kind=kind, build_width=40, links=16, probes=100, search_width=400)  # type: ignore[arg-type]
    truth = ExactIndex(vectors)
    query_QD = queries(40, 1)
    rng = np.random.default_rng(2)
    assert index.plan(None, 20).strategy == strategy
    assert index.plan(Allowed.everything(20_000), 20).strategy in (strategy, "exact")
    few = Allowed.of_mask(rng.random(20_000) < 0.001)
    assert index.plan(few, 20) == Plan(strategy="exact", width=few.count)
    widths = []
    for share in (None, 0.5, 0.2, 0.1, 0.02, 0.001):
        allowed = None if share is None else Allowed.of_mask(rng.random(20_000) < share)
        plan = index.plan(allowed, 20)
        found, best = (each.search(query_QD, 20, allowed=allowed) for each in (index, truth))
        assert recall(found, best) >= (1.0 if plan.strategy == "exact" else 0.97), (share, plan)
        widths += [plan.width] if plan.strategy == strategy else []
    assert widths == sorted(widths), "a narrower filter was searched less widely"


@pytest.mark.parametrize("kind", ["hnsw", "ivf", "ivfpq"])
@pytest.mark.parametrize("side", [1, -1])
def test_a_filter_for_what_the_query_likes_best_or_least_costs_no_recall(
    vectors: np.ndarray, kind: str, side: int
) -> None:
    """The items around 4 of 40 centres: next to the query a far larger, or smaller, share than a tenth is allowed."""
    index = FaissIndex.build(vectors, kind=kind, probes=100, exact_item_ns=1e9)  # type: ignore[arg-type]
    centre = np.random.default_rng(99).standard_normal((40, 12))
    centre_I = (vectors[:, :-1] @ (centre / np.linalg.norm(centre, axis=1, keepdims=True)).T).argmax(axis=1)
    query_QD = queries(30, 3)
    shares = []
    for query in range(len(query_QD)):
        likes = centre @ query_QD[query, :-1] * side
        allowed = Allowed.of_mask(np.isin(centre_I, np.argsort(-likes)[:4]))
        one = query_QD[query : query + 1]
        assert index.plan(allowed, 20).strategy != "exact"
        found, best = (each.search(one, 20, allowed=allowed) for each in (index, ExactIndex(vectors)))
        assert found.lengths.tolist() == [20]
        shares.append(recall(found, best))
    assert np.mean(shares) >= 0.97


@pytest.mark.parametrize(
    ("kind", "exact_item_ns", "least"),
    [("hnsw", 1e9, 0.97), ("hnsw", 300.0, 0.97), ("ivf", 80.0, 0.9), ("ivfpq", 80.0, 0.9)],
)
@pytest.mark.parametrize("lost", [0, 200])
def test_half_a_catalogue_that_the_query_likes_least_costs_no_recall(
    vectors: np.ndarray, kind: str, exact_item_ns: float, least: float, lost: int
) -> None:
    """Neither does a search end among what is barred, nor do items that lie beside the index fill the list up."""
    built = FaissIndex.build(vectors, kind=kind, build_width=40, links=16, probes=100, search_width=100)  # type: ignore[arg-type]
    index = FaissIndex(
        built.method,
        kind=built.kind,
        width=built.width,
        widths=built.widths,
        largest_norm=built.largest_norm,
        lost_U=np.random.default_rng(1).choice(20_000, lost, replace=False).astype(np.int32),
        exact_item_ns=exact_item_ns,
    )
    query_QD = queries(30, 3)
    shares = []
    for query in range(len(query_QD)):
        score_I = vectors @ query_QD[query]
        allowed = Allowed.of_places(np.argsort(score_I)[:10_000], items=20_000)
        one = query_QD[query : query + 1]
        assert index.plan(allowed, 100).strategy != "exact"
        found, best = (each.search(one, 100, allowed=allowed) for each in (index, ExactIndex(vectors)))
        shares.append(recall(found, best))
    assert np.mean(shares) >= least


def test_widening_ends_where_a_catalogue_has_fewer_than_k_eligible(vectors: np.ndarray) -> None:
    index = FaissIndex.build(vectors[:2_000], kind="ivf", probes=1, exact_item_ns=1e9)
    allowed = Allowed.of_places(np.arange(0, 2_000, 50), items=2_000)
    found = index.search(queries(3, 4), 100, allowed=allowed)
    assert found.lengths.tolist() == [40, 40, 40]
    assert all(sorted(items[:40]) == list(range(0, 2_000, 50)) for items in found.item_QK.tolist())


@pytest.mark.parametrize("kind", ["hnsw", "ivf", "ivfpq"])
def test_what_one_query_bought_never_comes_back_however_much_it_was(vectors: np.ndarray, kind: str) -> None:
    index = FaissIndex.build(vectors[:3_000], kind=kind, build_width=20, links=8, exact_item_ns=1e9)  # type: ignore[arg-type]
    query_QD = queries(1, 5)
    best = ExactIndex(vectors[:3_000]).search(query_QD, 400).item_QK[0]
    for bought in (best[:5], best[:300]):
        found = index.search(
            query_QD, 50, excluded_offsets=np.array([0, len(bought)]), excluded_item=bought.astype(np.int32)
        )
        assert found.lengths.tolist() == [50]
        assert not set(found.item_QK[0].tolist()) & set(bought.tolist())
