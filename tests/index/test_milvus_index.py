"""Milvus behind the contract, against Milvus Lite: the real client, the real protocol, a small server."""

from concurrent import futures
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowerfunnel.errors import DataError
from lowerfunnel.index import milvus_collection, milvus_index
from lowerfunnel.index.allowed import Allowed
from lowerfunnel.index.exact import ExactIndex
from lowerfunnel.index.milvus_collection import MilvusCollection
from lowerfunnel.index.milvus_index import MilvusIndex

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")

FloatArray = npt.NDArray[np.float32]
MANY = 24_000  # more than twice the longest list of ids, so that every way to filter is met with its own constants


@pytest.fixture(scope="module")
def many(lite: str) -> tuple[MilvusIndex, FloatArray]:
    """An index over many items, with integer elements: scores are exact, and many are equal."""
    vector_ID = np.random.default_rng(3).integers(-9, 10, (MANY, 4)).astype(np.float32)
    return MilvusIndex.build(vector_ID, uri=lite, links=8, build_width=40, search_width=64), vector_ID


def client(lite: str) -> Any:
    from pymilvus import MilvusClient

    return MilvusClient(lite)


def small(lite: str, items: int = 10, **named: Any) -> tuple[MilvusIndex, FloatArray]:
    vector_ID = np.random.default_rng(items).standard_normal((items, 3)).astype(np.float32)
    return MilvusIndex.build(vector_ID, uri=lite, **named), vector_ID


@dataclass(frozen=True)
class Search:
    query_QD: FloatArray
    k: int
    excluded: list[set[int]]
    allowed: Allowed | None

    def run(self, index: MilvusIndex) -> Any:
        return index.search(
            self.query_QD,
            self.k,
            excluded_offsets=np.cumsum([0, *map(len, self.excluded)]),
            excluded_item=np.array([item for items in self.excluded for item in sorted(items)], np.int32),
            allowed=self.allowed,
        )


def check_promises(search: Search, vector_ID: FloatArray, ranking: Any, *, exact: bool = False) -> None:
    score_QI = search.query_QD.astype(np.float64) @ vector_ID.astype(np.float64).T
    allowed = np.arange(len(vector_ID)) if search.allowed is None else search.allowed.places()
    for query, excluded in enumerate(search.excluded):
        eligible = np.setdiff1d(allowed, np.fromiter(excluded, np.int64, len(excluded)))
        found = ranking.item_QK[query][ranking.item_QK[query] >= 0].tolist()
        score_K = ranking.score_QK[query]
        assert len(found) == min(search.k, len(eligible)), "a list is short although items are eligible"
        assert len(set(found)) == len(found)
        assert np.isin(found, eligible).all()
        assert score_K[: len(found)].tolist() == score_QI[query, found].tolist()
        assert (ranking.item_QK[query, len(found) :] == -1).all()
        assert np.isneginf(score_K[len(found) :]).all()
        order = list(zip((-score_K[: len(found)]).tolist(), found, strict=True))
        assert order == sorted(order)
        if exact:
            best = eligible[np.lexsort((eligible, -score_QI[query, eligible]))][: search.k]
            assert found == best.tolist()


@st.composite
def searches(draw: st.DrawFn, items: int, width: int) -> Search:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    queries = draw(st.integers(1, 5))
    allowed_part, excluded_part = draw(st.sampled_from([None, 0, 0.1, 0.5, 0.9, 1])), draw(st.sampled_from([0, 0.1, 1]))
    return Search(
        query_QD=rng.integers(-9, 10, (queries, width)).astype(np.float32),
        k=draw(st.integers(1, items + 3)),
        excluded=[set(np.flatnonzero(rng.random(items) < excluded_part * rng.random())) for _ in range(queries)],
        allowed=None if allowed_part is None else Allowed.of_mask(rng.random(items) < allowed_part),
    )


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize(
    ("read_at_once", "id_list"), [(1024, 10_000), (0, 10_000), (0, 0)], ids=["read", "lists", "after"]
)
def test_every_promise_holds_however_the_allowed_items_are_filtered(
    lite: str, width: int, read_at_once: int, id_list: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milvus_index, "_READ_AT_ONCE", read_at_once)
    monkeypatch.setattr(milvus_index, "LONGEST_ID_LIST", id_list)
    vector_ID = np.random.default_rng(width).integers(-3, 4, (40, width)).astype(np.float32)
    index = MilvusIndex.build(vector_ID, uri=lite, links=2, build_width=4, search_width=1)

    @given(search=searches(len(vector_ID), width))
    @settings(max_examples=60, deadline=None)
    def promises_hold(search: Search) -> None:
        read = search.allowed is not None and search.allowed.count <= read_at_once
        check_promises(search, vector_ID, search.run(index), exact=read)

    promises_hold()
    index.drop()


@pytest.mark.parametrize("count", [0, 1, 500, 1024, 1025, 9_999, 12_000, 13_999, 14_000, 23_000, MANY])
def test_the_promises_hold_for_sets_of_every_size(many: tuple[MilvusIndex, FloatArray], count: int) -> None:
    index, vector_ID = many
    rng = np.random.default_rng(count)
    search = Search(
        query_QD=rng.integers(-9, 10, (3, 4)).astype(np.float32),
        k=30,
        excluded=[set(), set(rng.choice(MANY, 200).tolist()), set(range(0, MANY, 3))],
        allowed=Allowed.of_places(rng.permutation(MANY)[:count], items=MANY),
    )
    check_promises(search, vector_ID, search.run(index), exact=count <= 1024)


@pytest.mark.parametrize("count", [5000, 12_000, 14_000, 20_000])
def test_milvus_fills_the_lists_of_large_sets_without_any_vector_being_read(
    many: tuple[MilvusIndex, FloatArray], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, vector_ID = many

    def read(*_: object) -> None:
        raise AssertionError("vectors were read although Milvus can filter")

    monkeypatch.setattr(MilvusCollection, "vectors", read)
    rng = np.random.default_rng(count)
    allowed = Allowed.of_places(rng.permutation(MANY)[:count], items=MANY)
    search = Search(rng.integers(-9, 10, (3, 4)).astype(np.float32), 30, [set(), set(), set()], allowed)
    check_promises(search, vector_ID, search.run(index))


def test_allowed_items_that_the_graph_does_not_lead_to_are_found_all_the_same(
    many: tuple[MilvusIndex, FloatArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milvus_index, "LONGEST_ID_LIST", 0)
    monkeypatch.setattr(milvus_index, "LONGEST_LIST", 64)
    index, vector_ID = many
    query_D = np.full(4, 5, np.float32)
    worst = np.argsort(vector_ID @ query_D, kind="stable")[:5000]
    # The worst items of the query: no list that Milvus answers reaches them, and there is no filter.
    search = Search(query_D[None], 20, [set()], Allowed.of_places(worst, items=MANY))
    check_promises(search, vector_ID, search.run(index), exact=True)


def test_more_items_excluded_than_milvus_answers_leave_the_next_best(
    many: tuple[MilvusIndex, FloatArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milvus_index, "LONGEST_LIST", 64)
    index, vector_ID = many
    query_D = np.array([7, -3, 1, 2], np.float32)
    best = np.argsort(-(vector_ID @ query_D), kind="stable")[:3000]
    search = Search(query_D[None], 25, [set(best.tolist())], None)
    check_promises(search, vector_ID, search.run(index), exact=True)


def test_lists_longer_than_milvus_answers_are_refused_unless_few_items_are_eligible(
    many: tuple[MilvusIndex, FloatArray],
) -> None:
    index, vector_ID = many
    query_QD = np.ones((1, 4), np.float32)
    with pytest.raises(DataError, match="lists of 20000 items were asked for, and Milvus answers at most 16384"):
        index.search(query_QD, 20_000)
    search = Search(query_QD, 20_000, [set()], Allowed.of_places(np.arange(100), items=MANY))
    check_promises(search, vector_ID, search.run(index), exact=True)
    longest = index.search(query_QD, 16_384)
    check_promises(Search(query_QD, 16_384, [set()], None), vector_ID, longest)


def test_the_graph_finds_most_of_the_best_and_a_wider_search_more(lite: str) -> None:
    rng = np.random.default_rng(0)
    vector_ID, query_QD = (rng.standard_normal((n, 16)).astype(np.float32) for n in (3000, 50))
    best_QK = ExactIndex(vector_ID).search(query_QD, 10).item_QK

    def recall(search_width: int) -> float:
        index = MilvusIndex.build(vector_ID, uri=lite, links=6, build_width=20, search_width=search_width)
        found_QK = index.search(query_QD, 10).item_QK
        index.drop()
        return float(np.mean([np.isin(a, b).mean() for a, b in zip(found_QK, best_QK, strict=True)]))

    assert recall(10) + 0.05 < recall(400)
    assert recall(400) > 0.95


def test_milvus_is_told_the_parameters_by_name(lite: str) -> None:
    index, _ = small(lite, links=7, build_width=33)
    described = client(lite).describe_index(index.collection, "vector")
    assert (described["index_type"], described["metric_type"]) == ("HNSW", "IP")
    assert (int(described["params"]["M"]), int(described["params"]["efConstruction"])) == (7, 33)


def test_many_queries_and_vectors_go_in_several_messages(lite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(milvus_collection, "_MESSAGE_BYTES", 300)
    monkeypatch.setattr(milvus_index, "_FOUND_A_CALL", 64)
    monkeypatch.setattr(milvus_index, "_ROWS_A_PAGE", 7)
    rng = np.random.default_rng(0)
    vector_ID, query_QD = (rng.integers(-9, 10, (n, 3)).astype(np.float32) for n in (100, 1500))
    index = MilvusIndex.build(vector_ID, uri=lite)
    exact = ExactIndex(vector_ID)
    # Each query must not get its own best five, so answers to the wrong query would show.
    excluded = {
        "excluded_offsets": np.arange(0, 5 * len(query_QD) + 1, 5),
        "excluded_item": exact.search(query_QD, 5).item_QK.ravel(),
    }
    found = index.search(query_QD, 8, **excluded)
    assert found.score_QK.tolist() == exact.search(query_QD, 8, **excluded).score_QK.tolist()
    read = index.search(query_QD[:40], 8, allowed=Allowed.everything(100))
    assert read.item_QK.tolist() == exact.search(query_QD[:40], 8).item_QK.tolist()


def test_threads_get_the_same_lists(lite: str) -> None:
    index, vector_ID = small(lite, 200)
    alone = [index.search(vector_ID[i : i + 3], 9).item_QK.tolist() for i in range(40)]
    with futures.ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda i: index.search(vector_ID[i : i + 3], 9).item_QK.tolist(), range(40)))
    assert together == alone
