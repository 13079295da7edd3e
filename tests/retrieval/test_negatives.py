"""Where negatives come from, and how often each source draws an item: by hand, and against simulated streams."""

import math
from itertools import pairwise
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.retrieval.negatives import IgnoredAds, Proposals, StreamingDraws

requests_of_ads = st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=5)


def ads_of(requests: list[list[int]], without: int = 2) -> IgnoredAds:
    """List the ads of each request, and `without` more that came in none; an ad's time is its place."""
    items = [item for request in requests for item in request] + [7] * without
    return IgnoredAds(
        offsets_Q1=np.concatenate([[0], np.cumsum([len(request) for request in requests])]).astype(np.int64),
        item_T=np.array(items, np.int32),
        t_T=np.arange(len(items), dtype=np.int64),
    )


@given(requests_of_ads, st.integers(0, 5), st.data())
def test_each_request_gets_ads_of_its_own_each_at_most_once(
    requests: list[list[int]], most: int, data: st.DataObject
) -> None:
    asked = data.draw(st.lists(st.integers(-1, len(requests) - 1), max_size=6))
    ads = ads_of(requests)
    item_N, offsets_R1 = ads.of_requests(np.array(asked, np.int64), most, np.random.default_rng(0))
    assert len(offsets_R1) == len(asked) + 1
    for request, (start, stop) in zip(asked, pairwise(offsets_R1.tolist()), strict=True):
        own = sorted(requests[request]) if request >= 0 else []
        found = sorted(item_N[start:stop].tolist())
        assert len(found) == min(most, len(own))
        for item in set(found):
            assert found.count(item) <= own.count(item)


def test_every_ad_of_a_request_is_drawn_equally_often() -> None:
    ads, generator = ads_of([[1, 2, 3], [4]]), np.random.default_rng(0)
    drawn = np.concatenate([ads.of_requests(np.zeros(1, np.int64), 1, generator)[0] for _ in range(3000)])
    # 3,000 draws: four standard errors are below .035.
    assert np.bincount(drawn, minlength=5) / 3000 == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3, 0], abs=0.035)


def test_no_ads_are_drawn_where_there_are_none() -> None:
    none = IgnoredAds.none()
    assert len(none) == 0
    item_N, offsets_R1 = none.of_requests(np.array([-1, -1]), 3, np.random.default_rng(0))
    assert (item_N.tolist(), offsets_R1.tolist()) == ([], [0, 0, 0])


def proposals() -> Proposals:
    """Five items; 8 examples in batches of 4; 10 uniform draws; 6 hard ones, from 2 ads; 1.5 own ones on average."""
    return Proposals.of(
        item_X=np.array([0, 0, 0, 0, 1, 1, 2, 2], np.int32),
        batch_size=4,
        uniform=10,
        hard=6,
        request=1.5,
        ignored=ads_of([[1, 3]], without=0),
        items=5,
    )


def test_expected_draws_by_hand() -> None:
    found = proposals()
    assert found.positive_I.tolist() == [2.0, 1.0, 1.0, 0.0, 0.0]
    assert found.uniform == 2.0
    assert found.hard_I.tolist() == [0.0, 3.0, 0.0, 3.0, 0.0]
    assert found.request_I.tolist() == [0.0, 0.75, 0.0, 0.75, 0.0]
    assert found.other(np.array([0, 1, 4], np.int32)).tolist() == [2.0, 5.75, 2.0]


def test_the_mixture_expects_an_item_from_all_sources_and_a_source_from_itself() -> None:
    positive, hard, uniform, own = (np.array(items, np.int32) for items in ([0, 1], [3], [1, 4], [1]))
    mixture = np.exp(proposals().log_draws(positive, hard, uniform, own, mixture=True))
    assert mixture.tolist() == pytest.approx([4.0, 6.75, 5.75, 6.75, 2.0, 6.75])
    source = np.exp(proposals().log_draws(positive, hard, uniform, own, mixture=False))
    assert source.tolist() == pytest.approx([2.0, 1.0, 3.0, 2.0, 2.0, 0.75])


@given(st.integers(1, 60), st.integers(0, 50), st.integers(0, 20), st.floats(0, 5))
def test_all_sources_together_draw_as_many_as_a_batch_holds(
    examples: int, uniform: int, hard: int, request: float
) -> None:
    found = Proposals.of(
        item_X=np.arange(examples, dtype=np.int32) % 7, batch_size=4, uniform=uniform, hard=hard, request=request,
        ignored=ads_of([[1, 3], [3, 9]]), items=10,
    )  # fmt: skip
    total = found.positive_I.sum() + found.other(np.arange(10, dtype=np.int32)).sum()
    assert total == pytest.approx(4 + uniform + hard + request)


def test_draws_are_never_clipped() -> None:
    many = 10**6
    found = Proposals.of(
        item_X=np.concatenate([np.zeros(many - 1, np.int32), np.ones(1, np.int32)]), batch_size=2, uniform=0, hard=0,
        request=0.0, ignored=IgnoredAds.none(), items=3,
    )  # fmt: skip
    none = np.zeros(0, np.int32)
    log_q = found.log_draws(np.array([1], np.int32), none, none, none, mixture=True)
    assert log_q.tolist() == pytest.approx([math.log(2e-6)])
    assert found.positive_I[2] == 0.0


def streamed(rate_I: np.ndarray, *, steps: int, seed: int) -> StreamingDraws:
    """Show batches in which item i comes a Poisson number of times, `rate_I[i]` on average."""
    generator = np.random.default_rng(seed)
    draws = StreamingDraws(len(rate_I), batch_size=8, device=torch.device("cpu"))
    for step in range(1, steps + 1):
        count_I = generator.poisson(rate_I)
        draws.update(torch.from_numpy(np.repeat(np.arange(len(rate_I)), count_I)), step)
    return draws


def test_a_stream_leads_to_the_draws_that_are_counted() -> None:
    # From one appearance in ten batches to twenty in one; the middle ones are often drawn twice.
    rate_I = np.array([0.1, 0.5, 1.0, 2.0, 5.0, 20.0])
    found = np.mean(
        [streamed(rate_I, steps=4000, seed=seed).draws(torch.arange(6)).numpy() for seed in range(8)], axis=0
    )
    # A gap is known from the last 200 appearances or so: within 7 percent, over the root of 8 streams.
    assert found.tolist() == pytest.approx(rate_I.tolist(), rel=0.1)


def test_a_stream_that_changes_is_followed() -> None:
    draws = StreamingDraws(1, batch_size=1, rate=0.1, device=torch.device("cpu"))
    item = torch.zeros(1, dtype=torch.int64)
    for step in range(1, 400):
        draws.update(item.repeat(int(step % 4 == 0)), step)
    assert draws.draws(item).item() == pytest.approx(0.25, rel=1e-3)
    for step in range(400, 500):
        draws.update(item.repeat(3), step)
    assert draws.draws(item).item() == pytest.approx(3.0, rel=1e-3)


def test_gaps_by_hand() -> None:
    draws = StreamingDraws(4, batch_size=2, rate=0.5, device=torch.device("cpu"))
    assert draws.draws(torch.arange(4)).tolist() == [0.5] * 4
    draws.update(torch.tensor([1, 3, 3]), 1)
    # Once: half of 2 and half of 1. Twice: a quarter of 2 and three quarters of a half.
    assert draws.gap_I.tolist() == [2.0, 1.5, 2.0, 0.875]
    draws.update(torch.tensor([1]), 4)
    assert draws.gap_I.tolist() == [2.0, 2.25, 2.0, 0.875]
    assert draws.last_I.tolist() == [0.0, 4.0, 0.0, 1.0]


@given(st.lists(st.integers(0, 4), max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_a_batch_does_not_matter_to_a_stream(items: list[int], random: Random) -> None:
    found = []
    for order in (items, random.sample(items, len(items))):
        draws = StreamingDraws(5, batch_size=3, device=torch.device("cpu"))
        draws.update(torch.tensor(order, dtype=torch.int64), 3)
        found.append(draws.gap_I.tolist())
    assert found[0] == found[1]
