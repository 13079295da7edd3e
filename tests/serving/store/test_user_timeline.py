"""A timeline as bytes says what its columns say, for all events and for some."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.errors import DataError
from lowerfunnel.events.schema import ACTION_CODE, ACTIONS
from lowerfunnel.serving.user_timeline import EVENT, NOTHING, UserTimeline, pack_event

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
EVENTS = st.lists(
    st.tuples(
        st.integers(-(2**63), 2**63 - 1),
        st.integers(-(2**63), 2**63 - 1) | TEXT,
        st.sampled_from(ACTIONS),
        st.none() | TEXT,
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
    ),
    max_size=8,
)


def timeline_of(rows: list[tuple]) -> UserTimeline:
    names = ("ts_us", "item_id", "action", "surface", "dwell_s")
    return UserTimeline.of(**{name: [row[place] for row in rows] for place, name in enumerate(names)})


@given(rows=EVENTS, data=st.data())
def test_what_went_in_comes_out(rows: list[tuple], data: st.DataObject) -> None:
    timeline = timeline_of(rows)
    assert list(zip(*timeline.columns().values(), strict=True)) == rows
    assert [type(item) for item in timeline.item_id] == [type(row[1]) for row in rows]
    assert timeline.ts_us_E.tolist() == [row[0] for row in rows]
    assert timeline.action_E.tolist() == [ACTION_CODE[row[2]] for row in rows]
    some = data.draw(st.lists(st.integers(0, len(rows) - 1))) if rows else []
    assert timeline.items_at(np.array(some, np.int64)) == [rows[event][1] for event in some]
    assert timeline.surfaces_at(np.array(some, np.int64)) == [rows[event][3] for event in some]


@given(one=EVENTS, other=EVENTS)
def test_timelines_are_equal_where_their_columns_are(one: list[tuple], other: list[tuple]) -> None:
    assert timeline_of(one) == timeline_of(list(one))
    assert (timeline_of(one) == timeline_of(other)) == (repr(one) == repr(other))
    assert (timeline_of(one) == NOTHING) == (not one)


def test_bytes_by_hand() -> None:
    numbers, texts = pack_event(1, "né", "click", "home", None)
    assert texts == b"homen\xc3\xa9"
    assert len(numbers) == EVENT.itemsize == 33
    assert numbers[:16] == (1).to_bytes(8, "little") + bytes(8)
    assert numbers[24:] == (4).to_bytes(4, "little") + (3).to_bytes(4, "little") + bytes([ACTION_CODE["click"]])


def test_an_unknown_action_is_refused() -> None:
    with pytest.raises(DataError, match="got 'glance'"):
        pack_event(1, 1, "glance", None, None)
