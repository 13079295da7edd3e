"""Propensities, and what moves the logging policy."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.world.world_samples import lively

from lowerfunnel.world import World
from lowerfunnel.world.logging_policy import fill_slots, slot_probabilities

WEIGHTS = arrays(np.float64, (4, 7), elements=st.floats(1e-6, 1e3))


@given(WEIGHTS, st.floats(0.0, 1.0))
def test_propensities_of_a_slot_add_up_to_one_over_what_is_open(weight_RM, exploration):
    open_RM = np.ones(weight_RM.shape, np.bool_)
    open_RM[:, 2] = False
    chance_RM = slot_probabilities(weight_RM, open_RM, exploration)
    assert chance_RM.sum(axis=1) == pytest.approx(np.ones(4))
    assert (chance_RM[:, 2] == 0).all()
    assert (chance_RM >= 0).all()


@given(WEIGHTS, st.floats(0.0, 1.0), st.floats(1.0, 50.0))
def test_raising_a_weight_never_lowers_its_propensity_and_never_raises_another(weight_RM, exploration, factor):
    open_RM = np.ones(weight_RM.shape, np.bool_)
    before_RM = slot_probabilities(weight_RM, open_RM, exploration)
    raised_RM = weight_RM.copy()
    raised_RM[:, 3] *= factor
    after_RM = slot_probabilities(raised_RM, open_RM, exploration)
    assert (after_RM[:, 3] >= before_RM[:, 3] * (1 - 1e-12)).all()
    others = np.delete(after_RM - before_RM, 3, axis=1)
    assert (others <= 1e-12).all()


def test_the_propensity_by_hand():
    weight = np.array([[3.0, 1.0, 0.0]])
    chance = slot_probabilities(weight, weight > 0, 0.2)
    assert chance.tolist() == [[pytest.approx(0.8 * 0.75 + 0.1), pytest.approx(0.8 * 0.25 + 0.1), 0.0]]


def test_slots_are_filled_as_often_as_their_propensities_say():
    rng = np.random.default_rng(0)
    weight_M = np.array([5.0, 2.0, 1.0, 0.5, 0.0])
    weight_RM = np.tile(weight_M, (40_000, 1))
    place_RS, chance_RS = fill_slots(weight_RM, 0.1, rng.random((3, len(weight_RM))))
    assert (np.sort(place_RS, axis=1)[:, 1:] != np.sort(place_RS, axis=1)[:, :-1]).all()
    assert (place_RS != 4).all(), "a candidate without weight is none"
    first = slot_probabilities(weight_RM[:1], weight_RM[:1] > 0, 0.1)[0]
    seen = np.bincount(place_RS[:, 0], minlength=5) / len(place_RS)
    assert seen == pytest.approx(first, abs=0.01)
    # Inverse propensities are unbiased: each slot's sum of 1 / p over the draws of one item estimates all draws.
    for slot in range(3):
        for item in range(4):
            weights = (place_RS[:, slot] == item) / chance_RS[:, slot]
            taken_before = (place_RS[:, :slot] == item).any(axis=1).mean()
            assert weights.mean() == pytest.approx(1 - taken_before, abs=0.06)


def test_the_same_requests_get_the_same_slate_however_they_are_cut():
    world = World(lively())
    traffic = world._traffic_of_day(0)
    eligible = world.population.items.on_sale(0.0)
    everything = world.logging_policy.rank(traffic.seen(world.population, slice(0, 300), start_us=0), eligible, 8)
    parts = [
        world.logging_policy.rank(traffic.seen(world.population, part, start_us=0), eligible, 8)
        for part in (slice(0, 7), slice(7, 300))
    ]
    assert (everything.item_id_RS == np.concatenate([part.item_id_RS for part in parts])).all()
    assert (everything.propensity_RS == np.concatenate([part.propensity_RS for part in parts])).all()


def test_raising_a_bid_never_lowers_an_advertisers_weight_in_any_request():
    world = World(lively())
    before = _advertiser_weights(world)
    dearer = World(lively())
    dearer.population.advertisers.bid_A[3] *= 4.0
    after = _advertiser_weights(dearer)
    assert (after >= before - 1e-12).all()
    assert after.sum() > 1.2 * before.sum()


def _advertiser_weights(world):
    traffic = world._traffic_of_day(0)
    eligible = world.population.items.on_sale(0.0)
    candidates = world.logging_policy.candidates(traffic, slice(0, 500), eligible, 8)
    share_RM = candidates.weight_RM / candidates.weight_RM.sum(axis=1, keepdims=True)
    return (share_RM * (world.item_advertiser_I[candidates.item_RM] == 3)).sum(axis=1)


def test_without_noise_the_ranker_orders_candidates_by_true_bid_times_click():
    config = lively()
    world = World(replace(config, logging=replace(config.logging, ranker_noise=0.0)))
    traffic = world._traffic_of_day(2)
    eligible = world.population.items.on_sale(2.0)
    candidates = world.logging_policy.candidates(traffic, slice(0, 50), eligible, 8)
    for r in range(50):
        item_M = candidates.item_RM[r]
        chance_M = (
            world.truth.click_probability(
                traffic.user_R[r],
                item_M,
                traffic.surface_R[r],
                traffic.day_R[r],
                context_item=traffic.context_R[r],
                query=traffic.query_R[r],
            )
            - config.response.accidental_click_rate
        )
        value_M = chance_M * world.population.advertisers.bid_A[world.item_advertiser_I[item_M]] ** 0.5
        weight_M = candidates.weight_RM[r]
        counted = weight_M > 0
        expected_M = (value_M / value_M.max()) ** (1 / config.logging.temperature)
        assert weight_M[counted] == pytest.approx(expected_M[counted], rel=1e-3)


def test_noise_in_the_ranker_costs_clicks():
    config = lively()

    def clicks(noise):
        world = World(replace(config, logging=replace(config.logging, ranker_noise=noise, bid_weight=0.0)))
        return sum(world.play(world.logging_policy, day).clicked_N.sum() for day in range(3))

    assert clicks(0.0) > 1.1 * clicks(3.0)


def test_exploration_shows_more_of_the_catalogue():
    config = lively()

    def items_for_90_per_cent(exploration):
        world = World(replace(config, logging=replace(config.logging, exploration=exploration)))
        shown = np.sort(np.bincount(world.play(world.logging_policy, 0).item_N, minlength=config.n_items))[::-1]
        return np.searchsorted(np.cumsum(shown), 0.9 * shown.sum())

    assert items_for_90_per_cent(1.0) > 1.1 * items_for_90_per_cent(0.0)


def test_an_advertiser_that_has_spent_its_budget_is_not_shown_in_the_next_hours():
    config = lively()
    world = World(replace(config, advertisers=replace(config.advertisers, daily_budget_clicks=200.0)))
    outcomes = world.play(world.logging_policy, 0)
    hour = np.minimum((outcomes.t_us_N - world.start_us) // 3_600_000_000, 23)
    budget_A = world.population.advertisers.daily_budget_A
    spent_AH = np.zeros((len(budget_A), 24))
    np.add.at(spent_AH, (outcomes.advertiser_N, hour), outcomes.cost_N)
    before_AH = np.cumsum(spent_AH, axis=1) - spent_AH
    shown_AH = np.zeros((len(budget_A), 24), np.bool_)
    shown_AH[outcomes.advertiser_N, hour] = True
    assert not (shown_AH & (before_AH >= budget_A[:, None])).any()
    assert (before_AH[:, -1] >= budget_A).any(), "some budget is spent before the day ends"
