"""Evaluation sets of small logs: who is asked for, what is masked, what the slices and floors may know."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.labels.label_samples import DAY_US, START_US, Event, config_of, labels_of, store_of

from lowerfunnel.evaluation.evaluation_set import EvaluationSet
from lowerfunnel.evaluation.queries import evaluation_set, known_at_test, purchased, training_counts
from lowerfunnel.events.schema import ACTION_CODE
from lowerfunnel.events.timeline import Timelines
from lowerfunnel.retrieval.corpus import NEVER, Corpus, HeldOut

# Tests from day 16, validates from day 12; the log ends on day 20.
LOG = [
    Event(1, 10, "checkout", 0, "home"),
    Event(1, 11, "view", DAY_US, "home"),
    Event(1, 12, "checkout", 13 * DAY_US, "home"),
    Event(1, 11, "checkout", 17 * DAY_US, "search"),
    Event(1, 13, "checkout", 18 * DAY_US, "home"),
    Event(1, 14, "add_to_cart", 18 * DAY_US, "home"),
    Event(2, 12, "checkout", 17 * DAY_US),
    Event(3, 10, "view", 2 * DAY_US),
    Event(3, 10, "checkout", 20 * DAY_US),
]
SPLIT = {"test_days": 4, "validation_days": 4}


def corpus_of(folder: Path, log: list[Event], strategy: str = "temporal", **more: object) -> tuple[Corpus, Path]:
    split = SPLIT if strategy == "temporal" else {"validation_share": 1.0}
    store = store_of(folder, log, **more)
    weights = {"checkout": 1.0, "add_to_cart": 0.5}
    labels, _ = labels_of(store, config_of(strategy, split=split, weights=weights))
    return Corpus.build(store, labels), labels


@pytest.fixture(scope="module")
def temporal(tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, Path]:
    return corpus_of(tmp_path_factory.mktemp("temporal"), LOG)


def asked(
    corpus: Corpus,
    held_out: HeldOut,
    *,
    task: str = "conversion",
    exclude: bool = True,
    timelines: Timelines | None = None,
) -> EvaluationSet | None:
    return evaluation_set(
        corpus,
        held_out,
        task=task,
        timelines=corpus.known if timelines is None else timelines,
        conversions=("checkout",),
        exclude_purchased=exclude,
        surfaces=["home", "search"],
        cold_at_most=0,
    )


def ids(corpus: Corpus, dense: np.ndarray) -> list[object]:
    return corpus.items.decode(dense.astype(np.int32)).to_pylist()


def parts(corpus: Corpus, offsets: np.ndarray, items: np.ndarray) -> list[list[object]]:
    return [ids(corpus, part) for part in np.split(items, offsets[1:-1])]


def test_each_user_asks_once_for_all_of_its_pairs(temporal: tuple[Corpus, Path]) -> None:
    corpus, labels = temporal
    queries = asked(corpus, corpus.held_out(labels, "test"))
    assert queries is not None
    assert corpus.users.decode(queries.user_Q).to_pylist() == [1, 2, 3]
    assert parts(corpus, queries.pair_offsets, queries.pair_item_P) == [[11, 13], [12], [10]]
    assert queries.at_us_Q.tolist() == [START_US + 16 * DAY_US] * 3
    assert queries.task == "conversion"


def test_only_what_was_bought_before_the_request_is_masked(temporal: tuple[Corpus, Path]) -> None:
    corpus, labels = temporal
    held_out = corpus.held_out(labels, "test")
    queries = asked(corpus, held_out)
    assert queries is not None
    assert parts(corpus, queries.excluded_offsets, queries.excluded_item) == [[10, 12], [], []]
    without = asked(corpus, held_out, exclude=False)
    assert without is not None
    assert without.excluded_offsets.tolist() == [0, 0, 0, 0]


def test_histories_end_strictly_before_the_request(temporal: tuple[Corpus, Path]) -> None:
    corpus, labels = temporal
    test, validation = (asked(corpus, corpus.held_out(labels, part)) for part in ("test", "validation"))
    assert test is not None
    assert validation is not None
    assert parts(corpus, test.history_offsets, test.history_item) == [[10, 11, 12], [], [10]]
    assert parts(corpus, validation.history_offsets, validation.history_item) == [[10, 11]]


def test_slices_say_what_was_touched_where_it_happened_and_what_is_cold(temporal: tuple[Corpus, Path]) -> None:
    corpus, labels = temporal
    queries = asked(corpus, corpus.held_out(labels, "test"))
    assert queries is not None
    # Pairs: (1, 11), (1, 13), (2, 12), (3, 10). Items 12 and 13 have no event before day 12.
    assert {name: inside.tolist() for name, inside in queries.slices_P.items()} == {
        "all": [True] * 4,
        "retargeting": [True, False, False, True],
        "discovery": [False, True, True, False],
        "cold_items": [False, True, True, False],
        "activity_none": [False, False, True, False],
        "activity_low": [False, False, False, True],
        "activity_high": [True, True, False, False],
        "surface=home": [False, True, False, False],
        "surface=search": [True, False, False, False],
        "conversions_0": [False, False, True, True],
        "conversions_1_2": [True, True, False, False],
        # Item 11 is nine days old, 12 four, 13 not yet there and 10 fifteen.
        "item_age_under_7d": [False, True, True, False],
        "item_age_7_28d": [True, False, False, True],
    }
    assert queries.held_out_P is not None
    held_out = pq.read_table(labels / "test.parquet").take(queries.held_out_P)
    assert held_out.column("item_id").to_pylist() == [11, 13, 12, 10]
    assert set(held_out.column("task").to_pylist()) == {"conversion"}


def test_each_task_has_queries_of_its_own_and_a_task_without_pairs_none(temporal: tuple[Corpus, Path]) -> None:
    corpus, labels = temporal
    engagement = asked(corpus, corpus.held_out(labels, "test"), task="engagement")
    assert engagement is not None
    assert parts(corpus, engagement.pair_offsets, engagement.pair_item_P) == [[14]]
    assert asked(corpus, corpus.held_out(labels, "validation"), task="engagement") is None


def test_floors_learn_from_all_that_testing_may_know_and_training_counts_from_less(
    temporal: tuple[Corpus, Path],
) -> None:
    corpus, _ = temporal
    known = known_at_test(corpus)
    assert ids(corpus, known.item_E) == [10, 11, 12, 10]
    assert known.offsets_U1.tolist() == [0, 3, 3, 4]
    assert dict(zip(corpus.items.ids.to_pylist(), training_counts(corpus).tolist(), strict=True)) == {
        10: 2, 11: 1, 12: 0, 13: 0, 14: 0,
    }  # fmt: skip


def test_strangers_are_asked_for_one_by_one_and_unknown_items_are_misses(temporal: tuple[Corpus, Path]) -> None:
    corpus, _ = temporal
    held_out = HeldOut(
        user_P=np.array([-1, 0, -1, 0], np.int32),
        item_P=np.array([2, -1, 2, 1], np.int32),
        at_P=np.full(4, NEVER),
        task_P=np.array(["conversion"] * 4),
        surface_P=np.array(["", "elsewhere", "home", "home"]),
    )
    queries = asked(corpus, held_out)
    assert queries is not None
    assert sorted(queries.user_Q.tolist()) == [-1, -1, 0]
    pairs = dict(zip(queries.user_Q.tolist(), np.split(queries.pair_item_P, queries.pair_offsets[1:-1]), strict=True))
    assert pairs[0].tolist() == [-1, 1]
    assert pairs[-1].tolist() == [2]
    assert queries.slices_P["surface=home"].sum() == 2
    assert "surface=search" not in queries.slices_P


def test_without_order_the_validation_pair_is_known_when_testing_and_not_when_training(tmp_path: Path) -> None:
    log = [Event(user, item, action) for user in range(4) for item in range(4) for action in ("view", "checkout")]
    corpus, labels = corpus_of(tmp_path, log, "leave_random_out", order="none")
    validation, test = (corpus.held_out(labels, part) for part in ("validation", "test"))
    training = asked(corpus, validation, timelines=corpus.training)
    known = asked(corpus, test)
    assert training is not None
    assert known is not None
    for user in range(4):
        bought = [set(part) for part in parts(corpus, training.excluded_offsets, training.excluded_item)][user]
        assert bought == set(range(4)) - {int(validation.item_P[user]), int(test.item_P[user])}
        bought = [set(part) for part in parts(corpus, known.excluded_offsets, known.excluded_item)][user]
        assert bought == set(range(4)) - {int(test.item_P[user])}
    # The views stay: what is held out is the purchase.
    assert training.slices_P["retargeting"].all()


def test_leaving_the_last_one_out_asks_each_user_at_its_own_moment(tmp_path: Path) -> None:
    log = [Event(user, item, t=10 * user + item) for user in range(3) for item in range(4)]
    corpus, labels = corpus_of(tmp_path, log, "leave_last_out", order="sequence")
    queries = asked(corpus, corpus.held_out(labels, "test"))
    assert queries is not None
    assert queries.at_us_Q.tolist() == [3, 13, 23]
    assert parts(corpus, queries.excluded_offsets, queries.excluded_item) == [[0, 1, 2]] * 3
    assert training_counts(corpus).tolist() == [3, 3, 0, 0]
    assert known_at_test(corpus).item_E.tolist() == [0, 1, 2] * 3


def test_purchases_are_the_conversions_of_a_history() -> None:
    view, buy, lead = (ACTION_CODE[name] for name in ("view", "checkout", "lead"))
    offsets, item = purchased(
        np.array([0, 2, 2, 5]),
        np.array([4, 5, -1, 6, 7], np.int32),
        np.array([buy, view, buy, lead, view], np.int8),
        ("checkout", "lead"),
    )
    assert (offsets.tolist(), item.tolist()) == ([0, 1, 1, 2], [4, 6])


def test_ids_past_the_reach_of_floats_ask_under_their_own_name(tmp_path: Path) -> None:
    log = [event._replace(user=2**53 + event.user, item=f"i{event.item}") for event in LOG]
    corpus, labels = corpus_of(tmp_path, log)
    queries = asked(corpus, corpus.held_out(labels, "test"))
    assert queries is not None
    assert corpus.users.decode(queries.user_Q).equals(pa.array([2**53 + 1, 2**53 + 2, 2**53 + 3]))
    assert ids(corpus, queries.pair_item_P) == ["i11", "i13", "i12", "i10"]
