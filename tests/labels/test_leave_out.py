"""Leaving conversions out, by order or at random, and test files that come with the log."""

import tempfile
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.labels.label_samples import Event, bytes_of, config_of, labels_of, micros, pairs, store_of, table

from lowerfunnel.errors import DataError, UnavailableError

FEW = settings(max_examples=12, deadline=None)

events = st.tuples(
    st.integers(0, 5), st.integers(0, 5), st.sampled_from(["view", "checkout", "lead"]), st.integers(0, 40)
).map(lambda row: Event(*row))
logs = st.lists(
    events, min_size=15, max_size=70, unique_by=lambda event: (event.user, event.item, event.action, event.t)
)
CONFIG = {"conversions": ("checkout", "lead"), "weights": {"checkout": 1.0, "lead": 1.0, "view": 0.1}}


def first_conversions(log: list[Event]) -> dict[object, list[tuple[object, int]]]:
    """Return each user's distinct converted items with the time of the first conversion, in order."""
    place = {}
    for user in {event.user for event in log}:
        own = sorted((event for event in log if event.user == user), key=lambda event: event.t)
        place |= {event: seq for seq, event in enumerate(own)}
    found: dict[object, dict[object, tuple[int, int]]] = defaultdict(dict)
    for event in log:
        if event.action != "view":
            key = (event.t, place[event])
            found[event.user][event.item] = min(found[event.user].get(event.item, key), key)
    return {
        user: [(item, key[0]) for item, key in sorted(items.items(), key=lambda entry: (entry[1], entry[0]))]
        for user, items in found.items()
    }


@FEW
@given(logs, st.sampled_from([0.4, 1.0]), st.integers(0, 3))
def test_the_last_conversion_is_the_test_and_the_last_but_one_validates(
    log: list[Event], share: float, seed: int
) -> None:
    converted = first_conversions(log)
    eligible = [user for user, items in converted.items() if len(items) > 2]
    assume(round(share * len(eligible)) > 0)
    config = config_of("leave_last_out", split={"validation_share": share}, **CONFIG)
    with tempfile.TemporaryDirectory() as folder:
        try:
            labels, _ = labels_of(store_of(Path(folder), log), config, seed=seed)
        except DataError:
            labels = None  # Nothing may be left to learn from.
        assume(labels is not None)
        test = {user: items[-1] for user, items in converted.items() if len(items) > 1}
        assert {
            row["user_id"]: (row["item_id"], at)
            for row, at in zip(table(labels, "test"), micros(labels, "test", "at"), strict=True)
        } == test
        validation = {
            row["user_id"]: (row["item_id"], at)
            for row, at in zip(table(labels, "validation"), micros(labels, "validation", "at"), strict=True)
        }
        assert len(validation) == round(share * len(eligible))
        assert validation == {user: converted[user][-2] for user in validation}
        until = {
            user: validation[user][1] if user in validation else test[user][1] if user in test else None
            for user in sorted({event.user for event in log})
        }
        cutoffs = table(labels, "cutoffs")
        assert {
            r["user_id"]: t for r, t in zip(cutoffs, micros(labels, "cutoffs", "train_until"), strict=True)
        } == until
        trained = sorted(
            (row["user_id"], row["item_id"], row["action"], t)
            for row, t in zip(table(labels, "train"), micros(labels, "train", "t"), strict=True)
        )
        assert trained == sorted(
            (event.user, event.item, event.action, event.t)
            for event in log
            if until[event.user] is None or event.t < until[event.user]
        )


@pytest.mark.parametrize("order", ["time", "sequence"])
def test_the_last_distinct_item_counts_by_its_first_conversion(tmp_path: Path, order: str) -> None:
    log = [Event(1, item, "checkout", t) for t, item in enumerate([10, 11, 12, 13, 11, 10])]
    log += [Event(1, 14, "view", 9), Event(2, 10, "checkout", 5)]
    config = config_of("leave_last_out", split={"validation_share": 1.0})
    labels, info = labels_of(store_of(tmp_path, log, order=order), config)
    assert pairs(table(labels, "test")) == [(1, 13)]
    assert pairs(table(labels, "validation")) == [(1, 12)]
    assert micros(labels, "test", "at") == [3]
    assert pairs(table(labels, "train")) == [(1, 10), (1, 11), (2, 10)]
    assert micros(labels, "cutoffs", "train_until") == [2, None]
    assert micros(labels, "cutoffs", "test_until") == [3, None]
    assert info.validation_from is info.test_from is None
    assert not (labels / "held_out.parquet").exists()


@FEW
@given(logs, st.integers(0, 3))
def test_without_order_what_is_held_out_is_neither_learned_from_nor_left_in_the_log(
    log: list[Event], seed: int
) -> None:
    log = [event._replace(t=0) for event in log]
    converted = first_conversions(log)
    assume(any(len(items) > 2 for items in converted.values()))
    config = config_of("leave_random_out", split={"validation_share": 1.0}, **CONFIG)
    with tempfile.TemporaryDirectory() as folder:
        store = store_of(Path(folder), log, order="none")
        labels, _ = labels_of(store, config, seed=seed)
        test, validation = pairs(table(labels, "test")), pairs(table(labels, "validation"))
        assert sorted(user for user, _ in test) == sorted(u for u, items in converted.items() if len(items) > 1)
        assert sorted(user for user, _ in validation) == sorted(u for u, items in converted.items() if len(items) > 2)
        assert not set(test) & set(validation)
        assert set(test) | set(validation) <= {(e.user, e.item) for e in log if e.action != "view"}
        # Every conversion on a held-out pair, not only the first, or the lead would give the checkout away.
        expected = {
            (e.user, e.item, e.action, part)
            for part, held in (("test", test), ("validation", validation))
            for e in log
            if (e.user, e.item) in held and e.action != "view"
        }
        withheld = table(labels, "held_out")
        assert {(r["user_id"], r["item_id"], r["action"], r["split"]) for r in withheld} == expected
        assert len(withheld) == len(expected)
        learned = {(row["user_id"], row["item_id"], row["action"]) for row in table(labels, "train")}
        assert learned == {(e.user, e.item, e.action) for e in log} - {key[:3] for key in expected}
        assert set(micros(labels, "test", "at")) == {None}


MANY = [Event(user, item) for user in range(20) for item in range(6)]


@pytest.mark.parametrize(("strategy", "order"), [("leave_random_out", "none"), ("leave_last_out", "sequence")])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_draw(
    tmp_path: Path, strategy: str, order: str
) -> None:
    log = [event._replace(t=number) for number, event in enumerate(MANY)]
    store = store_of(tmp_path, log, order=order)
    config = config_of(strategy, split={"validation_share": 0.5})
    first, again, other = (
        labels_of(store, config, seed=seed, name=name)[0] for seed, name in ((1, "a"), (1, "b"), (2, "c"))
    )
    assert bytes_of(first) == bytes_of(again)
    assert table(first, "validation") != table(other, "validation")
    if strategy == "leave_random_out":
        assert table(first, "test") != table(other, "test")
        assert len({item for _, item in pairs(table(first, "test"))}) > 1
    else:
        assert table(first, "test") == table(other, "test")


@pytest.mark.parametrize("order", ["time", "sequence", "none"])
def test_a_given_test_is_kept_as_it_is(tmp_path: Path, order: str) -> None:
    log = [event._replace(t=number) for number, event in enumerate(MANY)]
    # A pair that was bought before, a user and an item that the log does not know.
    test = [Event(3, 5, surface="home"), Event(99, 2), Event(1, 77)]
    store = store_of(tmp_path, log, order=order, test=test)
    labels, info = labels_of(store, config_of("given"))
    assert [(*pair, row["task"], row["surface"], row["at"]) for pair, row in _with_pairs(table(labels, "test"))] == [
        (1, 77, "conversion", None, None),
        (3, 5, "conversion", "home", None),
        (99, 2, "conversion", None, None),
    ]
    assert (info.test_pairs, info.validation_pairs) == (3, 4)
    validation = pairs(table(labels, "validation"))
    if order == "none":
        assert not set(validation) & set(pairs(table(labels, "train")))
        assert len(table(labels, "train")) == len(log) - 4
    else:
        assert [item for _, item in validation] == [5] * 4
        held = {user for user, _ in validation}
        assert pairs(table(labels, "train")) == [(e.user, e.item) for e in log if e.user not in held or e.item < 5]


def _with_pairs(rows: list[dict[str, object]]) -> list[tuple[tuple[object, object], dict[str, object]]]:
    return list(zip(pairs(rows), rows, strict=True))


def test_a_given_pair_counts_once_and_only_its_conversions_count(tmp_path: Path) -> None:
    test = [Event(1, 2, "checkout", surface="a"), Event(1, 2, "checkout", surface="b"), Event(1, 3, "view")]
    labels, info = labels_of(store_of(tmp_path, MANY, order="none", test=test), config_of("given"))
    assert pairs(table(labels, "test")) == [(1, 2)]
    assert info.test_pairs == 1


@pytest.mark.parametrize("order", ["time", "sequence", "none"])
def test_validation_of_new_items_takes_out_all_that_was_done_with_them(tmp_path: Path, order: str) -> None:
    log = [Event(e.user, e.item, action, n) for n, e in enumerate(MANY) for action in ("view", "checkout", "lead")]
    store = store_of(tmp_path, log, order=order, test=[Event(1, 77)])
    split = {"validation_of_new_items": True, "validation_share": 0.5}
    labels, _ = labels_of(store, config_of("given", split=split, **CONFIG))
    held = set(pairs(table(labels, "validation")))
    assert len(held) == 10
    withheld = table(labels, "held_out")
    assert {(*pair, row["action"], row["split"]) for pair, row in _with_pairs(withheld)} == {
        (*pair, action, "validation") for pair in held for action in ("view", "checkout", "lead")
    }
    assert not held & set(pairs(table(labels, "train")))


def test_each_split_that_a_log_cannot_do_says_which_it_can(tmp_path: Path) -> None:
    for name in ("none", "sequence"):
        (tmp_path / name).mkdir()
    without = store_of(tmp_path / "none", MANY, order="none")
    with pytest.raises(UnavailableError, match=r'has neither; set labels\.split\.strategy to "leave_random_out"'):
        labels_of(without, config_of("leave_last_out"), name="a")
    with pytest.raises(DataError, match=r"names no test file; add \[\[log\.test\]\] or choose another strategy"):
        labels_of(without, config_of("given"), name="b")
    ordered = store_of(tmp_path / "sequence", MANY, order="sequence")
    with pytest.raises(UnavailableError, match=r'ordered by "sequence": .* to "leave_last_out"'):
        labels_of(ordered, config_of("leave_random_out"))


def test_a_given_test_without_conversions_says_what_it_holds(tmp_path: Path) -> None:
    store = store_of(tmp_path, MANY, order="none", test=[Event(1, 1, "view")])
    with pytest.raises(DataError, match=r"holds no conversions: labels\.conversions are checkout, its actions view"):
        labels_of(store, config_of("given"))


def test_too_few_conversions_to_validate_on_say_how_many_there_are(tmp_path: Path) -> None:
    store = store_of(tmp_path, [Event(1, 1, t=1), Event(1, 2, t=2), Event(2, 1, t=1)], order="sequence")
    with pytest.raises(DataError, match=r"no user is left to validate on: 0 have enough .*validation_share is 0\.2"):
        labels_of(store, config_of("leave_last_out"))
