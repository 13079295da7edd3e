"""Every index keeps the same promises. A new member is one line of `INDEXES`.

Exact members are held to a float64 reference. Vectors with small integer elements make scores exact in float32, so
ties are ties, whatever the order of summation.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowerfunnel.errors import DataError
from lowerfunnel.index.allowed import Allowed
from lowerfunnel.index.contract import Index
from lowerfunnel.index.exact import ExactIndex
from lowerfunnel.index.faiss_index import FaissIndex, FaissKind
from lowerfunnel.index.milvus_index import MilvusIndex
from lowerfunnel.index.plan import Plan
from lowerfunnel.index.ranking import Ranking
from lowerfunnel.index.settings import load_index

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Member:
    build: Callable[[FloatArray], Index]
    exact: bool
    """Whether it finds the true best items, and breaks a tie at the end of a list by the lower item."""


def approximate(vector_ID: FloatArray, kind: FaissKind, **parameters: int) -> FaissIndex:
    """Build so narrow, and with exact scoring so dear, that small catalogues are searched approximately too."""
    if kind in ("ivf", "ivfpq"):
        parameters["lists"] = max(1, min(6, len(vector_ID)))
    return FaissIndex.build(vector_ID, kind=kind, exact_item_ns=1e9, **parameters)


class Lite:
    """The folder of Milvus Lite, whose server runs while these tests do."""

    uri: str | None = None


def in_milvus(vector_ID: FloatArray) -> MilvusIndex:
    if Lite.uri is None:
        pytest.skip("needs Milvus Lite; install it with: pip install pymilvus milvus-lite")
    return MilvusIndex.build(vector_ID, uri=Lite.uri, links=4)


@pytest.fixture(scope="module", autouse=True)
def _milvus_lite(request: pytest.FixtureRequest) -> Iterator[None]:
    if find_spec("pymilvus") and find_spec("milvus_lite"):
        Lite.uri = request.getfixturevalue("lite")
    yield
    Lite.uri = None


INDEXES = {
    "exact": Member(build=ExactIndex, exact=True),
    "exact_small_blocks": Member(build=lambda v: ExactIndex(v, block_queries=2, tile_items=5, threads=2), exact=True),
    "faiss_flat": Member(build=lambda v: FaissIndex.build(v, kind="flat"), exact=False),
    "faiss_hnsw": Member(build=lambda v: FaissIndex.build(v, kind="hnsw", links=4), exact=False),
    "faiss_hnsw_narrow": Member(build=lambda v: approximate(v, "hnsw", links=2, search_width=2), exact=False),
    "faiss_ivf": Member(build=lambda v: FaissIndex.build(v, kind="ivf", probes=2), exact=False),
    "faiss_ivf_narrow": Member(build=lambda v: approximate(v, "ivf", probes=1), exact=False),
    "faiss_ivfpq": Member(build=lambda v: FaissIndex.build(v, kind="ivfpq", probes=2), exact=False),
    "faiss_ivfpq_narrow": Member(
        build=lambda v: approximate(v, "ivfpq", probes=1, quantised_bytes=1, refine=1), exact=False
    ),
    "milvus": Member(build=in_milvus, exact=False),
}
EXACT = [name for name, member in INDEXES.items() if member.exact]
each_index = pytest.mark.parametrize("name", INDEXES)
each_exact = pytest.mark.parametrize("name", EXACT)


@dataclass(frozen=True)
class Search:
    vector_ID: FloatArray
    query_QD: FloatArray
    k: int
    excluded: list[list[int]]
    eligible: frozenset[int] | None
    """The items that may come back; None for all."""

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        return np.cumsum([0, *(len(items) for items in self.excluded)], dtype=np.int64)

    @property
    def excluded_item(self) -> npt.NDArray[np.int32]:
        return np.array([item for items in self.excluded for item in items], np.int32)

    def run(self, index: Index) -> Ranking:
        return index.search(
            self.query_QD,
            self.k,
            excluded_offsets=self.offsets,
            excluded_item=self.excluded_item,
            allowed=self.allowed,
        )

    @property
    def allowed(self) -> Allowed | None:
        if self.eligible is None:
            return None
        return Allowed.of_places(np.array(sorted(self.eligible), np.int64), items=len(self.vector_ID))

    def eligible_for(self, query: int) -> set[int]:
        everything = range(len(self.vector_ID)) if self.eligible is None else self.eligible
        return set(everything) - set(self.excluded[query])


def reference(search: Search) -> list[list[tuple[int, float]]]:
    """Score everything in float64 and sort by (score descending, item ascending)."""
    score_QI = search.query_QD.astype(np.float64) @ search.vector_ID.astype(np.float64).T
    return [
        sorted(
            ((item, float(score_I[item])) for item in search.eligible_for(query)),
            key=lambda pair: (-pair[1], pair[0]),
        )[: search.k]
        for query, score_I in enumerate(score_QI)
    ]


@st.composite
def searches(draw: st.DrawFn) -> Search:
    items, width, queries = draw(st.integers(1, 40)), draw(st.integers(1, 4)), draw(st.integers(1, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    reach = draw(st.sampled_from([1, 3, 100]))
    excluded = draw(
        st.lists(st.lists(st.integers(-1, items - 1), max_size=items + 2), min_size=queries, max_size=queries)
    )
    eligible = draw(st.none() | st.frozensets(st.integers(0, items - 1)))
    return Search(
        eligible=eligible,
        vector_ID=rng.integers(-reach, reach + 1, (items, width)).astype(np.float32),
        query_QD=rng.integers(-reach, reach + 1, (queries, width)).astype(np.float32),
        k=draw(st.integers(1, 50)),
        excluded=excluded,
    )


@each_exact
@given(search=searches())
@settings(max_examples=100, deadline=None)
def test_exact_members_agree_with_brute_force_ties_included(name: str, search: Search) -> None:
    ranking = search.run(INDEXES[name].build(search.vector_ID))
    for item_K, score_K, expected in zip(ranking.item_QK, ranking.score_QK, reference(search), strict=True):
        assert item_K.tolist() == [item for item, _ in expected] + [-1] * (search.k - len(expected))
        assert score_K.tolist() == [score for _, score in expected] + [-np.inf] * (search.k - len(expected))


@each_index
@given(search=searches())
@settings(max_examples=40, deadline=None)
def test_every_promise_of_the_contract_holds(name: str, search: Search) -> None:
    ranking = search.run(INDEXES[name].build(search.vector_ID))
    score_QI = search.query_QD.astype(np.float64) @ search.vector_ID.astype(np.float64).T
    for query in range(len(search.excluded)):
        eligible = search.eligible_for(query)
        found = ranking.item_QK[query][ranking.item_QK[query] >= 0].tolist()
        score_K = ranking.score_QK[query]
        assert len(found) == min(search.k, len(eligible)), "a list is short although items are eligible"
        assert len(set(found)) == len(found)
        assert set(found) <= eligible
        assert score_K[: len(found)].tolist() == score_QI[query, found].tolist()
        assert (ranking.item_QK[query, len(found) :] == -1).all()
        assert np.isneginf(score_K[len(found) :]).all()
        order = list(zip((-score_K[: len(found)]).tolist(), found, strict=True))
        assert order == sorted(order)


@each_index
@given(search=searches())
@settings(max_examples=10, deadline=None)
def test_a_saved_and_loaded_index_answers_the_same(
    name: str, search: Search, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("index")
    index = INDEXES[name].build(search.vector_ID)
    index.save(folder)
    loaded = load_index(folder)
    assert (loaded.items, loaded.width) == search.vector_ID.shape
    before, after = search.run(index), search.run(loaded)
    assert before.item_QK.tolist() == after.item_QK.tolist()
    assert before.score_QK.tolist() == after.score_QK.tolist()


@each_index
def test_an_empty_index_gives_empty_lists_and_can_be_saved(name: str, tmp_path: Path) -> None:
    index = INDEXES[name].build(np.zeros((0, 3), np.float32))
    index.save(tmp_path)
    for each in (index, load_index(tmp_path)):
        ranking = each.search(np.ones((2, 3), np.float32), 4)
        assert (ranking.item_QK == -1).all()
        assert np.isneginf(ranking.score_QK).all()
        assert ranking.item_QK.shape == (2, 4)


@each_index
def test_no_queries_give_no_lists(name: str) -> None:
    index = INDEXES[name].build(np.ones((5, 3), np.float32))
    assert index.search(np.zeros((0, 3), np.float32), 4).item_QK.shape == (0, 4)


@each_index
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_vectors_and_queries_that_are_not_finite_are_refused(name: str, bad: float) -> None:
    vector_ID = np.ones((5, 3), np.float32)
    index = INDEXES[name].build(vector_ID)
    broken = vector_ID.copy()
    broken[3, 1] = bad
    with pytest.raises(DataError, match="1 of 5 item vectors hold NaN or infinity, the first at row 3"):
        INDEXES[name].build(broken)
    with pytest.raises(DataError, match="1 of 5 query vectors"):
        index.search(broken, 2)


@each_index
def test_scores_that_would_overflow_are_refused(name: str) -> None:
    index = INDEXES[name].build(np.full((2, 2), 1e30, np.float32))
    with pytest.raises(DataError, match="do not fit into float32"):
        index.search(np.full((1, 2), 1e30, np.float32), 1)


@each_index
def test_searches_that_make_no_sense_are_refused(name: str) -> None:
    index = INDEXES[name].build(np.ones((5, 3), np.float32))
    query_QD = np.ones((2, 3), np.float32)
    with pytest.raises(ValueError, match="queries of width 2 came to an index of width 3"):
        index.search(query_QD[:, :2], 1)
    with pytest.raises(ValueError, match="got k=0"):
        index.search(query_QD, 0)
    with pytest.raises(DataError, match=r"must lie in -1\.\.4, got 5\.\.5"):
        index.search(query_QD, 1, excluded_offsets=np.array([0, 1, 1]), excluded_item=np.array([5], np.int32))
    with pytest.raises(ValueError, match="2 queries need 3 rising"):
        index.search(query_QD, 1, excluded_offsets=np.array([0, 1]), excluded_item=np.array([1], np.int32))
    with pytest.raises(ValueError, match="one of the two was not given"):
        index.search(query_QD, 1, excluded_offsets=np.array([0, 0, 0]))


@each_index
def test_excluding_everything_gives_an_empty_list_for_that_query_alone(name: str) -> None:
    index = INDEXES[name].build(np.eye(6, 3, dtype=np.float32))
    ranking = index.search(
        np.ones((2, 3), np.float32),
        3,
        excluded_offsets=np.array([0, 6, 6]),
        excluded_item=np.arange(6, dtype=np.int32),
    )
    assert ranking.item_QK[0].tolist() == [-1, -1, -1]
    assert sorted(ranking.item_QK[1].tolist()) == [0, 1, 2]


@each_index
def test_the_index_does_not_follow_changes_of_the_callers_array(name: str) -> None:
    vector_ID = np.eye(3, dtype=np.float32)
    index = INDEXES[name].build(vector_ID)
    vector_ID[:] = -1
    assert index.search(np.eye(3, dtype=np.float32)[1:2], 1).item_QK.tolist() == [[1]]


@each_index
def test_read_only_arrays_are_fine(name: str) -> None:
    vector_ID = np.eye(3, dtype=np.float32)
    vector_ID.flags.writeable = False
    assert INDEXES[name].build(vector_ID).search(vector_ID, 1).item_QK.tolist() == [[0], [1], [2]]


@each_exact
@given(search=searches(), further=st.frozensets(st.integers(0, 39)))
@settings(max_examples=30, deadline=None)
def test_a_wider_set_loses_no_item_that_still_ranks(name: str, search: Search, further: frozenset[int]) -> None:
    index = INDEXES[name].build(search.vector_ID)
    some = search.eligible or frozenset()
    more = some | {item for item in further if item < len(search.vector_ID)}
    narrow, wide = (replace(search, eligible=eligible).run(index) for eligible in (some, more))
    for query in range(len(search.query_QD)):
        kept = [item for item in wide.item_QK[query].tolist() if item in some]
        assert kept == narrow.item_QK[query].tolist()[: len(kept)], "the order among the old ones changed"
        newcomers = sum(item >= 0 and item not in some for item in wide.item_QK[query].tolist())
        assert len(kept) >= narrow.lengths[query] - newcomers, "more were lost than came in"


@each_index
@given(search=searches())
@settings(max_examples=15, deadline=None)
def test_the_set_of_all_items_is_as_good_as_none(name: str, search: Search) -> None:
    index = INDEXES[name].build(search.vector_ID)
    everything = replace(search, eligible=frozenset(range(len(search.vector_ID)))).run(index)
    assert everything.lengths.tolist() == replace(search, eligible=None).run(index).lengths.tolist()


@each_index
def test_an_empty_set_gives_empty_lists(name: str) -> None:
    index = INDEXES[name].build(np.eye(6, 3, dtype=np.float32))
    nothing = Allowed.of_mask(np.zeros(6, np.bool_))
    ranking = index.search(np.ones((2, 3), np.float32), 4, allowed=nothing)
    assert (ranking.item_QK == -1).all()
    assert np.isneginf(ranking.score_QK).all()
    assert index.plan(nothing, 4) == Plan(strategy="exact", width=0)


@each_index
def test_a_set_of_another_catalogue_is_refused(name: str) -> None:
    index = INDEXES[name].build(np.eye(6, 3, dtype=np.float32))
    other = Allowed.everything(5)
    with pytest.raises(ValueError, match="a set over 5 items came to an index of 6"):
        index.search(np.ones((1, 3), np.float32), 1, allowed=other)
    with pytest.raises(ValueError, match="a set over 5 items came to an index of 6"):
        index.plan(other, 1)


@each_index
def test_searches_from_many_threads_at_once_answer_as_one_after_another(name: str) -> None:
    rng = np.random.default_rng(0)
    index = INDEXES[name].build(rng.integers(-9, 10, (500, 6)).astype(np.float32))
    query_QD = rng.integers(-9, 10, (64, 6)).astype(np.float32)
    sets = [Allowed.of_mask(rng.random(500) < share) for share in (0.05, 0.5, 0.9)]

    def search(query: int) -> list[int]:
        one = index.search(query_QD[query : query + 1], 10, allowed=sets[query % 3])
        return [int(item) for item in one.item_QK[0]]

    alone = [search(query) for query in range(64)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            assert list(pool.map(search, range(64))) == alone
