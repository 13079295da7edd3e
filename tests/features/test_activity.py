"""Past actions of users: nothing at or after the moment, and what a plain count over all events says."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.errors import UnavailableError
from lowerfunnel.events.schema import ACTION_CODE, ACTIONS
from lowerfunnel.events.timeline import Timelines
from lowerfunnel.features import activity
from lowerfunnel.features.activity import ACTIVITY_DAYS, ACTIVITY_GROUPS, activity_counts, activity_names

DAY_US = 86_400_000_000
USERS = 4
Row = tuple[int, int, str]

moments = st.builds(
    lambda day, part: day * DAY_US + part, st.integers(0, 40), st.sampled_from([0, 1, DAY_US // 2, DAY_US - 1])
)
logs = st.lists(st.tuples(st.integers(0, USERS - 1), moments, st.sampled_from(ACTIONS)), max_size=60)
queries = st.lists(st.tuples(st.integers(-1, USERS - 1), moments), min_size=1, max_size=12)


def lines(log: list[Row], order: str = "time") -> Timelines:
    return Timelines.build(
        user_E=np.array([user for user, _, _ in log], np.int32),
        t_E=np.array([t for _, t, _ in log], np.int64),
        item_E=np.zeros(len(log), np.int32),
        action_E=np.array([ACTION_CODE[action] for _, _, action in log], np.int8),
        users=USERS,
        order=order,  # type: ignore[arg-type]
    )


def counts(log: list[Row], asked: list[tuple[int, int]], order: str = "time") -> np.ndarray:
    user, t = np.array([u for u, _ in asked], np.int32), np.array([at for _, at in asked], np.int64)
    return activity_counts(lines(log, order), user, t)


def reference(log: list[Row], user: int, t: int, order: str) -> list[float]:
    windows = [*(days * DAY_US for days in ACTIVITY_DAYS), math.inf] if order == "time" else [math.inf]
    return [
        math.log1p(sum(who == user and t - window <= when < t and action in names for who, when, action in log))
        for window in windows
        for names in ACTIVITY_GROUPS.values()
    ]


@given(logs, queries, st.sampled_from(["time", "sequence"]), st.sampled_from([1, 7, 10**6]))
def test_every_row_equals_the_plain_reference(
    log: list[Row], asked: list[tuple[int, int]], order: str, most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # However few events are looked at in one go, the counts are the same.
        patch.setattr(activity, "_MOST_EVENTS", most)
        found = counts(log, asked, order)
    assert found.dtype == np.float32
    assert found.shape == (len(asked), len(activity_names(order)))  # type: ignore[arg-type]
    np.testing.assert_allclose(found, [reference(log, user, t, order) for user, t in asked], rtol=1e-6)


@given(logs, logs, st.integers(0, USERS - 1), moments)
def test_an_event_at_the_moment_or_later_never_counts(log: list[Row], later: list[Row], user: int, t: int) -> None:
    added = [(who, max(when, t), action) for who, when, action in later]
    np.testing.assert_array_equal(counts(log, [(user, t)]), counts([*log, *added], [(user, t)]))


@given(logs, st.integers(0, USERS - 1), moments)
def test_a_longer_window_never_counts_less(log: list[Row], user: int, t: int) -> None:
    by_window = counts(log, [(user, t)]).reshape(len(ACTIVITY_DAYS) + 1, len(ACTIVITY_GROUPS))
    assert (np.diff(by_window, axis=0) >= 0).all()


def test_value_by_hand() -> None:
    t = 40 * DAY_US
    log = [(0, t - 1, "click"), (0, t - DAY_US, "view"), (0, t - DAY_US - 1, "view"), (0, t - 31 * DAY_US, "lead")]
    found = dict(zip(activity_names("time"), counts(log, [(0, t)])[0], strict=True))
    # A window holds its far end.
    assert found["engagement_1d"] == pytest.approx(math.log(3))
    assert found["engagement_7d"] == found["engagement_30d"] == found["engagement"] == pytest.approx(math.log(4))
    assert (found["conversion_30d"], found["conversion"]) == (0.0, pytest.approx(math.log(2)))
    assert (counts(log, [(-1, t), (1, t)]) == 0).all()
    assert activity_names("sequence") == tuple(ACTIVITY_GROUPS)


def test_every_action_is_counted_in_one_group() -> None:
    assert sorted(action for names in ACTIVITY_GROUPS.values() for action in names) == sorted(ACTIONS)


def test_a_moment_after_every_event_counts_them_all() -> None:
    never = np.iinfo(np.int64).max
    log = [(0, 0, "click"), (0, 5, "checkout")]
    assert counts(log, [(0, never)], "sequence")[0].tolist() == pytest.approx([math.log(2), 0, math.log(2), 0, 0])
    assert counts(log, [(0, never)])[0, -5:].tolist() == pytest.approx([math.log(2), 0, math.log(2), 0, 0])


def test_no_users_have_done_nothing() -> None:
    assert activity_counts(lines([]), np.zeros(0, np.int32), np.zeros(0, np.int64)).shape == (0, 20)


def test_without_order_the_target_itself_would_be_counted() -> None:
    with pytest.raises(UnavailableError, match=r"retrieval\.tower\.activity needs a log with order"):
        counts([(0, 0, "click")], [(0, 0)], "none")
