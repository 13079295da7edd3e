import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.events.timeline import Timelines, ragged_index

EVENTS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(-50, 50), st.integers(-1, 9), st.integers(0, 9)), max_size=60
)
COLUMNS = ("offsets_U1", "t_E", "item_E", "action_E", "surface_E", "dwell_E")


def timelines(events: list[tuple[int, int, int, int]], order: str = "time") -> Timelines:
    user, t, item, action = (np.array(column) for column in zip(*events, strict=True)) if events else [np.zeros(0)] * 4
    return Timelines.build(
        user_E=user.astype(np.int32),
        t_E=t.astype(np.int64),
        item_E=item.astype(np.int32),
        action_E=action.astype(np.int8),
        users=5,
        order=order,  # type: ignore[arg-type]
        # Told apart by the other columns, so that a row that is torn shows.
        surface_E=(100 * item + action).astype(np.int16),
        dwell_E=(t + 0.5).astype(np.float32),
    )


@given(EVENTS, st.lists(st.tuples(st.integers(-1, 4), st.integers(-60, 60)), min_size=1, max_size=20))
def test_nothing_gathered_is_as_new_as_its_query_and_nothing_older_is_missing(
    events: list[tuple[int, int, int, int]], queries: list[tuple[int, int]]
) -> None:
    lines = timelines(events)
    user = np.array([u for u, _ in queries], np.int32)
    t = np.array([at for _, at in queries], np.int64)
    start, stop = lines.before(user, t)
    for (u, at), a, b in zip(queries, start, stop, strict=True):
        found = sorted(zip(lines.t_E[a:b].tolist(), lines.item_E[a:b].tolist(), strict=True))
        assert found == sorted((time, item) for v, time, item, _ in events if v == u and time < at)


@given(EVENTS)
def test_a_log_without_order_has_no_before(events: list[tuple[int, int, int, int]]) -> None:
    lines = timelines([(u, 0, i, a) for u, _, i, a in events], "none")
    start, stop = lines.before(np.arange(5, dtype=np.int32), np.zeros(5, np.int64))
    assert int((stop - start).sum()) == len(events)


def test_events_of_one_moment_keep_their_order() -> None:
    lines = timelines([(1, 5, 3, 0), (1, 5, 2, 0), (1, 4, 9, 0)])
    assert lines.item_E.tolist() == [9, 3, 2]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), max_size=20))
def test_ragged_index_lists_every_slice_in_turn(slices: list[tuple[int, int]]) -> None:
    start = np.array([a for a, _ in slices], np.int64)
    stop = np.array([a + n for a, n in slices], np.int64)
    position, offsets = ragged_index(start, stop)
    assert position.tolist() == [p for a, n in slices for p in range(a, a + n)]
    assert np.diff(offsets).tolist() == [n for _, n in slices]


def test_a_user_outside_the_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"users must lie in 0\.\.4, got 7\.\.7"):
        timelines([(7, 0, 0, 0)])


@given(EVENTS, st.sets(st.integers(0, 9), min_size=1))
def test_timelines_of_some_actions_hold_these_events_alone_in_their_order(
    events: list[tuple[int, int, int, int]], codes: set[int]
) -> None:
    chosen = timelines(events).of_actions(tuple(codes))
    expected = timelines([event for event in events if event[3] in codes])
    for name in COLUMNS:
        assert getattr(chosen, name).tolist() == getattr(expected, name).tolist()


@given(EVENTS, st.lists(st.integers(-60, 60), min_size=5, max_size=5))
def test_timelines_cut_off_hold_what_was_strictly_before(
    events: list[tuple[int, int, int, int]], until: list[int]
) -> None:
    cut = timelines(events).until(np.array(until, np.int64))
    expected = timelines([event for event in events if event[1] < until[event[0]]])
    for name in COLUMNS:
        assert getattr(cut, name).tolist() == getattr(expected, name).tolist()


@given(EVENTS)
def test_rows_stay_whole_when_they_are_sorted(events: list[tuple[int, int, int, int]]) -> None:
    lines = timelines(events)
    assert lines.surface_E.tolist() == (100 * lines.item_E + lines.action_E).tolist()
    assert lines.dwell_E.tolist() == (lines.t_E + 0.5).tolist()


def test_surfaces_and_dwells_that_nobody_gave_are_unknown() -> None:
    one = np.zeros(2, np.int32)
    lines = Timelines.build(
        user_E=one, t_E=one.astype(np.int64), item_E=one, action_E=one.astype(np.int8), users=1, order="time"
    )
    assert lines.surface_E.tolist() == [0, 0]
    assert np.isnan(lines.dwell_E).all()
    assert (lines.surface_E.dtype, lines.dwell_E.dtype) == (np.int16, np.float32)


def test_columns_of_different_lengths_are_refused_with_their_lengths() -> None:
    with pytest.raises(ValueError, match="t 2, item 2, action 2, surface 1, dwell 2, last offset 2"):
        Timelines(
            offsets_U1=np.array([0, 2]),
            t_E=np.zeros(2, np.int64),
            item_E=np.zeros(2, np.int32),
            action_E=np.zeros(2, np.int8),
            order="time",
            surface_E=np.zeros(1, np.int16),
        )
