"""Experiments in a real world: its luck is common, its truth decides, and its bots do not count."""

from dataclasses import replace

import numpy as np
import pytest

from lowerfunnel.world import PRESETS, Experiment, Policy, World, WorldConfig
from lowerfunnel.world.experiment.sums import Arena

TINY = PRESETS["tiny"]
LIVELY = replace(
    TINY,
    n_users=600,
    users=replace(TINY.users, visits_per_day=2.0, bot_share=0.1),
    advertisers=replace(TINY.advertisers, daily_budget_clicks=1e6),
    response=replace(TINY.response, click_logit=-4.0, cart_logit=-3.0),
)
"""A small world in which enough is sold in a few days to compare."""
DAYS = range(TINY.days, TINY.days + 6)


@pytest.fixture(scope="module")
def world() -> World:
    return World(LIVELY)


def logging_policy(config: WorldConfig, **changes: float) -> Policy:
    """The logging policy of the same population with other settings."""
    return World(replace(config, logging=replace(config.logging, **changes))).logging_policy


class Named:
    """A policy under another name."""

    def __init__(self, policy: Policy, name: str) -> None:
        self.name = name
        self.rank = policy.rank


@pytest.fixture(scope="module")
def played(world: World) -> Experiment:
    """The logging policy half blind, against one that sees the truth and tries nothing out."""
    sharp = logging_policy(LIVELY, ranker_noise=0.0, exploration=0.0, temperature=0.2, bid_weight=0.0)
    blind = logging_policy(LIVELY, ranker_noise=2.0, exploration=0.3)
    return world.experiment(Named(blind, "blind"), Named(sharp, "sharp"), days=DAYS, n_boot=200)


def test_a_world_is_where_experiments_are_made(world: World) -> None:
    assert isinstance(world, Arena)


def test_equal_policies_differ_by_exactly_nothing(world: World) -> None:
    found = world.experiment(world.logging_policy, logging_policy(LIVELY), days=DAYS[:2], n_boot=50)
    assert {row.difference.value for row in found.rows} == {0.0}
    assert {row.relative.value for row in found.rows} <= {0.0, None}
    assert {end for row in found.rows for end in (row.difference.low, row.difference.high)} <= {0.0, None}


def test_a_policy_that_sees_the_truth_sells_more(played: Experiment) -> None:
    for metric in ("ctr", "conversions"):
        low = played.row(metric).relative.low
        assert low is not None
        assert low > 0, metric


def test_bots_do_not_count(world: World, played: Experiment) -> None:
    outcomes = [world.play(world.logging_policy, day) for day in DAYS]
    persons = np.concatenate([one.is_person_N for one in outcomes])
    assert 0.02 < 1 - persons.mean() < 0.98
    assert played.impressions_a == played.impressions_b == persons.sum()
    assert played.users <= world.is_person_U.sum()


def test_common_luck_saves_variance(played: Experiment) -> None:
    power = played.row("conversions").power
    assert power is not None
    assert power.saved is not None
    assert power.saved > 0.1


def test_the_order_of_the_days_changes_nothing(world: World) -> None:
    sharp = logging_policy(LIVELY, ranker_noise=0.0)
    one, other = (world.experiment(world.logging_policy, sharp, days=days, n_boot=20) for days in ([15, 14], [14, 15]))
    assert [row.relative.value for row in one.rows] == pytest.approx([row.relative.value for row in other.rows])
    assert one.days[0].a == other.days[1].a
