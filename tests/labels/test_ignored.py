"""Served ads that nobody engaged with: hard negatives, and never what is held out."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.labels.label_samples import DAY_US, Event, config_of, labels_of, micros, pairs, store_of, table

from lowerfunnel.errors import DataError, UnavailableError
from lowerfunnel.events.schema import FUNNEL_DEPTH

WEIGHTS = {"checkout": 1.0, "add_to_cart": 0.5, "hide": 0.1}
events = st.tuples(
    st.integers(0, 3),
    st.integers(0, 3),
    st.sampled_from(["impression", "impression", "click", "hide", "view", "add_to_cart", "checkout"]),
    st.integers(0, 25),
).map(lambda row: Event(*row))
logs = st.lists(events, min_size=15, max_size=70, unique_by=lambda event: event[:4])


@settings(max_examples=15, deadline=None)
@given(logs, st.sampled_from(["time", "sequence", "none"]))
def test_every_ignored_impression_equals_the_plain_reference(log: list[Event], order: str) -> None:
    # A cart on user and item alike never hurts; it makes draws that can be labelled the rule.
    log = [*log, *(Event(user, 7 + item, "checkout", 3) for user in range(4) for item in range(3))]
    assume(any(event.action == "impression" for event in log))
    if order == "none":
        log = sorted({event._replace(t=0) for event in log})
    strategy = {"time": "temporal", "sequence": "leave_last_out", "none": "leave_random_out"}[order]
    split = {"test_days": 2, "validation_days": 3} if order == "time" else {"validation_share": 0.5}
    config = config_of(strategy, weights=WEIGHTS, split=split, ignored=True)
    if order == "time":
        log = [event._replace(t=event.t * DAY_US) for event in log]
    with tempfile.TemporaryDirectory() as folder:
        try:
            labels, info = labels_of(store_of(Path(folder), log, order=order), config)
        except DataError:
            labels = None
        assume(labels is not None)
        cutoffs = dict(
            zip(
                (row["user_id"] for row in table(labels, "cutoffs")),
                micros(labels, "cutoffs", "train_until"),
                strict=True,
            )
        )
        withheld = (
            {(r["user_id"], r["item_id"], r["action"]) for r in table(labels, "held_out")} if order == "none" else set()
        )
        seen = [e for e in log if (cutoffs[e.user] is None or e.t < cutoffs[e.user]) and e[:3] not in withheld]
        positives = set(pairs(table(labels, "train")))
        expected = [
            (e.user, e.item, e.t)
            for e in seen
            if e.action == "impression"
            and (e.user, e.item) not in positives
            and not any(s[:2] == e[:2] and FUNNEL_DEPTH[s.action] >= 1 and s.t >= e.t for s in seen)
        ]
        found = zip(pairs(table(labels, "ignored")), micros(labels, "ignored", "t"), strict=True)
        assert sorted((*pair, t) for pair, t in found) == sorted(expected)
        assert info.ignored == len(expected)


def test_by_hand(tmp_path: Path) -> None:
    log = [
        Event(1, 1, "impression", 10, "home", "r1"),  # Ignored.
        Event(1, 2, "view", 5),
        Event(1, 2, "impression", 10, "home", "r1"),  # What came before it does not count.
        Event(1, 3, "impression", 10, "home", "r1"),
        Event(1, 3, "click", 10),  # At the same moment.
        Event(1, 4, "impression", 10, "search", "r2"),
        Event(1, 4, "hide", 11),  # No engagement.
        Event(1, 5, "checkout", 5),
        Event(1, 5, "impression", 10),  # A positive of the user's, though before.
        Event(1, 6, "impression", 10),
        Event(1, 6, "checkout", 20 * DAY_US),  # What training cannot know spares nothing.
        Event(1, 7, "impression", 20 * DAY_US),
    ]
    config = config_of("temporal", ignored=True)
    labels, info = labels_of(store_of(tmp_path, log), config)
    assert [(row["item_id"], row["request_id"], row["surface"]) for row in table(labels, "ignored")] == [
        (1, "r1", "home"),
        (2, "r1", "home"),
        (4, "r2", "search"),
        (6, None, None),
    ]
    assert info.ignored == 4
    assert list(table(labels, "ignored")[0]) == ["user_id", "item_id", "t", "request_id", "surface"]


def test_they_are_listed_only_where_they_are_asked_for(tmp_path: Path) -> None:
    log = [Event(1, 1, "impression", 0), Event(1, 2, "checkout", 1), Event(1, 3, "checkout", 20 * DAY_US)]
    labels, info = labels_of(store_of(tmp_path, log), config_of("temporal"))
    assert not (labels / "ignored.parquet").exists()
    assert info.ignored is None


def test_a_log_without_impressions_says_so(tmp_path: Path) -> None:
    store = store_of(tmp_path, [Event(1, 2, "checkout", 1), Event(1, 3, "checkout", 20 * DAY_US)])
    with pytest.raises(UnavailableError, match=r"labels\.ignored needs .* action impression \(it has checkout\)"):
        labels_of(store, config_of("temporal", ignored=True))
