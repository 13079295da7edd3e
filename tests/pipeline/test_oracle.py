"""The oracle: a retriever that knows the truth, against which a model's share is told."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from lowerfunnel.errors import RunError
from lowerfunnel.evaluation.evaluation_set import EvaluationSet
from lowerfunnel.features.vocabulary import Vocabulary
from lowerfunnel.pipeline.oracle import OracleRetriever
from lowerfunnel.world import PRESETS, World

DAYS = 3


@pytest.fixture(scope="module")
def world() -> World:
    return World(replace(PRESETS["tiny"], n_users=60, n_items=50, n_advertisers=5))


@pytest.fixture(scope="module")
def oracle(world: World) -> OracleRetriever:
    return OracleRetriever(world, vocabulary(world.user_id_U), vocabulary(world.item_id_I), days=DAYS)


def vocabulary(ids: np.ndarray) -> Vocabulary:
    return Vocabulary(pa.array(ids))


def queries(world: World, users: list[int], excluded: list[int] | None = None, day: float = 10.0) -> EvaluationSet:
    """One query for each user; the first one's `excluded` items are masked."""
    masked = [] if excluded is None else excluded
    return EvaluationSet(
        task="conversion",
        user_Q=np.array(users, np.int32),
        at_us_Q=np.full(len(users), world.start_us + int(day * 86_400_000_000)),
        pair_offsets=np.arange(len(users) + 1, dtype=np.int64),
        pair_item_P=np.zeros(len(users), np.int32),
        excluded_offsets=np.array([0] + [len(masked)] * len(users), np.int64),
        excluded_item=np.array(masked, np.int32),
        slices_P={"all": np.ones(len(users), np.bool_)},
    )


def test_it_lists_items_by_true_demand(world: World, oracle: OracleRetriever) -> None:
    users = [0, 7, 59]
    found = oracle.retrieve(queries(world, users), 50)
    demand_QI = world.truth.demand_QI(np.array(users), np.full(3, 10.0), DAYS)
    for row in range(3):
        assert sorted(found.item_QK[row].tolist()) == list(range(50))
        assert (np.diff(demand_QI[row, found.item_QK[row]]) <= 1e-9).all()


def test_an_excluded_item_never_comes_back(world: World, oracle: OracleRetriever) -> None:
    best = oracle.retrieve(queries(world, [4, 4]), 5).item_QK
    found = oracle.retrieve(queries(world, [4, 4], excluded=[int(best[0, 0]), int(best[0, 2])]), 50).item_QK
    assert not np.isin(best[0, [0, 2]], found[0]).any()
    assert (found[0] >= 0).sum() == 48
    assert found[1, :5].tolist() == best[1].tolist()


def test_blocks_of_queries_change_nothing(
    world: World, oracle: OracleRetriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = oracle.retrieve(queries(world, list(range(20))), 10)
    monkeypatch.setattr("lowerfunnel.pipeline.oracle._BLOCK", 3)
    blocks = oracle.retrieve(queries(world, list(range(20))), 10)
    assert np.array_equal(whole.item_QK, blocks.item_QK)


def test_a_catalogue_of_some_of_the_items_is_ranked_by_the_same_truth(world: World) -> None:
    some = np.arange(0, 50, 3)
    oracle = OracleRetriever(world, vocabulary(world.user_id_U), vocabulary(world.item_id_I[some]), days=DAYS)
    found = oracle.retrieve(queries(world, [9]), 5).item_QK[0]
    demand_I = world.truth.demand_QI(np.array([9]), np.array([10.0]), DAYS)[0]
    assert demand_I[some[found]].tolist() == sorted(demand_I[some].tolist(), reverse=True)[:5]


def test_ids_that_the_world_has_not_are_refused(world: World) -> None:
    users, items = vocabulary(world.user_id_U), vocabulary(world.item_id_I)
    with pytest.raises(RunError, match="the log has items that its world has not"):
        OracleRetriever(world, users, vocabulary(np.array([1, 2])), days=DAYS)
    with pytest.raises(RunError, match="the log has users that its world has not"):
        OracleRetriever(world, Vocabulary(pa.array(["a"])), items, days=DAYS)


def test_somebody_outside_the_log_is_refused(world: World, oracle: OracleRetriever) -> None:
    with pytest.raises(RunError, match="1 test users are not in the log's users"):
        oracle.retrieve(queries(world, [3, -1]), 5)
