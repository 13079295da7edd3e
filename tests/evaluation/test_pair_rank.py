"""Ranks of held-out pairs against a search list by list."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.evaluation.evaluation_set import EvaluationSet
from lowerfunnel.evaluation.pair_rank import RankLookup, pair_ranks
from lowerfunnel.index.ranking import Ranking


def set_of(pairs: list[list[int]], excluded: list[list[int]] | None = None) -> EvaluationSet:
    excluded = [[] for _ in pairs] if excluded is None else excluded
    flat = np.array([item for items in pairs for item in items], np.int32)
    return EvaluationSet(
        task="conversion",
        user_Q=np.arange(len(pairs), dtype=np.int32),
        at_us_Q=np.zeros(len(pairs), np.int64),
        pair_offsets=np.cumsum([0, *map(len, pairs)], dtype=np.int64),
        pair_item_P=flat,
        excluded_offsets=np.cumsum([0, *map(len, excluded)], dtype=np.int64),
        excluded_item=np.array([item for items in excluded for item in items], np.int32),
        slices_P={"all": np.ones(len(flat), np.bool_)},
    )


def ranking_of(lists: list[list[int]], k: int) -> Ranking:
    ranking = Ranking.empty(len(lists), k)
    for row, items in enumerate(lists):
        ranking.item_QK[row, : len(items)] = items
        ranking.score_QK[row, : len(items)] = -np.arange(len(items))
    return ranking


@given(
    rows=st.lists(
        st.tuples(
            st.lists(st.integers(0, 2**31 - 1) | st.integers(0, 9), unique=True, max_size=6),
            st.lists(st.integers(-1, 9), unique=True, min_size=1, max_size=4),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_every_pair_gets_the_place_where_its_item_stands(rows: list[tuple[list[int], list[int]]]) -> None:
    lists, pairs = [row[0] for row in rows], [row[1] for row in rows]
    expected = [
        items.index(item) + 1 if item in items else 0
        for items, wanted in zip(lists, pairs, strict=True)
        for item in wanted
    ]
    assert pair_ranks(ranking_of(lists, 6), set_of(pairs)).tolist() == expected


def test_the_largest_item_of_a_list_is_not_taken_for_the_next_lists_padding() -> None:
    largest = 2**31 - 1
    ranking = ranking_of([[largest], [], [0]], 1)
    assert pair_ranks(ranking, set_of([[largest, 0], [-1, largest], [0]])).tolist() == [1, 0, 0, 0, 1]


def test_no_lists_hold_nothing() -> None:
    lookup = RankLookup(Ranking.empty(0, 3))
    assert lookup.ranks(np.zeros(0, np.int64), np.zeros(0, np.int32)).tolist() == []


def test_a_ranking_of_other_queries_is_refused() -> None:
    with pytest.raises(ValueError, match="2 queries need as many lists, the ranking holds 1"):
        pair_ranks(ranking_of([[1]], 1), set_of([[1], [2]]))
