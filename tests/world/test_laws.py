"""Laws of the mechanisms that make a world: chance, intents, seasons, fates."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.world.world_samples import Chosen, lively

from lowerfunnel.world import PRESETS, World
from lowerfunnel.world.chance import Stream, keyed, normal, uniform
from lowerfunnel.world.outcomes import Outcomes
from lowerfunnel.world.season import SeasonConfig

WORLD = World(lively())
CRN_FIELDS = [name for name in Outcomes.__dataclass_fields__ if name != "propensity_N"]


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**40), st.integers(0, 200))
def test_a_hashed_number_depends_on_its_keys_alone(seed, key, draw):
    alone = uniform(keyed(seed, Stream.FATE, np.array([key])), draw)
    among = uniform(keyed(seed, Stream.FATE, np.array([key + 1, key, 7])), draw)
    assert alone[0] == among[1]
    assert 0 < alone[0] < 1


def test_hashed_numbers_are_uniform_and_independent_over_keys_draws_and_streams():
    key_N = np.arange(200_000)
    hashed = keyed(3, Stream.FATE, key_N, key_N[::-1])
    columns = [uniform(hashed, draw) for draw in range(3)]
    columns.append(uniform(keyed(4, Stream.FATE, key_N, key_N[::-1]), 0))
    columns.append(uniform(keyed(3, Stream.SLOTS, key_N, key_N[::-1]), 0))
    for column in columns:
        assert np.histogram(column, bins=20, range=(0, 1))[0] == pytest.approx(np.full(20, 10_000), abs=500)
    correlation = np.corrcoef(columns) - np.eye(len(columns))
    assert np.abs(correlation).max() < 0.012
    assert np.abs(np.corrcoef(columns[0][1:], columns[0][:-1])[0, 1]) < 0.012
    bell = normal(hashed, 5)
    assert bell.mean() == pytest.approx(0, abs=0.01)
    assert bell.std() == pytest.approx(1, abs=0.01)
    assert (np.abs(bell) < 1.96).mean() == pytest.approx(0.95, abs=0.003)


def test_equal_policies_have_equal_outcomes_to_the_bit():
    again = World(lively())
    for day in (2, 0):
        one, other = WORLD.play(WORLD.logging_policy, day), again.play(again.logging_policy, day)
        for name in Outcomes.__dataclass_fields__:
            assert np.array_equal(getattr(one, name), getattr(other, name), equal_nan=name.endswith(("s_N", "y_N")))


def test_the_same_item_in_the_same_slot_has_the_same_fate_under_any_policy():
    logged = WORLD.play(WORLD.logging_policy, 1)
    slots = WORLD.config.traffic.slots
    first = logged.item_N.reshape(-1, slots)[:, 0]

    def choose(requests, eligible_I, _):
        row = np.searchsorted(logged.request_N[::slots], requests.request_R)
        same = WORLD.item_id_I[first[row]]
        others = WORLD.item_id_I[eligible_I]
        rest = np.stack([others[others != item][: slots - 1] for item in same])
        return np.concatenate([same[:, None], rest], axis=1)

    other = WORLD.play(Chosen(WORLD, choose), 1)
    for name in CRN_FIELDS:
        one, two = (getattr(outcomes, name).reshape(-1, slots)[:, 0] for outcomes in (logged, other))
        assert np.array_equal(one, two, equal_nan=name == "dwell_s_N"), name
    assert (logged.item_N != other.item_N).any()


def test_days_can_be_played_in_any_order_and_beyond_the_end_of_the_log():
    forward = [WORLD.play(WORLD.logging_policy, day).item_N for day in (0, 3)]
    other = World(lively())
    backward = [other.play(other.logging_policy, day).item_N for day in (3, 0)]
    assert np.array_equal(forward[0], backward[1])
    assert np.array_equal(forward[1], backward[0])
    later = WORLD.play(WORLD.logging_policy, WORLD.config.days + 5)
    assert len(later) > 0
    day_N = (later.t_us_N - WORLD.start_us) / 86_400_000_000
    assert day_N.min() >= WORLD.config.days + 5
    assert day_N.max() < WORLD.config.days + 6.1, "a visit may go on a little past midnight"


def test_no_policy_changes_who_comes_and_what_is_bought_without_ads():
    chosen, logged = WORLD.play(Chosen(WORLD), 2), WORLD.play(WORLD.logging_policy, 2)
    for name in ("request_N", "t_us_N", "user_N", "surface_N"):
        assert np.array_equal(getattr(chosen, name), getattr(logged, name))
    assert np.array_equal(WORLD.organic(2).t_us_O, World(lively()).organic(2).t_us_O)


@given(st.integers(0, 299), st.floats(0, 400))
def test_a_mission_starts_ripens_and_ends_once(user, day):
    intents = WORLD.population.intents
    moments = day + np.linspace(0, 25, 500)
    missions = intents.missions(np.full(500, user), moments)
    on = missions.category_N >= 0
    assert (missions.ripeness_N[~on] == 0).all()
    assert ((missions.ripeness_N[on] >= 0) & (missions.ripeness_N[on] < 1)).all()
    for start in np.flatnonzero(on[1:] & ~on[:-1]) + 1:
        stop = start + np.argmin(np.append(on[start:], False))
        assert (np.diff(missions.ripeness_N[start:stop]) > 0).all()
        assert len(set(missions.category_N[start:stop])) == 1


def test_missions_end_where_they_were_and_half_of_them_with_a_purchase():
    intents, everybody = WORLD.population.intents, np.arange(300)
    ends = [intents.ends(everybody, day) for day in range(100)]
    user_M, day_M, category_M = (
        np.concatenate([getattr(each, name) for each in ends]) for name in ("user_M", "day_M", "category_M")
    )
    before = intents.missions(user_M, day_M - 1e-6)
    assert (before.category_N == category_M).all()
    assert (before.ripeness_N > 0.999).all()
    assert (intents.missions(user_M, day_M + 1e-6).category_N == -1).all()
    config = WORLD.config.intent
    expected = 300 * 100 / config.mission_period_days * config.mission_share * config.purchase_share
    assert len(user_M) == pytest.approx(expected, rel=0.1)


def test_bots_have_no_missions_buy_nothing_and_click_on_anything():
    config = lively()
    world = World(replace(config, users=replace(config.users, bot_share=0.3)))
    bots = np.flatnonzero(~world.is_person_U)
    missions = [world.population.intents.missions(bots, np.full(len(bots), float(day))) for day in range(20)]
    assert all((each.category_N == -1).all() for each in missions)
    outcomes = world.play(world.logging_policy, 0)
    of_bots = ~outcomes.is_person_N
    assert not outcomes.converted_N[of_bots].any()
    assert outcomes.clicked_N[of_bots].mean() == pytest.approx(0.05, abs=0.01)
    assert outcomes.dwell_s_N[of_bots & outcomes.clicked_N].max() < 5
    assert np.isin(world.organic(0).user_O, bots).sum() == 0


def test_tastes_drift_slowly_and_stay_of_unit_length():
    intents, everybody = WORLD.population.intents, np.arange(300)

    def tastes(day):
        moments = np.full(300, float(day))
        missions = replace(intents.missions(everybody, moments), category_N=np.full(300, -1))
        return intents.latent(everybody, moments, missions)

    first = tastes(0)
    kept = [np.einsum("nd,nd->n", first, tastes(day)).mean() for day in (0, 30, 90, 180)]
    assert kept[0] == pytest.approx(1, abs=1e-5)
    assert kept[0] > kept[1] > kept[2] > kept[3] > 0.2
    assert np.linalg.norm(tastes(77), axis=1) == pytest.approx(np.ones(300), abs=1e-5)


def test_sales_weekends_and_growth_bring_visits():
    season = SeasonConfig(sale_first_day=7, sale_every_days=28, sale_days=3)
    factor = [season.visits_factor(day, weekday=0) for day in range(40)]
    assert [day for day in range(40) if season.in_sale(np.array([float(day)]))[0]] == [7, 8, 9, 35, 36, 37]
    assert factor[7] > 1.3 * factor[6]
    assert season.visits_factor(4, weekday=5) == pytest.approx(0.75 * season.visits_factor(4, weekday=4))
    assert factor[39] > factor[0]
    config = lively()
    quiet = World(replace(config, season=replace(config.season, sale_days=0, weekend_lift=1.0)))
    assert len(WORLD.play(WORLD.logging_policy, 11)) > 1.2 * len(quiet.play(quiet.logging_policy, 11))


def test_people_come_in_the_evening_of_their_own_clocks():
    traffic = WORLD._traffic_of_day(3)
    hour_R = traffic.t_us_R // 3_600_000_000 % 24
    country_R = WORLD.population.users.country_U[traffic.user_R]
    peak = {c: np.bincount(hour_R[country_R == c], minlength=24) for c in (0, 1)}
    evening = {
        c: peak[c][(np.array([19, 20, 21]) - offset) % 24].sum() / peak[c].sum() for c, offset in ((0, -6), (1, 1))
    }
    night = {c: peak[c][(np.array([2, 3, 4]) - offset) % 24].sum() / peak[c].sum() for c, offset in ((0, -6), (1, 1))}
    for country in (0, 1):
        assert evening[country] > 3 * night[country]


def test_heavy_tails_throughout():
    world = World(PRESETS["demo"])
    population = world.population

    def top_tenth(values):
        ordered = np.sort(values)[::-1]
        return ordered[: len(ordered) // 10].sum() / ordered.sum()

    assert top_tenth(population.users.activity_U) > 0.3
    assert top_tenth(population.items.appeal_I) > 0.3
    assert top_tenth(np.bincount(world.item_advertiser_I)) > 0.3
    assert top_tenth(population.advertisers.daily_budget_A) > 0.3
    assert top_tenth(population.items.price_I) > 0.25


def test_content_and_looks_tell_some_of_the_hidden_vectors_and_together_more():
    items = World(PRESETS["demo"]).population.items

    def explained(seen):
        fitted = seen @ np.linalg.lstsq(seen, items.latent_ID, rcond=None)[0]
        return 1 - ((items.latent_ID - fitted) ** 2).sum() / (items.latent_ID**2).sum()

    content, visual = explained(items.content_IC), explained(items.visual_IC)
    both = explained(np.concatenate([items.content_IC, items.visual_IC], axis=1))
    assert 0.4 < visual < content < both < 0.98


def test_nobody_comes_before_joining_and_nothing_is_shown_off_sale():
    config = lively()
    world = World(
        replace(
            config,
            users=replace(config.users, late_share=0.5),
            items=replace(config.items, late_share=0.3, ending_share=0.3),
        )
    )
    users, items = world.population.users, world.population.items
    for day in (10, 12):
        outcomes = world.play(world.logging_policy, day)
        day_N = (outcomes.t_us_N - world.start_us) / 86_400_000_000
        assert (day_N >= users.joins_day_U[outcomes.user_N]).all()
        hour_N = np.floor(day_N * 24) / 24
        assert items.on_sale(0.0)[outcomes.item_N].sum() < len(outcomes)
        assert (items.born_day_I[outcomes.item_N] <= hour_N).all()
        assert (hour_N < items.dies_day_I[outcomes.item_N]).all()
