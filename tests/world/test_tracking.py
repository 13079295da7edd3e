"""What advertisers make of what happened."""

from dataclasses import replace

import numpy as np
import pytest
from tests.world.world_samples import lively

from lowerfunnel.events.schema import ACTION_CODE
from lowerfunnel.world import World
from lowerfunnel.world.tracking import TrackingConfig, draw_trackers, make_up, report

PERFECT = TrackingConfig(
    report_share=1.0,
    duplicate_share=0.0,
    wrong_value_share=0.0,
    wrong_currency_share=0.0,
    delay_h=0.0,
    fraud_share=0.0,
)


@pytest.fixture(scope="module")
def world():
    return World(lively())


@pytest.fixture(scope="module")
def journeys(world):
    return world._organic_journeys(0)


def reported(world, journeys, config):
    trackers = draw_trackers(config, np.random.default_rng(0), world.config.n_advertisers)
    return report(config, trackers, journeys, world.item_advertiser_I)


def of(rows, action):
    return rows.take(rows.action_N == ACTION_CODE[action])


def test_perfect_tracking_tells_exactly_what_happened(world, journeys):
    rows, heard_J = reported(world, journeys, PERFECT)
    assert (heard_J == journeys.bought_J).all()
    assert len(of(rows, "view")) == len(journeys) + journeys.looked_again_J.sum()
    assert len(of(rows, "add_to_cart")) == journeys.carted_J.sum()
    checkouts = of(rows, "checkout")
    assert sorted(checkouts.value_N) == sorted(journeys.order_value_J[journeys.bought_J])
    assert (checkouts.currency_N == 0).all()
    assert len(of(rows, "return")) == journeys.returned_J.sum()
    assert (rows.received_us_N == rows.t_us_N).all()
    assert (rows.repeats_N == -1).all()


def test_what_is_not_reported_is_missing_and_nothing_else_changes(world, journeys):
    every, _ = reported(world, journeys, PERFECT)
    some, heard_J = reported(world, journeys, replace(PERFECT, report_share=0.6, report_concentration=1e6))
    assert len(some) == pytest.approx(0.6 * len(every), rel=0.1)
    assert not (heard_J & ~journeys.bought_J).any()
    known = set(zip(every.t_us_N.tolist(), every.item_N.tolist(), every.action_N.tolist(), strict=True))
    assert set(zip(some.t_us_N.tolist(), some.item_N.tolist(), some.action_N.tolist(), strict=True)) <= known
    nothing, heard_J = reported(world, journeys, replace(PERFECT, report_share=0.0))
    assert len(nothing) == 0
    assert not heard_J.any()


def test_repeats_are_the_same_event_once_more_and_half_of_them_keep_its_id(world, journeys):
    rows, _ = reported(world, journeys, replace(PERFECT, duplicate_share=0.3, delay_h=1.0))
    plain, _ = reported(world, journeys, replace(PERFECT, delay_h=1.0))
    extra = len(rows) - len(plain)
    assert extra > 50
    same = np.flatnonzero(rows.repeats_N >= 0)
    assert len(same) == pytest.approx(extra / 2, rel=0.3)
    first = rows.repeats_N[same]
    for name in ("t_us_N", "user_N", "item_N", "action_N"):
        assert (getattr(rows, name)[same] == getattr(rows, name)[first]).all()
    assert (rows.received_us_N[same] >= rows.received_us_N[first]).all()


def test_reports_are_late_never_early(world, journeys):
    rows, _ = reported(world, journeys, replace(PERFECT, delay_h=5.0))
    delay_h = (rows.received_us_N - rows.t_us_N) / 3.6e9
    assert delay_h.min() >= 0
    assert 3 < np.median(delay_h) < 8
    assert np.quantile(delay_h, 0.95) > 40


def test_wrong_values_and_currencies(world, journeys):
    right = of(reported(world, journeys, PERFECT)[0], "checkout")
    cents = of(reported(world, journeys, replace(PERFECT, wrong_value_share=1.0))[0], "checkout")
    assert cents.value_N == pytest.approx(100 * right.value_N)
    foreign = of(reported(world, journeys, replace(PERFECT, wrong_currency_share=1.0))[0], "checkout")
    assert (foreign.value_N == right.value_N).all()
    assert set(foreign.currency_N.tolist()) == {1, 2}


def test_only_fraudulent_advertisers_make_up_purchases_and_only_after_clicks(world):
    config = replace(PERFECT, fraud_share=0.3, fraud_rate=0.5)
    trackers = draw_trackers(config, np.random.default_rng(1), world.config.n_advertisers)
    outcomes = world.play(world.logging_policy, 0)
    clicked = np.flatnonzero(outcomes.clicked_N)
    click_us = outcomes.t_us_N[clicked] - world.start_us
    rows = make_up(
        config,
        trackers,
        seed=0,
        request=outcomes.request_N[clicked],
        user=outcomes.user_N[clicked],
        item=outcomes.item_N[clicked],
        click_us=click_us,
        price_I=world.population.items.price_I,
        advertiser_I=world.item_advertiser_I,
    )
    of_fraud = trackers.is_fraud_A[outcomes.advertiser_N[clicked]]
    assert len(rows) == pytest.approx(0.5 * of_fraud.sum(), rel=0.2)
    assert trackers.is_fraud_A[world.item_advertiser_I[rows.item_N]].all()
    pairs = set(zip(outcomes.user_N[clicked].tolist(), outcomes.item_N[clicked].tolist(), strict=True))
    assert set(zip(rows.user_N.tolist(), rows.item_N.tolist(), strict=True)) <= pairs


def test_with_nobody_to_report_there_is_no_report(world, journeys):
    rows, heard_J = reported(world, journeys.take(np.zeros(0, np.int64)), TrackingConfig())
    assert len(rows) == 0
    assert len(heard_J) == 0
