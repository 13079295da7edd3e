import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.events.schema import ACTION_CODE
from lowerfunnel.events.timeline import Timelines
from lowerfunnel.features.history import AGE_BUCKETS, gather_histories

MINUTE_US = 60_000_000
VIEW, CART, BUY = (np.int8(ACTION_CODE[name]) for name in ("view", "add_to_cart", "checkout"))


def lines(order: str, *events: tuple[int, int, int, int]) -> Timelines:
    user, t, item, action = (np.array(column) for column in zip(*events, strict=True))
    return Timelines.build(
        user_E=user.astype(np.int32),
        t_E=t.astype(np.int64),
        item_E=item.astype(np.int32),
        action_E=action.astype(np.int8),
        users=3,
        order=order,  # type: ignore[arg-type]
    )


def gather(
    timelines: Timelines, user: int, t: int, *, length: int = 9, target: tuple[int, int] | None = None
) -> list[int]:
    found = gather_histories(
        timelines,
        np.array([user], np.int32),
        np.array([t], np.int64),
        max_length=length,
        target_item_B=None if target is None else np.array([target[0]], np.int32),
        target_action_B=None if target is None else np.array([target[1]], np.int8),
    )
    return found.item_N.tolist()


def test_the_latest_events_are_kept_and_the_moment_itself_is_not_seen() -> None:
    timelines = lines("time", *((0, t * MINUTE_US, t, VIEW) for t in range(6)))
    assert gather(timelines, 0, 4 * MINUTE_US, length=3) == [1, 2, 3]
    assert gather(timelines, 0, 0) == []
    assert gather(timelines, -1, 10**15) == []


def test_without_order_a_purchase_does_not_explain_itself_but_its_cart_may() -> None:
    timelines = lines("none", (0, 0, 1, CART), (0, 0, 1, BUY), (0, 0, 2, CART))
    assert sorted(gather(timelines, 0, 0, target=(1, BUY))) == [1, 2]
    assert gather(timelines, 0, 0, target=(1, CART)) == [2]
    assert sorted(gather(timelines, 0, 0)) == [1, 1, 2]


def test_items_outside_the_catalogue_are_left_out() -> None:
    assert gather(lines("time", (0, 1, -1, VIEW), (0, 2, 5, VIEW)), 0, 3) == [5]


@given(st.lists(st.integers(0, 10**13), min_size=1, max_size=30), st.integers(0, 2 * 10**13))
def test_older_events_never_lie_in_newer_buckets(times: list[int], at: int) -> None:
    timelines = lines("time", *((0, t, 1, VIEW) for t in times))
    found = gather_histories(timelines, np.array([0], np.int32), np.array([at], np.int64), max_length=100)
    assert (np.diff(found.age_N) <= 0).all()
    assert ((found.age_N >= 0) & (found.age_N < AGE_BUCKETS)).all()


def test_age_buckets_by_hand() -> None:
    timelines = lines("time", *((0, -minutes * MINUTE_US, minutes, VIEW) for minutes in (0, 1, 2, 3, 4, 8)))
    for at in (1, 10**15):
        found = gather_histories(timelines, np.array([0], np.int32), np.array([at], np.int64), max_length=9)
        assert found.age_N.tolist() == [4, 3, 2, 2, 1, 0]
    steps = lines("sequence", *((0, place, place, VIEW) for place in range(5)))
    found = gather_histories(steps, np.array([0], np.int32), np.array([9], np.int64), max_length=9)
    assert found.age_N.tolist() == [3, 2, 2, 1, 0]


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(-1, 3), st.integers(0, 3)), min_size=1, max_size=25),
    st.integers(0, 40),
    st.integers(1, 8),
    st.sampled_from(["time", "sequence"]),
)
def test_every_entry_brings_what_is_known_of_its_event(
    events: list[tuple[int, int, int]], at: int, length: int, order: str
) -> None:
    # The dwell is the event's number, so that rows can be told apart.
    timelines = Timelines.build(
        user_E=np.zeros(len(events), np.int32),
        t_E=np.array([t * MINUTE_US for t, _, _ in events], np.int64),
        item_E=np.array([item for _, item, _ in events], np.int32),
        action_E=np.full(len(events), VIEW),
        users=1,
        order=order,  # type: ignore[arg-type]
        surface_E=np.array([surface for _, _, surface in events], np.int16),
        dwell_E=np.arange(len(events), dtype=np.float32),
    )
    user, t = np.zeros(1, np.int32), np.full(1, at * MINUTE_US)
    found = gather_histories(timelines, user, t, max_length=length)
    past = sorted(((e, number) for number, e in enumerate(events) if e[0] < at), key=lambda row: (row[0][0], row[1]))
    expected = [(event, number) for event, number in past[-length:] if event[1] >= 0]
    assert found.item_N.tolist() == [item for (_, item, _), _ in expected]
    assert found.surface_N.tolist() == [surface for (_, _, surface), _ in expected]
    assert found.dwell_N.tolist() == [number for _, number in expected]
    assert found.back_N.tolist() == list(range(len(expected)))[::-1]


def test_what_is_left_out_does_not_show_as_a_gap() -> None:
    timelines = lines("time", (0, 0, 1, VIEW), (0, MINUTE_US, 2, VIEW), (0, 500 * MINUTE_US, 3, CART))
    found = gather_histories(
        timelines,
        np.array([0], np.int32),
        np.array([10**15], np.int64),
        max_length=9,
        target_item_B=np.array([3], np.int32),
        target_action_B=np.array([BUY], np.int8),
        hide_target=True,
    )
    assert found.item_N.tolist() == [1, 2]
    assert (found.age_N.tolist(), found.back_N.tolist()) == ([1, 0], [1, 0])


def test_surfaces_and_dwells_that_nobody_gave_are_unknown() -> None:
    timelines = lines("time", (0, 1, 1, VIEW), (0, 2, 2, VIEW))
    found = gather_histories(timelines, np.array([0], np.int32), np.array([9], np.int64), max_length=9)
    assert found.surface_N.tolist() == [0, 0]
    assert np.isnan(found.dwell_N).all()


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30))
def test_histories_of_a_batch_are_those_of_each_query_alone(events: list[tuple[int, int, int]]) -> None:
    timelines = lines("time", *((user, t * MINUTE_US, item, VIEW) for user, t, item in events))
    user, t = np.array([0, 1, -1, 2, 0], np.int32), np.array([3, 0, 9, 9, 10], np.int64) * MINUTE_US
    whole = gather_histories(timelines, user, t, max_length=4)
    alone = [gather_histories(timelines, user[b : b + 1], t[b : b + 1], max_length=4) for b in range(5)]
    for name in ("item_N", "action_N", "age_N", "surface_N", "dwell_N", "back_N"):
        np.testing.assert_array_equal(getattr(whole, name), np.concatenate([getattr(each, name) for each in alone]))
