"""What the truth says is what happens, as often as it says."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.world.world_samples import NONE_ARE_BOTS, TINY, lively

from lowerfunnel.world import World, WorldTruth
from lowerfunnel.world.response import Response
from lowerfunnel.world.season import DAY_US

DAYS = 6


@pytest.fixture(scope="module")
def world():
    config = lively()
    return World(replace(config, response=replace(config.response, view_through_share=0.1)))


@pytest.fixture(scope="module")
def played(world):
    """Impressions of some days, with what the truth says of each."""
    outcomes, chances = [], []
    for day in range(DAYS):
        outcome = world.play(world.logging_policy, day)
        traffic = world._traffic_of_day(day)
        row = np.searchsorted(traffic.request_R, outcome.request_N)
        where = {"context_item": traffic.context_R[row], "query": traffic.query_R[row]}
        at = (outcome.user_N, outcome.item_N)
        day_N = (outcome.t_us_N - world.start_us) / DAY_US
        click = world.truth.click_probability(*at, outcome.surface_N, day_N, position=outcome.position_N, **where)
        convert = world.truth.conversion_probability(*at, day_N, **where)
        view = world.truth.view_through_probability(*at, day_N, position=outcome.position_N, **where)
        value = world.truth.expected_value(*at, outcome.surface_N, day_N, position=outcome.position_N, **where)
        outcomes.append(outcome)
        chances.append(
            (click, (click - world.config.response.accidental_click_rate) * convert, (1 - click) * view, value)
        )
    return outcomes, [np.concatenate(column) for column in zip(*chances, strict=True)]


def column(outcomes, name):
    return np.concatenate([getattr(outcome, name) for outcome in outcomes])


def assert_as_expected(happened_N, chance_N, groups_N):
    """Each group's count lies within 4.5 standard deviations of the sum of its chances."""
    for group in np.unique(groups_N):
        inside = groups_N == group
        expected = chance_N[inside].sum()
        deviation = np.sqrt((chance_N[inside] * (1 - chance_N[inside])).sum())
        assert abs(happened_N[inside].sum() - expected) < 4.5 * deviation + 1e-9, (
            group,
            happened_N[inside].sum(),
            expected,
        )


def test_clicks_come_as_often_as_the_truth_says_by_surface_position_and_chance(played):
    outcomes, (click_N, *_) = played
    clicked_N = column(outcomes, "clicked_N")
    assert clicked_N.sum() > 2000
    assert_as_expected(clicked_N, click_N, column(outcomes, "surface_N"))
    assert_as_expected(clicked_N, click_N, column(outcomes, "position_N"))
    assert_as_expected(clicked_N, click_N, np.digitize(click_N, np.quantile(click_N, np.linspace(0, 1, 11)[1:-1])))


def test_purchases_come_as_often_as_the_truth_says_after_clicks_and_after_views(played):
    outcomes, (_, by_click_N, by_view_N, _) = played
    converted_N, view_N = column(outcomes, "converted_N"), column(outcomes, "view_through_N")
    surface_N = column(outcomes, "surface_N")
    assert (converted_N & ~view_N).sum() > 200
    assert view_N.sum() > 50
    assert_as_expected(converted_N & ~view_N, by_click_N, surface_N)
    assert_as_expected(view_N, by_view_N, surface_N)
    assert (view_N <= ~column(outcomes, "clicked_N")).all()


def test_the_expected_value_is_what_orders_bring_that_are_kept(played):
    outcomes, (*_, expected_N) = played
    value_N = column(outcomes, "value_N")
    standard_error = value_N.std() * np.sqrt(len(value_N))
    assert abs(value_N.sum() - expected_N.sum()) < 4 * standard_error
    assert value_N.sum() > 8 * standard_error, "enough to tell"


def flat_world():
    """No season, nobody and nothing new, so that an ordinary day is every day."""
    return World(
        lively(
            days=40,
            n_users=1500,
            users=replace(NONE_ARE_BOTS, visits_per_day=4.0, late_share=0.0),
            items=replace(TINY.items, late_share=0.0, ending_share=0.0),
            season=replace(TINY.season, weekend_lift=1.0, sale_days=0, yearly_growth=0.0),
        )
    )


def test_organic_purchases_come_as_often_as_demand_says_by_category_and_in_all():
    world = flat_world()
    start, days = 5, 12
    everybody = np.arange(world.config.n_users)
    demand_UI = world.truth.demand_QI(everybody, np.full(len(everybody), float(start)), days)
    bought = [world.organic(day) for day in range(start, start + days)]
    item_O = np.concatenate([each.item_O for each in bought])
    user_O = np.concatenate([each.user_O for each in bought])
    total = demand_UI.sum()
    assert total > 1500
    # The moment in the middle stands for a day, and a visit of many looks brings its purchases together.
    assert len(item_O) == pytest.approx(total, rel=0.04)
    category_I = world.population.items.category_I
    expected_K = np.bincount(category_I, demand_UI.sum(axis=0), minlength=16)
    seen_K = np.bincount(category_I[item_O], minlength=16)
    assert (np.abs(seen_K - expected_K) <= 8 * np.sqrt(expected_K) + 0.05 * expected_K).all()
    assert np.corrcoef(np.bincount(user_O, minlength=len(everybody)), demand_UI.sum(axis=1))[0, 1] > 0.6
    popular_I = np.bincount(item_O, minlength=world.config.n_items)
    assert np.corrcoef(popular_I, demand_UI.sum(axis=0))[0, 1] > 0.9


def test_no_other_order_finds_as_many_purchases_as_the_truth():
    world = flat_world()
    start, days = 20, 6
    everybody = np.arange(world.config.n_users)
    demand_UI = world.truth.demand_QI(everybody, np.full(len(everybody), float(start)), days)
    bought = [world.organic(day) for day in range(start, start + days)]
    item_O = np.concatenate([each.item_O for each in bought])
    user_O = np.concatenate([each.user_O for each in bought])

    def recall_at_3(score_UI):
        own_O = score_UI[user_O, item_O]
        return ((score_UI[user_O] > own_O[:, None]).sum(axis=1) < 3).mean()

    past = np.concatenate([world.organic(day).item_O for day in range(start)])
    popularity_I = np.bincount(past, minlength=world.config.n_items).astype(np.float64)
    rng = np.random.default_rng(0)
    blurred_UI = demand_UI * np.exp(rng.normal(0.0, 1.0, demand_UI.shape))
    oracle = recall_at_3(demand_UI)
    assert oracle > 1.1 * recall_at_3(blurred_UI)
    assert oracle > 2 * recall_at_3(np.broadcast_to(popularity_I, demand_UI.shape))


def test_demand_adds_up_over_time():
    world = flat_world()
    user_Q, day_Q = np.arange(40), np.full(40, 3.25)
    whole = world.truth.demand_QI(user_Q, day_Q, 4)
    parts = sum(world.truth.demand_QI(user_Q, day_Q + shift, 1) for shift in range(4))
    assert whole == pytest.approx(parts)


@given(st.floats(-1, 0.95), st.floats(0.0, 0.05), st.integers(0, 199), st.integers(0, 2))
def test_more_relevance_never_lowers_a_click_or_a_purchase(affinity, more, item, surface):
    world = SHARED
    items, users = np.array([item, item]), np.array([5, 5])
    affinity_2 = np.array([affinity, affinity + more], np.float32)
    surface_2 = np.full(2, surface, np.int8)
    response = world._response
    moment = {"missions": world.population.intents.missions(users, np.full(2, 3.0)), "day_N": np.full(2, 3.0)}
    for low, high in (
        response.click_logit(affinity_2, items, surface_2),
        response.save(affinity_2),
        -response.hide(affinity_2),
        -response.bounce(affinity_2, items),
        response.cart(affinity_2, users, items, **moment),
        response.checkout(affinity_2, users, items),
    ):
        assert high >= low


SHARED = World(lively())


@pytest.mark.parametrize("part", ["trust_A", "landing_A"])
def test_a_better_shop_sells_more(part):
    users, items = np.arange(200), np.arange(200)
    population = World(lively()).population
    getattr(population.advertisers, part)[:] += 0.7
    config = SHARED.config
    better = WorldTruth(
        population,
        Response(config.response, config.season, config.intent, population),
        config.organic,
        organic_share=0.3,
    )
    before = SHARED.truth.conversion_probability(users, items, 2.0)
    assert (better.conversion_probability(users, items, 2.0) > before).all()


def test_a_lower_position_is_looked_at_no_more():
    look = SHARED._response.look(np.arange(1, 50))
    assert look[0] == 1
    assert (np.diff(look) < 0).all()
    flat = World(lively(response=replace(lively().response, position_decay=0.0)))
    assert (flat._response.look(np.arange(1, 50)) == 1).all()


def test_a_query_and_a_subject_pull_what_is_wanted_towards_them():
    truth, population = SHARED.truth, SHARED.population
    users = np.arange(100)
    items = np.full(100, 17)
    category = np.full(100, population.items.category_I[17])
    plain = truth.affinity(users, items, 3.0)
    assert (truth.affinity(users, items, 3.0, context_item=items) > plain).all()
    assert truth.affinity(users, items, 3.0, query=category).mean() > plain.mean() + 0.2
