"""Positives on an advertiser's site take the request of the touch they came from."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.labels.label_samples import DAY_US, START_US, Event, config_of, labels_of, store_of, table

from lowerfunnel.errors import UnavailableError

HOUR_US = DAY_US // 24
WEIGHTS = {"checkout": 1.0, "add_to_cart": 0.5, "click": 0.1}
REQUEST = ("request_id", "surface", "context_item_id", "query")
# A touch that every log has, so that it has the columns, a positive to learn from and a pair to test with.
REST = [
    Event(9, 9, "impression", 0, "home", "r9"),
    Event(9, 9, "checkout", 0),
    Event(9, 8, "checkout", 30 * DAY_US),
]


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    """Draw touches with a request each and some without, and positives with and without their own."""
    rows = draw(
        st.lists(
            st.tuples(
                st.integers(0, 1),
                st.integers(0, 1),
                st.sampled_from(["impression", "click", "view", "checkout", "add_to_cart"]),
                st.integers(0, 60),
                st.booleans(),
            ),
            min_size=1,
            max_size=40,
            unique_by=lambda row: row[:4],
        )
    )
    return [
        Event(user, item, action, hour * HOUR_US, f"s{n % 3}", f"r{n}", query=f"q{n}", context=n)
        if requested and action != "checkout"
        else Event(user, item, action, hour * HOUR_US)
        for n, (user, item, action, hour, requested) in enumerate(rows)
    ]


def trained(log: list[Event], window_h: float) -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory() as folder:
        store = store_of(Path(folder), [*log, *REST])
        labels, _ = labels_of(store, config_of("temporal", weights=WEIGHTS, touch_window_h=window_h))
        return [row | {"t": round(row["t"].timestamp() * 1e6) - START_US} for row in table(labels, "train")]


def key(row: dict[str, object]) -> tuple[object, ...]:
    return row["user_id"], row["item_id"], row["action"], row["t"]


@settings(max_examples=12, deadline=None)
@given(logs(), st.sampled_from([1, 5, 24, 1000]))
def test_every_positive_equals_the_plain_reference(log: list[Event], window_h: float) -> None:
    for row in trained(log, window_h):
        (own,) = (event for event in [*log, *REST] if (event.user, event.item, event.action, event.t) == key(row))
        if own.request is None:
            touches = [
                event
                for event in [*log, *REST]
                if (event.user, event.item) == (own.user, own.item)
                and event.request is not None
                and event.action in ("click", "impression")
                and event.t < own.t <= event.t + window_h * HOUR_US
            ]
            own = max(touches, key=lambda event: (event.action == "click", event.t), default=own)
        assert tuple(row[name] for name in REQUEST) == (own.request, own.surface, own.context, own.query)


@settings(max_examples=8, deadline=None)
@given(logs(), st.integers(1, 30), st.integers(0, 30))
def test_a_wider_window_never_takes_credit_away_and_no_window_changes_what_is_learned(
    log: list[Event], window_h: int, more_h: int
) -> None:
    rows = [trained(log, window) for window in (0, window_h, window_h + more_h)]
    none, narrow, wide = ({key(row) for row in each if row["request_id"] is not None} for each in rows)
    assert none <= narrow <= wide
    learned = [sorted((*key(row), row["task"], row["weight"]) for row in each) for each in rows]
    assert learned[0] == learned[1] == learned[2]


def test_a_click_goes_before_a_later_impression_and_the_moment_itself_is_no_touch() -> None:
    log = [
        Event(1, 1, "click", 1 * HOUR_US, "home", "clicked", context=77, query="shoes"),
        Event(1, 1, "impression", 2 * HOUR_US, "search", "shown"),
        Event(1, 1, "checkout", 3 * HOUR_US),
        Event(1, 2, "click", 3 * HOUR_US, "home", "same moment"),
        Event(1, 2, "checkout", 3 * HOUR_US),
        Event(2, 1, "checkout", 3 * HOUR_US),
    ]
    rows = {(row["user_id"], row["item_id"]): row for row in trained(log, 24) if row["action"] == "checkout"}
    assert [rows[1, 1][name] for name in REQUEST] == ["clicked", "home", 77, "shoes"]
    assert rows[1, 1]["t"] == 3 * HOUR_US
    assert [rows[1, 2][name] for name in REQUEST] == [rows[2, 1][name] for name in REQUEST] == [None] * 4
    narrow = {(row["user_id"], row["item_id"]): row for row in trained(log, 1.5) if row["action"] == "checkout"}
    assert narrow[1, 1]["request_id"] == "shown"


def test_the_window_holds_its_far_end_and_not_a_second_more() -> None:
    for late_us, credited in ((0, "r1"), (1_000_000, None)):
        log = [Event(1, 1, "click", 5, "home", "r1"), Event(1, 1, "checkout", 5 + HOUR_US + late_us)]
        (row,) = (row for row in trained(log, 1) if row["user_id"] == 1 and row["action"] == "checkout")
        assert row["request_id"] == credited


def test_a_positive_with_a_surface_of_its_own_keeps_it() -> None:
    log = [Event(1, 1, "click", 5, "home", "r1"), Event(1, 1, "checkout", 9, "search")]
    (row,) = (row for row in trained(log, 1) if row["user_id"] == 1 and row["action"] == "checkout")
    assert (row["surface"], row["request_id"]) == ("search", None)


def test_logs_without_time_or_requests_say_what_is_missing(tmp_path: Path) -> None:
    for name in ("sequence", "bare"):
        (tmp_path / name).mkdir()
    sequence = store_of(tmp_path / "sequence", [event._replace(t=n) for n, event in enumerate(REST)], order="sequence")
    config = config_of("leave_last_out", touch_window_h=24.0)
    with pytest.raises(UnavailableError, match=r'labels\.touch_window_h is 24 and needs a log with times.*"sequence"'):
        labels_of(sequence, config)
    bare = store_of(tmp_path / "bare", [event._replace(request=None) for event in REST])
    with pytest.raises(UnavailableError, match=r"no event of this log has a request_id; map them, or set it to 0"):
        labels_of(bare, config_of("temporal", touch_window_h=24.0))


def test_held_out_pairs_take_the_surface_of_their_touch_too(tmp_path: Path) -> None:
    late = [Event(1, 2, "impression", 28 * DAY_US, "search", "r1"), Event(1, 2, "checkout", 28 * DAY_US + HOUR_US)]
    store = store_of(tmp_path, [*REST, *late])
    found = {}
    for window_h in (0.0, 24.0):
        labels, _ = labels_of(
            store, config_of("temporal", weights=WEIGHTS, touch_window_h=window_h), name=f"labels{window_h:.0f}"
        )
        found[window_h] = {(row["user_id"], row["surface"]) for row in table(labels, "test") if row["user_id"] == 1}
    assert found == {0.0: {(1, None)}, 24.0: {(1, "search")}}


def test_one_surface_is_learned_from_and_all_are_asked_for(tmp_path: Path) -> None:
    log = [Event(n, n, "click", n * HOUR_US, ("home", "search")[n % 2], f"r{n}") for n in range(8)]
    store = store_of(tmp_path, [*REST, *log])
    tables = {}
    for name, surfaces in (("all", ()), ("search", ("search",))):
        labels, _ = labels_of(store, config_of("temporal", weights=WEIGHTS, surfaces=surfaces), name=name)
        tables[name] = table(labels, "train"), table(labels, "test")
    assert tables["search"][0] == [row for row in tables["all"][0] if row["surface"] == "search"]
    assert 0 < len(tables["search"][0]) < len(tables["all"][0])
    assert tables["search"][1] == tables["all"][1]


def test_a_surface_that_the_log_does_not_have_is_refused(tmp_path: Path) -> None:
    store = store_of(tmp_path, REST)
    with pytest.raises(UnavailableError, match=r"labels.surfaces names shop, and the surfaces of this log are home;"):
        labels_of(store, config_of("temporal", weights=WEIGHTS, surfaces=("shop",)))
