"""Every floor and baseline keeps the promises of a retriever; then each by itself."""

import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowerfunnel.errors import MissingPackageError
from lowerfunnel.evaluation.baselines import AlsRetriever, ItemKnnRetriever
from lowerfunnel.evaluation.evaluation_set import EvaluationSet, Retriever
from lowerfunnel.evaluation.floors import OwnHistoryRetriever, PopularityRetriever
from lowerfunnel.events.schema import ACTION_CODE, ACTIONS
from lowerfunnel.events.timeline import Timelines

ITEMS = 30
WEIGHT_A = np.zeros(len(ACTIONS))
WEIGHT_A[[ACTION_CODE["view"], ACTION_CODE["add_to_cart"], ACTION_CODE["checkout"]]] = 0.25, 0.5, 1.0

Event = tuple[int, int, str]
"""User, item, action; in order of time."""


def timelines_of(events: list[Event], users: int) -> Timelines:
    return Timelines.build(
        user_E=np.array([user for user, _, _ in events], np.int32),
        t_E=np.arange(len(events), dtype=np.int64),
        item_E=np.array([item for _, item, _ in events], np.int32),
        action_E=np.array([ACTION_CODE[action] for _, _, action in events], np.int8),
        users=users,
        order="time",
    )


def queries_of(
    users: list[int], excluded: list[list[int]] | None = None, histories: list[list[tuple[int, str]]] | None = None
) -> EvaluationSet:
    excluded = [[] for _ in users] if excluded is None else excluded
    flat = [] if histories is None else [entry for history in histories for entry in history]
    return EvaluationSet(
        task="conversion",
        user_Q=np.array(users, np.int32),
        at_us_Q=np.zeros(len(users), np.int64),
        pair_offsets=np.arange(len(users) + 1, dtype=np.int64),
        pair_item_P=np.zeros(len(users), np.int32),
        excluded_offsets=np.cumsum([0, *map(len, excluded)], dtype=np.int64),
        excluded_item=np.array([item for items in excluded for item in items], np.int32),
        slices_P={"all": np.ones(len(users), np.bool_)},
        history_offsets=None if histories is None else np.cumsum([0, *map(len, histories)], dtype=np.int64),
        history_item=None if histories is None else np.array([item for item, _ in flat], np.int32),
        history_action=None if histories is None else np.array([ACTION_CODE[a] for _, a in flat], np.int8),
    )


def popularity(timelines: Timelines) -> PopularityRetriever:
    return PopularityRetriever(timelines, WEIGHT_A, items=ITEMS)


RETRIEVERS: dict[str, Callable[[Timelines], Retriever]] = {
    "popularity": popularity,
    "own_history": lambda t: OwnHistoryRetriever(t, popularity(t)),
    "itemknn": lambda t: ItemKnnRetriever(t, WEIGHT_A, popularity(t), neighbours=5, threads=1),
    "als": lambda t: AlsRetriever(t, WEIGHT_A, popularity(t), factors=4, iterations=2, threads=1),
}
each_retriever = pytest.mark.parametrize("name", RETRIEVERS)

SOME_EVENTS: list[Event] = [
    (user, (3 * user + step) % ITEMS, ("view", "add_to_cart", "checkout")[step % 3])
    for user in range(12)
    for step in range(6)
]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Timelines, EvaluationSet, int]:
    users = draw(st.integers(1, 6))
    events = draw(
        st.lists(
            st.tuples(
                st.integers(0, users - 1),
                st.integers(-1, ITEMS - 1),
                st.sampled_from(["impression", "view", "checkout"]),
            ),
            min_size=1,
            max_size=40,
        )
    )
    asked = draw(st.lists(st.integers(-1, users - 1), min_size=1, max_size=6))
    count = len(asked)
    excluded = draw(st.lists(st.lists(st.integers(-1, ITEMS - 1)), min_size=count, max_size=count))
    history = st.lists(st.tuples(st.integers(-1, ITEMS - 1), st.sampled_from(["view", "add_to_cart", "hide"])))
    histories = draw(st.none() | st.lists(history, min_size=count, max_size=count))
    return timelines_of(events, users), queries_of(asked, excluded, histories), draw(st.integers(1, ITEMS + 5))


@each_retriever
@given(world=worlds())
@settings(max_examples=30, deadline=None)
def test_every_promise_of_a_retriever_holds(name: str, world: tuple[Timelines, EvaluationSet, int]) -> None:
    timelines, queries, k = world
    ranking = RETRIEVERS[name](timelines).retrieve(queries, k)
    assert ranking.item_QK.shape == (queries.queries, k)
    for query in range(queries.queries):
        items, score_K = ranking.item_QK[query].tolist(), ranking.score_QK[query]
        excluded = set(
            queries.excluded_item[queries.excluded_offsets[query] : queries.excluded_offsets[query + 1]].tolist()
        )
        found = [item for item in items if item >= 0]
        assert items == found + [-1] * (k - len(found))
        assert len(set(found)) == len(found) == min(k, ITEMS - len(excluded - {-1}))
        assert not set(found) & excluded
        assert np.isfinite(score_K[: len(found)]).all()
        assert np.isneginf(score_K[len(found) :]).all()
        assert (np.diff(score_K[: len(found)]) <= 0).all()


@each_retriever
def test_the_same_training_gives_the_same_lists(name: str) -> None:
    timelines, queries = timelines_of(SOME_EVENTS, 12), queries_of([0, 3, 11, -1])
    first, second = (RETRIEVERS[name](timelines).retrieve(queries, 20) for _ in range(2))
    assert first.item_QK.tolist() == second.item_QK.tolist()
    assert first.score_QK.tolist() == second.score_QK.tolist()


@each_retriever
def test_a_user_of_whom_nothing_is_known_gets_what_is_popular(name: str) -> None:
    timelines = timelines_of(SOME_EVENTS, 13)
    queries = queries_of([-1, 12])  # never trained; trained on nothing
    lists = RETRIEVERS[name](timelines).retrieve(queries, 10).item_QK.tolist()
    assert lists == popularity(timelines).retrieve(queries, 10).item_QK.tolist()


@each_retriever
def test_splitting_the_queries_changes_nothing(name: str) -> None:
    timelines = timelines_of(SOME_EVENTS, 12)
    queries = queries_of([0, 1, 2, -1], excluded=[[0], [], [5, 6], [7]], histories=[[(1, "view")]] * 4)
    retriever = RETRIEVERS[name](timelines)
    whole = retriever.retrieve(queries, 12).item_QK.tolist()
    parts = [retriever.retrieve(queries.block(*part), 12).item_QK.tolist() for part in ((0, 1), (1, 4))]
    assert whole == parts[0] + parts[1]


def test_popularity_adds_up_the_weights_and_breaks_ties_by_item() -> None:
    timelines = timelines_of(
        [(0, 4, "checkout"), (0, 2, "view"), (1, 2, "view"), (1, 7, "add_to_cart"), (1, 9, "impression")], 2
    )
    ranking = popularity(timelines).retrieve(queries_of([0]), 5)
    assert ranking.item_QK.tolist() == [[4, 2, 7, 0, 1]], "1, 2 x 0.25, 0.5, then those without events"
    assert ranking.score_QK.tolist() == [[1.0, 0.5, 0.5, 0.0, 0.0]]


def test_own_history_is_deepest_first_then_latest_then_popular() -> None:
    timelines = timelines_of(
        [
            (0, 5, "add_to_cart"),
            (0, 6, "view"),
            (0, 8, "view"),
            (0, 7, "add_to_cart"),
            (0, 5, "view"),
            (0, 9, "hide"),
            (1, 20, "checkout"),
            (1, 6, "checkout"),
        ],
        2,
    )
    found = OwnHistoryRetriever(timelines, popularity(timelines)).retrieve(queries_of([0, 0], [[], [7]]), 6)
    assert found.item_QK.tolist() == [[7, 5, 8, 6, 20, 0], [5, 8, 6, 20, 0, 1]]


def test_a_history_of_the_evaluation_set_comes_before_the_trained_one() -> None:
    timelines = timelines_of(SOME_EVENTS, 12)
    queries = queries_of([-1, 0], histories=[[(17, "view"), (18, "view")], []])
    found = OwnHistoryRetriever(timelines, popularity(timelines)).retrieve(queries, 3).item_QK
    assert found[0, :2].tolist() == [18, 17]
    assert found[1].tolist() == popularity(timelines).retrieve(queries, 3).item_QK[1].tolist()


def test_itemknn_recommends_what_is_bought_together_own_items_included() -> None:
    events: list[Event] = [(user, item, "checkout") for user in range(8) for item in (user % 2, 10 + user % 2)]
    events += [(8, 0, "checkout")]
    timelines = timelines_of(events, 9)
    retriever = ItemKnnRetriever(timelines, WEIGHT_A, popularity(timelines), neighbours=5, threads=1)
    lists = retriever.retrieve(queries_of([8, -1], histories=[[(0, "view")], [(1, "view")]]), 2).item_QK.tolist()
    assert [set(items) for items in lists] == [{0, 10}, {1, 11}]


def test_als_folds_in_a_user_it_was_not_trained_on() -> None:
    events: list[Event] = [
        (user, 2 * step + user % 2, "checkout") for user in range(20) for step in range(15) if (user + step) % 5
    ]
    timelines = timelines_of(events, 20)
    retriever = AlsRetriever(timelines, WEIGHT_A, popularity(timelines), factors=4, threads=1)
    histories = [[(1, "checkout"), (3, "checkout"), (5, "checkout")], [(0, "checkout"), (2, "checkout")]]
    found = retriever.retrieve(queries_of([-1, -1], histories=histories), 8).item_QK
    assert (found[0] % 2).tolist() == [1] * 8
    assert (found[1] % 2).tolist() == [0] * 8


@pytest.mark.parametrize("name", ["itemknn", "als"])
def test_a_missing_library_says_how_to_install_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("implicit", "implicit.nearest_neighbours", "implicit.cpu.als"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingPackageError, match=r"pip install 'lowerfunnel\[baselines\]'"):
        RETRIEVERS[name](timelines_of(SOME_EVENTS, 12))
