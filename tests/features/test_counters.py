"""Performance counters: nothing of the day itself, and what a plain count over all events says."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.events.schema import ACTION_CODE, ACTIONS
from lowerfunnel.features.counters import (
    COUNTER_DAYS,
    COUNTER_GROUPS,
    COUNTER_NAMES,
    PRIOR_CLICKS,
    PRIOR_IMPRESSIONS,
    DailyCounters,
)

DAY_US = 86_400_000_000
ITEMS = 4
Row = tuple[int, int, str]

# From before 1970 to after; noon and the ends of days.
moments = st.builds(
    lambda day, part: day * DAY_US + part, st.integers(-10, 60), st.sampled_from([0, 1, DAY_US // 2, DAY_US - 1])
)
actions = st.sampled_from(["impression", "impression", "click", *ACTIONS])
logs = st.lists(st.tuples(st.integers(-1, ITEMS - 1), moments, actions), max_size=80)


def built(log: list[Row], items: int = ITEMS) -> DailyCounters:
    return DailyCounters.build(
        np.array([item for item, _, _ in log], np.int32),
        np.array([t for _, t, _ in log], np.int64),
        np.array([ACTION_CODE[action] for _, _, action in log], np.int8),
        items=items,
    )


def at(counters: DailyCounters, item: int, t: int) -> list[float]:
    (row,) = counters.at(np.array([item], np.int32), np.array([t], np.int64))
    return row.tolist()


def reference(log: list[Row], item: int, t: int) -> list[float]:
    def count(group: str, days: int, own: bool) -> int:
        day = t // DAY_US
        return sum(
            action in COUNTER_GROUPS[group]
            and day - days <= when // DAY_US < day
            and (shown == item if own else shown >= 0)
            for shown, when, action in log
        )

    def lift(of: str, per: str, prior: float) -> float:
        overall_of, overall_per = count(of, 28, own=False), count(per, 28, own=False)
        if not overall_of or not overall_per:
            return 0.0
        rate = overall_of / overall_per
        return math.log((count(of, 28, own=True) + rate * prior) / (count(per, 28, own=True) + prior) / rate)

    if item < 0:
        return [0.0] * len(COUNTER_NAMES)
    counts = [math.log1p(count(group, days, own=True)) for days in COUNTER_DAYS for group in COUNTER_GROUPS]
    rates = lift("clicks", "impressions", PRIOR_IMPRESSIONS), lift("conversions", "clicks", PRIOR_CLICKS)
    return [*counts, *rates]


@given(logs, st.lists(st.tuples(st.integers(-1, ITEMS - 1), moments), min_size=1, max_size=8))
def test_every_row_equals_the_plain_reference(log: list[Row], asked: list[tuple[int, int]]) -> None:
    found = built(log).at(np.array([i for i, _ in asked], np.int32), np.array([t for _, t in asked], np.int64))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [reference(log, item, t) for item, t in asked], rtol=1e-5, atol=1e-6)


@given(logs, logs, st.integers(0, ITEMS - 1), moments)
def test_an_event_of_the_same_day_or_later_changes_nothing(log: list[Row], later: list[Row], item: int, t: int) -> None:
    midnight = t // DAY_US * DAY_US
    added = [(each, max(when, midnight), action) for each, when, action in later]
    assert at(built(log), item, t) == at(built([*log, *added]), item, t)
    # Nor does the time of the day at which it is asked.
    assert at(built(log), item, t) == at(built(log), item, midnight)


@given(logs, st.tuples(st.integers(-1, ITEMS - 1), moments, actions), st.integers(0, ITEMS - 1), moments)
def test_one_more_event_never_lowers_a_count(log: list[Row], event: Row, item: int, t: int) -> None:
    before, after = at(built(log), item, t)[:-2], at(built([*log, event]), item, t)[:-2]
    assert all(more >= less for less, more in zip(before, after, strict=True))


@given(logs, st.randoms(use_true_random=False), st.integers(0, ITEMS - 1), moments)
def test_the_order_of_the_events_does_not_matter(log: list[Row], random: object, item: int, t: int) -> None:
    mixed = list(log)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert at(built(log), item, t) == at(built(mixed), item, t)


def test_value_by_hand() -> None:
    noon = 100 * DAY_US + DAY_US // 2
    log = [
        (0, 99 * DAY_US, "impression"),
        (0, 99 * DAY_US, "view"),
        (0, 93 * DAY_US, "favorite"),  # The first day of seven.
        (0, 92 * DAY_US, "checkout"),  # Too old for seven days, not for 28.
        (0, 71 * DAY_US, "click"),  # Too old for both.
        (0, 100 * DAY_US, "checkout"),  # The day itself.
        (1, 99 * DAY_US, "impression"),
        (0, 99 * DAY_US, "hide"),
    ]
    one = math.log(2)
    found = dict(zip(COUNTER_NAMES, at(built(log), 0, noon), strict=True))
    assert [found[f"{group}_7d"] for group in COUNTER_GROUPS] == pytest.approx([one, one, one, 0])
    assert [found[f"{group}_28d"] for group in COUNTER_GROUPS] == pytest.approx([one, one, one, one])
    # Overall one view in two impressions, and one conversion a view.
    assert found["click_rate_28d"] == pytest.approx(math.log((1 + 0.5 * 100) / (1 + 100) / 0.5))
    assert found["conversion_rate_28d"] == pytest.approx(math.log((1 + 20) / (1 + 20)))
    assert at(built(log), 1, noon)[-2] == pytest.approx(math.log((0 + 0.5 * 100) / (1 + 100) / 0.5))


def test_an_item_without_events_and_one_outside_the_catalogue_are_rows_of_zeros() -> None:
    log = [(0, 5 * DAY_US, "impression"), (0, 5 * DAY_US, "click"), (-1, 5 * DAY_US, "impression")]
    for item in (-1, 3, ITEMS, 10**6):
        assert at(built(log), item, 6 * DAY_US) == [0.0] * len(COUNTER_NAMES)
    assert at(built([]), 0, 6 * DAY_US) == [0.0] * len(COUNTER_NAMES)


def test_extreme_times_and_large_catalogues_stay_apart() -> None:
    far = 200 * 365 * DAY_US
    log = [(0, 0, "click"), (10_000_000, far, "click"), (0, far, "view")]
    counters = built(log, items=10_000_001)
    assert at(counters, 0, DAY_US)[1] == pytest.approx(math.log(2))
    assert at(counters, 10_000_000, DAY_US)[1] == 0.0
    assert at(counters, 10_000_000, far + DAY_US)[1] == pytest.approx(math.log(2))
    assert at(counters, 0, np.iinfo(np.int64).max)[1] == 0.0
    assert np.isfinite(at(counters, 0, np.iinfo(np.int64).min)).all()
