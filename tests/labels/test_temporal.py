"""The temporal split: laws on random logs, a plain reference row by row, the sentences of its errors."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.labels.label_samples import (
    DAY_US,
    START_US,
    Event,
    bytes_of,
    config_of,
    labels_of,
    micros,
    pairs,
    store_of,
    table,
)

from lowerfunnel.errors import DataError, UnavailableError
from lowerfunnel.labels.settings import LabelConfig

FEW = settings(max_examples=12, deadline=None)
HOUR_US = DAY_US // 24
WEIGHTS = {"checkout": 1.0, "signup": 2.0, "add_to_cart": 0.5}

events = st.tuples(
    st.integers(0, 4),
    st.integers(0, 5),
    st.sampled_from(["view", "add_to_cart", "checkout", "signup"]),
    # Whole hours, so that events fall exactly on the borders of the periods.
    st.integers(0, 10 * 24).map(lambda hours: hours * HOUR_US),
    st.sampled_from(["home", "search", None]),
).map(lambda row: Event(*row))
logs = st.lists(
    events, min_size=20, max_size=80, unique_by=lambda event: (event.user, event.item, event.action, event.t)
)
splits = st.fixed_dictionaries(
    {
        "test_days": st.sampled_from([1.0, 2.5]),
        "validation_days": st.sampled_from([1.0, 2.0]),
        "gap_h": st.sampled_from([0.0, 1.0, 30.0]),
    }
)


@contextmanager
def labelled(log: list[Event], config: LabelConfig) -> Iterator[Path]:
    """Label a log; a draw without train positives or test pairs is no example."""
    with tempfile.TemporaryDirectory() as folder:
        store = store_of(Path(folder), log)
        try:
            labels, _ = labels_of(store, config)
        except DataError:
            labels = None
        assume(labels is not None)
        yield labels


def borders(log: list[Event], config: LabelConfig) -> tuple[float, float, float]:
    """Return where training stops, validation begins and the test begins."""
    test_from = max(event.t for event in log) - config.split.test_days * DAY_US
    validation_from = test_from - config.split.gap_h * HOUR_US - config.split.validation_days * DAY_US
    return validation_from - config.split.gap_h * HOUR_US, validation_from, test_from


def in_order(log: list[Event]) -> list[tuple[Event, int]]:
    """Return the events with their places in their users' sequences: by time, then by row."""
    placed = []
    for user in sorted({event.user for event in log}):
        own = sorted((event for event in log if event.user == user), key=lambda event: event.t)
        placed += [(event, place) for place, event in enumerate(own)]
    return placed


def task_of(event: Event, config: LabelConfig) -> str:
    return "conversion" if event.action in config.conversions else "engagement"


def reference_held_out(log: list[Event], config: LabelConfig, start: float, stop: float) -> list[dict[str, object]]:
    bought = {(e.user, e.item) for e in log if e.action in config.conversions and e.t < start}
    found: dict[tuple[object, ...], str | None] = {}
    for event, _ in in_order(log):
        if event.action in config.weights and start <= event.t < stop:
            if config.exclude_purchased and (event.user, event.item) in bought:
                continue
            found.setdefault((event.user, event.item, task_of(event, config)), event.surface)
    return [
        {"user_id": user, "item_id": item, "task": task, "surface": surface, "at": START_US + start}
        for (user, item, task), surface in sorted(found.items(), key=lambda entry: entry[0])
    ]


def with_numbers(rows: list[dict[str, object]], column: str) -> list[dict[str, object]]:
    return [{**row, column: round(row[column].timestamp() * 1e6)} for row in rows]


@FEW
@given(logs, splits, st.booleans())
def test_every_row_equals_the_plain_reference(log: list[Event], split: dict[str, object], exclude: bool) -> None:
    config = config_of(
        "temporal", split=split, weights=WEIGHTS, conversions=("checkout", "signup"), exclude_purchased=exclude
    )
    until, validation_from, test_from = borders(log, config)
    with labelled(log, config) as labels:
        assert with_numbers(table(labels, "train"), "t") == [
            {
                "user_id": event.user,
                "t": START_US + event.t,
                "seq": place,
                "surface": event.surface,
                "item_id": event.item,
                "action": event.action,
                "request_id": None,
                "context_item_id": None,
                "query": None,
                "task": task_of(event, config),
                "weight": WEIGHTS[event.action],
            }
            for event, place in in_order(log)
            if event.action in WEIGHTS and event.t < until
        ]
        gap_begins = test_from - config.split.gap_h * HOUR_US
        assert with_numbers(table(labels, "validation"), "at") == reference_held_out(
            log, config, validation_from, gap_begins
        )
        assert with_numbers(table(labels, "test"), "at") == reference_held_out(log, config, test_from, float("inf"))
        users = sorted({event.user for event in log})
        assert [row["user_id"] for row in table(labels, "cutoffs")] == users
        assert micros(labels, "cutoffs", "train_until") == [until] * len(users)
        assert micros(labels, "cutoffs", "test_until") == [test_from] * len(users)


@FEW
@given(logs, splits)
def test_nothing_of_a_later_period_reaches_an_earlier_one(log: list[Event], split: dict[str, object]) -> None:
    config = config_of(
        "temporal", split=split, weights=WEIGHTS, conversions=("checkout", "signup"), exclude_purchased=False
    )
    until, validation_from, test_from = borders(log, config)
    gap_us = config.split.gap_h * HOUR_US
    when = {}
    for event in log:
        when.setdefault((event.user, event.item), []).append(event.t)
    with labelled(log, config) as labels:
        assert all(t < until == validation_from - gap_us for t in micros(labels, "train", "t"))
        for pair in pairs(table(labels, "validation")):
            assert any(validation_from <= t < test_from - gap_us for t in when[pair])
        for pair in pairs(table(labels, "test")):
            assert any(t >= test_from for t in when[pair])


@settings(max_examples=6, deadline=None)
@given(logs, splits)
def test_excluding_what_was_bought_only_takes_pairs_away(log: list[Event], split: dict[str, object]) -> None:
    def config(exclude: bool) -> LabelConfig:
        return config_of(
            "temporal", split=split, weights=WEIGHTS, conversions=("checkout", "signup"), exclude_purchased=exclude
        )

    _, validation_from, test_from = borders(log, config(True))
    with labelled(log, config(True)) as masked, labelled(log, config(False)) as whole:
        for part, start in (("validation", validation_from), ("test", test_from)):
            bought = {(e.user, e.item) for e in log if e.action in ("checkout", "signup") and e.t < start}
            kept = [row for row in table(whole, part) if (row["user_id"], row["item_id"]) not in bought]
            assert table(masked, part) == kept
        assert table(masked, "train") == table(whole, "train")


def test_the_borders_by_hand(tmp_path: Path) -> None:
    # The log ends on day 20: test from day 18, gap of a day, validation from day 14, gap of a day, training before day 13.
    days = {0: 0, 1: 12.999, 2: 13, 3: 13.9, 4: 14, 5: 16.999, 6: 17, 7: 17.999, 8: 18, 9: 20}
    log = [Event(1, item, "checkout", round(day * DAY_US)) for item, day in days.items()]
    split = {"test_days": 2, "validation_days": 3, "gap_h": 24}
    labels, info = labels_of(store_of(tmp_path, log), config_of("temporal", split=split))
    assert [item for _, item in pairs(table(labels, "train"))] == [0, 1]
    assert [item for _, item in pairs(table(labels, "validation"))] == [4, 5]
    assert [item for _, item in pairs(table(labels, "test"))] == [8, 9]
    assert (info.train, info.validation_pairs, info.test_pairs) == ({"checkout": 2}, 2, 2)
    assert info.validation_from == "2023-11-28T22:13:20+00:00"
    assert info.test_from == "2023-12-02T22:13:20+00:00"


def test_the_surface_of_a_held_out_pair_is_that_of_its_first_event(tmp_path: Path) -> None:
    log = [Event(1, 1, "checkout", 0), Event(1, 2, "checkout", 20 * DAY_US, "home")]
    log += [Event(1, 2, "checkout", 19 * DAY_US, "search")]
    labels, _ = labels_of(store_of(tmp_path, log), config_of("temporal"))
    assert [row["surface"] for row in table(labels, "test")] == ["search"]


def test_engagement_is_a_task_of_its_own_with_the_weights_of_the_settings(tmp_path: Path) -> None:
    log = [
        Event(1, 1, "view", 0),
        Event(1, 1, "add_to_cart", 1),
        Event(1, 1, "checkout", 2),
        Event(1, 2, "hide", 3),
        Event(1, 3, "add_to_cart", 20 * DAY_US),
        Event(1, 3, "checkout", 20 * DAY_US + 1),
    ]
    config = config_of("temporal", weights={"checkout": 3.0, "add_to_cart": 0.25})
    labels, info = labels_of(store_of(tmp_path, log), config)
    assert [(row["action"], row["task"], row["weight"]) for row in table(labels, "train")] == [
        ("add_to_cart", "engagement", 0.25),
        ("checkout", "conversion", 3.0),
    ]
    assert [(row["item_id"], row["task"]) for row in table(labels, "test")] == [(3, "conversion"), (3, "engagement")]
    assert info.train == {"add_to_cart": 1, "checkout": 1}


def test_ids_past_the_reach_of_floats_and_texts_come_through(tmp_path: Path) -> None:
    big = 2**53
    log = [Event(f"u{i}", big + i, "checkout", day * DAY_US) for i, day in enumerate([0, 1, 8, 9, 19, 20])]
    labels, _ = labels_of(store_of(tmp_path, log), config_of("temporal"))
    found = [pair for name in ("train", "validation", "test") for pair in pairs(table(labels, name))]
    assert sorted(found) == [(f"u{i}", big + i) for i in range(6)]


def test_the_same_log_gives_the_same_bytes_in_any_zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_of(tmp_path, [Event(i % 7, i, "checkout", i * DAY_US // 4) for i in range(100)])
    first, _ = labels_of(store, config_of("temporal"), name="first")
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        second, _ = labels_of(store, config_of("temporal"), name="second")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert bytes_of(first) == bytes_of(second)


def test_a_log_without_time_says_which_splits_it_can_do(tmp_path: Path) -> None:
    store = store_of(tmp_path, [Event(1, item, t=item) for item in range(4)], order="sequence")
    with pytest.raises(UnavailableError, match='needs a log with times, and this one is ordered by "sequence"; set '):
        labels_of(store, config_of("temporal"))


def test_a_log_that_is_too_short_says_how_long_it_is(tmp_path: Path) -> None:
    store = store_of(tmp_path, [Event(1, item, t=item * DAY_US) for item in range(4)])
    with pytest.raises(DataError, match=r"the log spans 3\.0 days, 2023-11-14 to 2023-11-17, .* shorten labels\.split"):
        labels_of(store, config_of("temporal"))


def test_training_without_positives_names_the_weights(tmp_path: Path) -> None:
    log = [Event(1, 1, "view", 0), Event(1, 2, "checkout", 20 * DAY_US)]
    with pytest.raises(DataError, match=r"the training period holds no positives; labels\.weights names checkout"):
        labels_of(store_of(tmp_path, log), config_of("temporal"))


def test_a_test_period_without_pairs_is_an_error(tmp_path: Path) -> None:
    log = [Event(1, 1, "checkout", 0), Event(1, 2, "view", 20 * DAY_US)]
    with pytest.raises(DataError, match='nothing is held out to test with: the split "temporal" found no pair'):
        labels_of(store_of(tmp_path, log), config_of("temporal"))
