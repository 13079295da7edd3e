"""Pairs of two runs beside each other: laws, agreement with the evaluation's own figures, and values by hand."""

from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.evaluation.evaluation_set import EvaluationSet
from lowerfunnel.evaluation.measure import measure, paired_difference
from lowerfunnel.evaluation.ranks_file import Ranks
from lowerfunnel.lab.pairing import compare, pair_up

METRICS = ("recall@10", "ndcg@10", "hr@5", "mrr@10", "micro_recall@10")
Pair = tuple[str, int, int]

pairs = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 9)), min_size=1, max_size=25, unique=True).map(
    sorted
)


def ranks_of(
    pairs: Sequence[tuple[str, int]], rank: Sequence[int], task: str = "conversion", **slices: Sequence[bool]
) -> Ranks:
    users = [user for user, _ in pairs]
    query = [number for number, (_, group) in enumerate(groupby(users)) for _ in group]
    table = pa.table(
        {
            "task": pa.array([task] * len(pairs), pa.string()),
            "query": pa.array(query, pa.int32()),
            "user_id": pa.array(users, pa.string()),
            "item_id": pa.array([item for _, item in pairs], pa.int64()),
            "rank": pa.array(rank, pa.int32()),
        }
    )
    inside: Mapping[str, np.ndarray] = {name: np.array(marks, np.bool_) for name, marks in slices.items()}
    return Ranks(table=table, slices_P={"all": np.ones(len(pairs), np.bool_), **inside}, length=100, data="real")


def drawn(pairs: Sequence[tuple[str, int]], seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, 15, len(pairs)).tolist()


def figures(a: Ranks, b: Ranks, slice_name: str = "all", n_boot: int = 100):
    return compare([pair_up(a, b)], task="conversion", slice_name=slice_name, metrics=METRICS, n_boot=n_boot, seed=0)


@given(pairs, st.integers(0, 5))
def test_a_run_beside_itself_differs_by_exactly_nothing(held_out: list, seed: int) -> None:
    found = figures(*[ranks_of(held_out, drawn(held_out, seed))] * 2)
    assert found is not None
    assert (found.found.difference_M3 == 0).all()


@given(pairs, st.integers(0, 5))
def test_values_are_those_of_the_evaluation(held_out: list, seed: int) -> None:
    a, b = (ranks_of(held_out, drawn(held_out, number)) for number in (seed, seed + 1))
    found = figures(a, b)
    assert found is not None
    sizes = [len(list(group)) for _, group in groupby(user for user, _ in held_out)]
    queries = EvaluationSet(
        task="conversion",
        user_Q=np.arange(len(sizes), dtype=np.int32),
        at_us_Q=np.zeros(len(sizes), np.int64),
        pair_offsets=np.cumsum([0, *sizes], dtype=np.int64),
        pair_item_P=np.array([item for _, item in held_out], np.int32),
        excluded_offsets=np.zeros(len(sizes) + 1, np.int64),
        excluded_item=np.zeros(0, np.int32),
        slices_P={"all": np.ones(len(held_out), np.bool_)},
    )
    rank = {name: np.array(drawn(held_out, seed + place), np.int32) for place, name in enumerate("ab")}
    rows = {
        (row.model, row.metric): row.value for row in measure(rank, queries, ks=[5, 10], n_boot=2, seed=0, data="real")
    }
    for column, metric in enumerate(METRICS):
        assert found.found.a_M3[column, 0] == pytest.approx(rows["a", metric])
        assert found.found.b_M3[column, 0] == pytest.approx(rows["b", metric])
        theirs = paired_difference(rank["b"], rank["a"], queries.pair_offsets, metric=metric, n_boot=2, seed=0)
        assert found.found.difference_M3[column, 0] == pytest.approx(theirs.value, abs=1e-12)
    assert (found.users, found.pairs) == (len(sizes), len(held_out))


@given(pairs, st.data())
def test_pairs_that_only_one_has_are_left_out_and_counted(held_out: list, data: st.DataObject) -> None:
    kept = [data.draw(st.lists(st.booleans(), min_size=len(held_out), max_size=len(held_out))) for _ in range(2)]
    sides = [[pair for pair, keep in zip(held_out, keeps, strict=True) if keep] for keeps in kept]
    both = sorted(set(sides[0]) & set(sides[1]))
    rank = dict(zip(held_out, drawn(held_out, 1), strict=True))
    a, b = (ranks_of(side, [rank[pair] for pair in side]) for side in sides)
    found = pair_up(a, b)
    assert found.user_P.to_pylist() == [user for user, _ in both]
    assert found.rank_a_P.tolist() == found.rank_b_P.tolist() == [rank[pair] for pair in both]
    assert sum(found.only_a.values()) == len(sides[0]) - len(both)
    assert sum(found.only_b.values()) == len(sides[1]) - len(both)


def test_values_by_hand_on_a_slice() -> None:
    held_out = [("u", 1), ("u", 2), ("v", 3)]
    a = ranks_of(held_out, [1, 0, 20], new=[True, True, False])
    b = ranks_of(held_out, [1, 2, 3], new=[False, False, False])
    found = figures(a, b, "new")
    assert found is not None
    assert found.found.a_M3[0, 0] == 0.5
    assert found.found.b_M3[0, 0] == 1.0
    assert (found.users, found.pairs) == (1, 2)
    assert compare([pair_up(a, b)], task="engagement", slice_name="all", metrics=METRICS, n_boot=2, seed=0) is None


def test_users_are_the_same_over_seeds_and_a_seed_without_the_slice_is_left_out() -> None:
    one = ranks_of([("u", 1), ("v", 2)], [1, 1], new=[True, False])
    other = ranks_of([("v", 2), ("w", 3)], [0, 2])
    by_seed = [pair_up(one, one), pair_up(other, other)]
    whole = compare(by_seed, task="conversion", slice_name="all", metrics=METRICS, n_boot=20, seed=0)
    assert whole is not None
    assert (whole.users, whole.pairs, whole.places) == (3, 4, [0, 1])
    assert whole.found.a_SM[:, 0].tolist() == [1.0, 0.5]
    part = compare(by_seed, task="conversion", slice_name="new", metrics=METRICS, n_boot=20, seed=0)
    assert part is not None
    assert part.places == [0]


def test_ids_read_as_numbers_and_as_texts_are_the_same() -> None:
    numbers = ranks_of([("1", 1), ("1", 2)], [1, 2])
    texts = numbers.table.set_column(3, "item_id", pa.array(["1", "2"]))
    found = pair_up(numbers, Ranks(table=texts, slices_P=numbers.slices_P, length=100, data="real"))
    assert found.rank_b_P.tolist() == [1, 2]
