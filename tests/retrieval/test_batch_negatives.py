"""What a batch compares its positives with: how often each source is expected to draw an item, and for whom."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.retrieval.test_batches import (
    CODES,
    ITEMS,
    MANY,
    USERS,
    Event,
    config_of,
    example_of,
    histories_of,
    logs,
    source_of,
)

from lowerfunnel.events.schema import ACTION_CODE
from lowerfunnel.retrieval.negatives import IgnoredAds
from lowerfunnel.retrieval.settings import NegativesConfig

ADS = IgnoredAds(
    offsets_Q1=np.array([0, 3, 3, 5]), item_T=np.array([4, 5, 6, 0, 1, 5], np.int32), t_T=np.arange(6, dtype=np.int64)
)
"""Three requests: one with three ignored ads, one with none, one with two; the last ad came without a request."""


@MANY
@given(logs(), st.integers(0, 4), st.integers(0, 5), st.integers(0, 3))
def test_hard_negatives_are_ignored_ads_and_own_ones_those_of_their_request(
    log: tuple[str, list[Event]], request: int, hard: int, uniform: int
) -> None:
    order, events = log
    config = config_of(negatives=NegativesConfig(request=request, hard=hard, uniform=uniform))
    source = source_of(order, events, config, ignored=ADS)
    for step in range(source.steps_per_epoch):
        batch = source.batch(0, step)
        drawn = [events[example] for example in example_of(batch)]
        assert batch.shared == len(drawn) + hard + uniform
        assert set(batch.item_C[len(drawn) : len(drawn) + hard].tolist()) <= set(ADS.item_T.tolist())
        assert batch.own_place_N.tolist() == list(range(batch.shared, len(batch.item_C)))
        own = batch.item_C[batch.own_place_N].tolist()
        offsets = batch.own_offsets_R1.tolist()
        for row, (user, t, _, _) in zip(batch.row_B.tolist(), drawn, strict=True):
            served = [] if user % 2 else ADS.item_T[ADS.offsets_Q1[t % 3] : ADS.offsets_Q1[t % 3 + 1]].tolist()
            found = own[offsets[row] : offsets[row + 1]]
            assert set(found) <= set(served)
            assert len(found) == len(set(found)) == min(request, len(served))


def test_log_q_of_every_source_is_what_counting_its_draws_gives() -> None:
    log = [(2 * (i % 2), i, item, CODES[2]) for i, item in enumerate([0] * 12 + [1] * 5 + [2] * 2 + [3])]
    for proposal in ("mixture", "source"):
        negatives = NegativesConfig(uniform=3, hard=2, request=1, proposal=proposal)
        source = source_of("time", log, config_of(negatives=negatives), ignored=ADS)
        drawn, log_q, batches = Counter[tuple[str, int]](), dict[tuple[str, int], float](), 0
        for epoch in range(200):
            for step in range(source.steps_per_epoch):
                batch = source.batch(epoch, step)
                names = ["positive"] * 4 + ["hard"] * 2 + ["uniform"] * 3
                names += ["own"] * (len(batch.item_C) - len(names))
                items = batch.item_C.tolist()
                keys = [
                    (name if proposal == "source" else "any", item) for name, item in zip(names, items, strict=True)
                ]
                # A request sees its own ads alone: what counts is how many of them an example's request has.
                once = [key for key, name in zip(keys, names, strict=True) if name != "own"]
                drawn.update(once)
                log_q |= dict(zip(keys, batch.log_q_C.tolist(), strict=True))
                batches += 1
        own_of_item = source.proposals.request_I
        for (name, item), value in log_q.items():
            expected = drawn[(name, item)] / batches
            if name in ("own", "any"):
                expected += own_of_item[item]
            # 1,000 batches: the standard error of the mean is below .03 draws.
            assert np.exp(value) == pytest.approx(expected, abs=0.12)
        # Two requests in three have ads, and one of them is shown.
        assert own_of_item.sum() == pytest.approx(np.mean([t % 3 != 1 for _, t, _, _ in log]))


@MANY
@given(logs(), st.integers(0, 6))
def test_log_q_is_the_log_of_the_expected_draws(log: tuple[str, list[Event]], uniform: int) -> None:
    source = source_of(*log, config_of(uniform=uniform))
    count = Counter(item for _, _, item, _ in log[1])
    for step in range(source.steps_per_epoch):
        batch = source.batch(1, step)
        for item, log_q in zip(batch.item_C.tolist(), batch.log_q_C.tolist(), strict=True):
            expected = source.batch_size * count[item] / len(log[1]) + uniform / ITEMS
            assert log_q == pytest.approx(np.log(expected), abs=1e-6)


def test_log_q_is_what_counting_the_draws_of_many_batches_gives() -> None:
    log = [(i % USERS, i, item, CODES[2]) for i, item in enumerate([0] * 12 + [1] * 5 + [2] * 2 + [3])]
    source = source_of("time", log, config_of(uniform=3))
    drawn, log_q, batches = Counter[int](), dict[int, float](), 0
    for epoch in range(150):
        for step in range(source.steps_per_epoch):
            batch = source.batch(epoch, step)
            drawn.update(batch.item_C.tolist())
            log_q |= dict(zip(batch.item_C.tolist(), batch.log_q_C.tolist(), strict=True))
            batches += 1
    assert sum(drawn.values()) == batches * 7
    assert sorted(log_q) == list(range(ITEMS))
    for item in range(ITEMS):
        # 750 batches: the standard error of the mean is below .03 draws.
        assert np.exp(log_q[item]) == pytest.approx(drawn[item] / batches, abs=0.1)


@MANY
@given(logs(), st.sampled_from([(), ("checkout",), ("add_to_cart", "checkout")]))
def test_spared_is_what_the_shown_history_holds_of_the_actions(
    log: tuple[str, list[Event]], actions: tuple[str, ...]
) -> None:
    source = source_of(*log, config_of(negatives=NegativesConfig(spared_actions=actions)))
    codes = {ACTION_CODE[action] for action in actions}
    for step in range(source.steps_per_epoch):
        batch = source.batch(0, step)
        of_request = [
            batch.spared_item_S[start:stop].tolist() for start, stop in pairwise(batch.spared_offsets_R1.tolist())
        ]
        spared = [of_request[row] for row in batch.row_B.tolist()]
        assert spared == [[item for item, code in history if code in codes] for history in histories_of(batch)]


def test_how_many_own_ads_an_example_sees_is_a_mean_over_all_examples() -> None:
    # Users 0 and 2 came from requests with 3, no and 2 ads in turn; user 1 came from none.
    log = [(user, t, 0, CODES[2]) for user in range(3) for t in range(6)]
    for most, expected in ((1, (4 + 4) / 18), (2, (8 + 8) / 18), (9, (10 + 10) / 18)):
        source = source_of("time", log, config_of(negatives=NegativesConfig(request=most)), ignored=ADS)
        assert source.proposals.request_I.sum() == pytest.approx(expected)
