"""Ranking metrics: laws, an independent implementation, values by hand."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.metrics.ranking import (
    RANK_METRICS,
    concentration,
    hit_rate,
    ndcg,
    recall,
    reciprocal_rank,
    relevant_items,
    weighted_mean,
)

each_metric = pytest.mark.parametrize("name", RANK_METRICS)


@dataclass(frozen=True)
class Ranks:
    rank_P: npt.NDArray[np.int32]
    offsets_Q1: npt.NDArray[np.int64]
    longest: int


def ranks_of(queries: list[list[int]]) -> Ranks:
    return Ranks(
        rank_P=np.array([rank for ranks in queries for rank in ranks], np.int32),
        offsets_Q1=np.cumsum([0, *(len(ranks) for ranks in queries)], dtype=np.int64),
        longest=max((rank for ranks in queries for rank in ranks), default=0),
    )


@st.composite
def rank_lists(draw: st.DrawFn, longest: int = 30) -> list[list[int]]:
    """Ranks of the held-out items of some queries: distinct where found, 0 where not."""
    found = st.lists(st.integers(1, longest), unique=True, max_size=8)
    return [
        draw(st.permutations([*ranks, *[0] * draw(st.integers(0 if ranks else 1, 3))]))
        for ranks in draw(st.lists(found, min_size=1, max_size=6))
    ]


@each_metric
@given(queries=rank_lists(), k=st.integers(1, 40))
def test_values_lie_between_0_and_1(name: str, queries: list[list[int]], k: int) -> None:
    ranks = ranks_of(queries)
    value_Q = RANK_METRICS[name](ranks.rank_P, ranks.offsets_Q1, k)
    assert value_Q.shape == (len(queries),)
    assert (value_Q >= 0).all()
    assert (value_Q <= 1 + 1e-12).all()


@pytest.mark.parametrize("metric", [recall, hit_rate, reciprocal_rank])
@given(queries=rank_lists(), k=st.integers(1, 40))
def test_a_longer_list_never_lowers_it(
    metric: Callable[..., npt.NDArray[np.float64]], queries: list[list[int]], k: int
) -> None:
    ranks = ranks_of(queries)
    shorter_Q = metric(ranks.rank_P, ranks.offsets_Q1, k)
    assert (metric(ranks.rank_P, ranks.offsets_Q1, k + 1) >= shorter_Q).all()


@each_metric
@given(queries=rank_lists(), k=st.integers(1, 40))
def test_what_lies_after_k_does_not_count(name: str, queries: list[list[int]], k: int) -> None:
    ranks = ranks_of(queries)
    cut_P = np.where(ranks.rank_P > k, 0, ranks.rank_P).astype(np.int32)
    metric = RANK_METRICS[name]
    assert metric(cut_P, ranks.offsets_Q1, k).tolist() == metric(ranks.rank_P, ranks.offsets_Q1, k).tolist()


@each_metric
@given(queries=rank_lists(), k=st.integers(1, 40), data=st.data())
def test_moving_a_hit_up_never_lowers_it(name: str, queries: list[list[int]], k: int, data: st.DataObject) -> None:
    raised = [
        [rank - 1 if rank == pick and rank - 1 not in {0, *ranks} else rank for rank in ranks]
        for ranks in queries
        for pick in [data.draw(st.sampled_from(ranks))]
    ]
    before, after = ranks_of(queries), ranks_of(raised)
    metric = RANK_METRICS[name]
    low_Q, high_Q = metric(before.rank_P, before.offsets_Q1, k), metric(after.rank_P, after.offsets_Q1, k)
    assert (high_Q >= low_Q - 1e-12).all()


@each_metric
@given(queries=rank_lists(), k=st.integers(1, 40))
def test_a_query_is_measured_by_itself(name: str, queries: list[list[int]], k: int) -> None:
    ranks = ranks_of(queries)
    together = RANK_METRICS[name](ranks.rank_P, ranks.offsets_Q1, k).tolist()
    alone = [RANK_METRICS[name](one.rank_P, one.offsets_Q1, k)[0] for one in (ranks_of([q]) for q in queries)]
    assert together == pytest.approx(alone, abs=1e-15)


@each_metric
@given(count=st.integers(1, 20), k=st.integers(1, 40))
def test_a_perfect_list_scores_1_as_far_as_it_can(name: str, count: int, k: int) -> None:
    ranks = ranks_of([list(range(1, count + 1))])
    best = min(k, count) / count if name == "recall" else 1.0
    assert RANK_METRICS[name](ranks.rank_P, ranks.offsets_Q1, k).tolist() == pytest.approx([best])


@given(queries=rank_lists(longest=25), k=st.integers(1, 25))
def test_they_agree_with_torchmetrics(queries: list[list[int]], k: int) -> None:
    functional = pytest.importorskip("torchmetrics.functional.retrieval")
    theirs = {
        "recall": functional.retrieval_recall,
        "hr": functional.retrieval_hit_rate,
        "ndcg": functional.retrieval_normalized_dcg,
        "mrr": functional.retrieval_reciprocal_rank,
    }
    ranks = ranks_of(queries)
    for name, metric in RANK_METRICS.items():
        ours = metric(ranks.rank_P, ranks.offsets_Q1, k).tolist()
        expected = []
        for ranks_of_query in queries:
            # What was not found lies below the 25 that were listed, irrelevant fillers in between.
            place = [rank if rank else 40 + i for i, rank in enumerate(ranks_of_query)]
            score = torch.linspace(1, 0.01, 59)
            target = torch.zeros(59, dtype=torch.bool)
            target[torch.tensor(place) - 1] = True
            expected.append(float(theirs[name](score, target, top_k=k)))
        assert ours == pytest.approx(expected, abs=1e-6), name


def test_values_by_hand() -> None:
    ranks = ranks_of([[2, 5, 0], [0], [11, 1]])
    of = (ranks.rank_P, ranks.offsets_Q1, 10)
    assert recall(*of).tolist() == pytest.approx([2 / 3, 0, 1 / 2])
    assert hit_rate(*of).tolist() == [1, 0, 1]
    assert reciprocal_rank(*of).tolist() == [1 / 2, 0, 1]
    ideal_of_3 = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    ideal_of_2 = 1 + 1 / math.log2(3)
    assert ndcg(*of).tolist() == pytest.approx([(1 / math.log2(3) + 1 / math.log2(6)) / ideal_of_3, 0, 1 / ideal_of_2])
    micro = weighted_mean(recall(*of), relevant_items(ranks.offsets_Q1))
    assert micro == pytest.approx(3 / 6), "3 hits among 6 held-out items"


def test_the_ideal_is_cut_at_k() -> None:
    ranks = ranks_of([[1, 0, 0]])
    assert ndcg(ranks.rank_P, ranks.offsets_Q1, 1).tolist() == [1.0]


@each_metric
def test_a_query_without_held_out_items_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="1 of 2 queries have no held-out item"):
        RANK_METRICS[name](np.array([1], np.int32), np.array([0, 1, 1]), 10)


@each_metric
def test_no_queries_give_no_values(name: str) -> None:
    assert RANK_METRICS[name](np.zeros(0, np.int32), np.zeros(1, np.int64), 10).tolist() == []


@given(slots=st.lists(st.integers(0, 50), min_size=1, max_size=30).filter(any), share=st.floats(0.01, 1.0))
def test_concentration_is_the_smallest_share_that_suffices(slots: list[int], share: float) -> None:
    count = round(concentration(np.array(slots), share=share) * len(slots))
    best = sorted(slots, reverse=True)
    assert sum(best[:count]) >= share * sum(slots) - 1e-5
    assert sum(best[: count - 1]) < share * sum(slots) + 1e-5


def test_concentration_by_hand() -> None:
    assert concentration(np.array([10, 0, 0, 0])) == 1 / 4
    assert concentration(np.array([1] * 10)) == 9 / 10
    with pytest.raises(ValueError, match="no list holds any item"):
        concentration(np.zeros(4, np.int64))


def test_weights_that_add_up_to_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="more than zero, got 0"):
        weighted_mean(np.zeros(0))
