"""What a policy may answer, and what a world makes of it."""

import time
from dataclasses import replace

import numpy as np
import pytest
from tests.world.world_samples import Chosen, lively

from lowerfunnel.errors import PolicyError, RunError
from lowerfunnel.world import Policy, Slate, World


@pytest.fixture(scope="module")
def world():
    return World(lively())


def test_the_logging_policy_and_a_plain_class_are_policies(world):
    assert isinstance(world.logging_policy, Policy)
    assert isinstance(Chosen(world), Policy)


def test_what_is_shown_is_what_the_policy_chose(world):
    outcomes = world.play(Chosen(world), 0)
    slots = world.config.traffic.slots
    first_hour = world.population.items.on_sale(0.0)
    assert outcomes.item_N[:slots].tolist() == np.flatnonzero(first_hour)[:slots].tolist()
    assert np.isnan(outcomes.propensity_N).all()
    assert outcomes.position_N[:slots].tolist() == list(range(1, slots + 1))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda ids: ids[:, :-1], r"\d+, 8\), were asked for"),
        (lambda ids: np.where(ids == ids[0, 3], 7, ids), "the item 7, which this world does not have"),
        (lambda ids: np.where(ids == ids[0, 3], 2**62, ids), f"the item {2**62}, which this world does not have"),
        (lambda ids: np.where(ids == ids[0, 3], ids[0, 0], ids), "returned an item twice"),
    ],
    ids=["too few", "unknown", "far beyond", "repeated"],
)
def test_an_answer_that_cannot_be_shown_is_refused_in_one_sentence(world, spoil, message):
    def choose(requests, eligible_I, slots):
        return spoil(Chosen(world).rank(requests, eligible_I, slots).item_id_RS)

    with pytest.raises(PolicyError, match=message) as caught:
        world.play(Chosen(world, choose, name="spoiled"), 0)
    assert 'the policy "spoiled"' in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ids_that_became_floats_are_refused(world):
    class Floats(Chosen):
        def rank(self, requests, eligible_I, slots):
            slate = super().rank(requests, eligible_I, slots)
            object.__setattr__(slate, "item_id_RS", slate.item_id_RS.astype(np.float64))
            return slate

    with pytest.raises(PolicyError, match="of type float64; they must stay integers"):
        world.play(Floats(world), 0)


def test_an_item_that_is_not_on_sale_is_refused(world):
    def choose(requests, eligible_I, slots):
        closed = world.item_id_I[~eligible_I][:1]
        ids = Chosen(world).rank(requests, eligible_I, slots).item_id_RS
        return np.concatenate([ids[:, 1:], np.tile(closed, (len(ids), 1))], axis=1)

    with pytest.raises(PolicyError, match="which is not eligible"):
        world.play(Chosen(world, choose), 0)


@pytest.mark.parametrize("value", [0.0, 1.5, np.nan])
def test_propensities_that_are_no_probabilities_are_refused(world, value):
    class Odd(Chosen):
        def rank(self, requests, eligible_I, slots):
            ids = super().rank(requests, eligible_I, slots).item_id_RS
            return Slate(item_id_RS=ids, propensity_RS=np.full(ids.shape, value))

    with pytest.raises(PolicyError, match=r"not all in \(0, 1\]"):
        world.play(Odd(world), 0)


def test_a_policy_that_takes_too_long_is_stopped(world):
    def choose(requests, eligible_I, slots):
        time.sleep(0.5)
        return Chosen(world).rank(requests, eligible_I, slots).item_id_RS

    with pytest.raises(PolicyError, match=r"took longer than 0.05 s for the requests of one hour"):
        world.play(Chosen(world, choose), 0, limit_s=0.05)
    assert len(world.play(Chosen(world), 0, limit_s=60.0)) > 0


def test_a_policy_sees_no_more_than_requests_tell(world):
    seen = []

    def choose(requests, eligible_I, slots):
        seen.append(requests)
        return Chosen(world).rank(requests, eligible_I, slots).item_id_RS

    world.play(Chosen(world, choose), 1)
    ids = np.concatenate([requests.user_id_R for requests in seen])
    t_us = np.concatenate([requests.t_us_R for requests in seen])
    context = np.concatenate([requests.context_item_id_R for requests in seen])
    surface = np.concatenate([requests.surface_R for requests in seen])
    query = np.concatenate([requests.query_R for requests in seen])
    assert np.isin(ids, world.user_id_U).all()
    assert (np.diff(t_us) >= 0).all()
    day = (t_us - world.start_us) / 86_400_000_000
    assert 1 <= day.min() < day.max() < 2.1
    assert ((context >= 0) == (surface == 1)).all()
    assert np.isin(context[context >= 0], world.item_id_I).all()
    assert ((query >= 0) == (surface == 2)).all()
    assert query.max() < len(world.queries)


def test_a_world_whose_advertisers_are_broke_says_so():
    config = lively()
    broke = World(replace(config, advertisers=replace(config.advertisers, daily_budget_clicks=1e-6)))
    with pytest.raises(RunError, match=r"items are eligible and a request shows 8; raise advertisers.daily_budget"):
        broke.play(broke.logging_policy, 0)
