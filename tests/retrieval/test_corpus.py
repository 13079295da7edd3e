"""What models see of a log: dense ids, cutoffs, timelines, which ids may be learned from."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from tests.labels.label_samples import DAY_US, START_US, Event, config_of, labels_of, store_of, table
from tests.retrieval.retrieval_samples import BIG, GROUPS, PER_GROUP, USERS, Sample, item_name, taste_events

from lowerfunnel.events.schema import ACTION_CODE, ACTIONS
from lowerfunnel.events.timeline import Timelines
from lowerfunnel.retrieval.corpus import NEVER, Corpus, store_timelines

TEST_FROM = START_US + 26 * DAY_US
TRAIN_UNTIL = START_US + 23 * DAY_US

Row = tuple[object, object, str, int]


def rows_of(corpus: Corpus, timelines: Timelines) -> list[Row]:
    """Read timelines back as source rows."""
    user_E = np.repeat(np.arange(timelines.users, dtype=np.int32), np.diff(timelines.offsets_U1))
    return [
        (user, item, ACTIONS[action], t)
        for user, item, action, t in zip(
            corpus.users.decode(user_E).to_pylist(),
            corpus.items.decode(timelines.item_E).to_pylist(),
            timelines.action_E.tolist(),
            timelines.t_E.tolist(),
            strict=True,
        )
    ]


def test_every_event_is_found_again_under_its_own_ids(tastes: Sample) -> None:
    expected = sorted((e.user, e.item, e.action, START_US + e.t) for e in taste_events())
    assert sorted(rows_of(tastes.corpus, tastes.corpus.training)) == expected
    assert sorted(rows_of(tastes.corpus, tastes.corpus.known)) == expected
    whole = store_timelines(tastes.store, tastes.corpus.users, tastes.corpus.items, tastes.corpus.vocabularies.surface)
    assert sorted(rows_of(tastes.corpus, whole)) == expected


def test_ids_past_the_reach_of_floats_and_texts_are_dense_and_come_back(tastes: Sample) -> None:
    corpus = tastes.corpus
    assert corpus.users.ids.type == pa.int64()
    assert corpus.users.ids.to_pylist() == [BIG + user for user in range(USERS + 1)]
    names = sorted([item_name(g, n) for g in range(GROUPS) for n in range(PER_GROUP + 1)] + ["late"])
    assert corpus.items.ids.type == pa.string()
    assert corpus.items.ids.to_pylist() == names


def test_the_timelines_of_a_smaller_vocabulary_leave_strangers_out(tastes: Sample) -> None:
    corpus = tastes.corpus
    few = type(corpus.users)(corpus.users.ids.slice(3, 2))
    timelines = store_timelines(tastes.store, few, corpus.items, corpus.vocabularies.surface)
    assert timelines.users == 2
    assert len(timelines.t_E) == sum(event.user in (BIG + 3, BIG + 4) for event in taste_events())


def test_surfaces_are_coded_as_the_vocabulary_says_and_dwell_comes_through(tmp_path: Path) -> None:
    log = [
        Event(1, 1, "click", 0, "search", dwell_s=1.5),
        Event(1, 2, "checkout", 1),
        Event(2, 1, "view", 2, "home", dwell_s=0.0),
        Event(1, 3, "checkout", 30 * DAY_US, "home"),
    ]
    store = store_of(tmp_path, log)
    labels, _ = labels_of(store, config_of("temporal"))
    corpus = Corpus.build(store, labels)
    others = type(corpus.users)(pa.array(["a", "search"]))
    other = store_timelines(store, corpus.users, corpus.items, others)
    for timelines, search, home in ((corpus.training, 2, 1), (other, 2, 0)):
        assert timelines.surface_E.tolist() == [search, 0, home, home]
        np.testing.assert_array_equal(timelines.dwell_E, np.array([1.5, np.nan, np.nan, 0.0], np.float32))


def test_cutoffs_are_those_of_the_labels(tastes: Sample) -> None:
    assert set(tastes.corpus.train_until_U) == {TRAIN_UNTIL}
    assert set(tastes.corpus.test_until_U) == {TEST_FROM}


def test_examples_are_the_train_labels_in_dense_ids(tastes: Sample) -> None:
    corpus = tastes.corpus
    examples = corpus.examples
    surfaces = [None, *corpus.vocabularies.surface.ids.to_pylist()]
    rows = zip(
        corpus.users.decode(examples.user_X).to_pylist(),
        corpus.items.decode(examples.item_X).to_pylist(),
        [ACTIONS[code] for code in examples.action_X],
        examples.t_X.tolist(),
        [surfaces[code] for code in examples.requests.surface_R],
        examples.weight_X.tolist(),
        strict=True,
    )
    expected = [
        (
            r["user_id"],
            r["item_id"],
            r["action"],
            round(r["t"].timestamp() * 1e6),
            r["surface"],
            np.float32(r["weight"]),
        )
        for r in table(tastes.labels, "train")
    ]
    assert list(rows) == expected
    assert {row[4] for row in expected} == {"home", "search"}


def test_an_items_popularity_is_its_share_of_the_training_examples_by_weight(tastes: Sample) -> None:
    rows = table(tastes.labels, "train")
    weight = dict.fromkeys(tastes.corpus.items.ids.to_pylist(), 0.0)
    for row in rows:
        weight[row["item_id"]] += row["weight"]
    mean = sum(row["weight"] for row in rows) / len(rows)
    total = sum(weight.values()) + mean * len(weight)
    expected = [np.log((own + mean) / total) for own in weight.values()]
    np.testing.assert_allclose(tastes.corpus.item_features.log_share_I, expected, rtol=1e-5)


def test_only_users_with_an_example_count_as_trained(tastes: Sample) -> None:
    trained = {row["user_id"] for row in table(tastes.labels, "train")}
    found = tastes.corpus.users.ids.filter(pa.array(tastes.corpus.trained_U)).to_pylist()
    assert set(found) == trained
    assert BIG + USERS not in trained


def test_the_id_of_an_item_without_a_training_event_is_hidden(tastes: Sample) -> None:
    seen = {event.item for event in taste_events() if event.t < 23 * DAY_US}
    for dense, name in enumerate(tastes.corpus.items.ids.to_pylist()):
        assert tastes.corpus.item_features.id_I[dense] == (dense if name in seen else -1), name
    assert tastes.corpus.item_features.id_I[tastes.item("late")] == -1
    assert tastes.corpus.item_features.id_I[tastes.item(item_name(0, PER_GROUP))] == -1


def test_without_order_held_out_events_are_in_no_training_timeline(unordered: Sample) -> None:
    corpus = unordered.corpus
    withheld = {
        part: {
            (r["user_id"], r["item_id"], r["action"], 0)
            for r in table(unordered.labels, "held_out")
            if r["split"] == part
        }
        for part in ("validation", "test")
    }
    assert withheld["validation"]
    assert withheld["test"]
    log = {(event.user, event.item, event.action, 0) for event in taste_events()}
    assert set(rows_of(corpus, corpus.training)) == log - withheld["validation"] - withheld["test"]
    assert set(rows_of(corpus, corpus.known)) == log - withheld["test"]
    assert set(corpus.train_until_U) == set(corpus.test_until_U) == {NEVER}


def test_a_held_out_item_that_is_seen_nowhere_else_keeps_no_id(tmp_path: Path) -> None:
    log = [Event(user, item, t=item) for user in range(3) for item in range(4)]
    log += [Event(9, 0, t=0), Event(9, 50, t=1)]
    store = store_of(tmp_path, log, order="sequence")
    labels, _ = labels_of(store, config_of("leave_last_out", split={"validation_share": 1.0}))
    corpus = Corpus.build(store, labels)
    # Items 2 and 3 are everybody's validation and test, and 50 is user 9's test.
    assert dict(zip(corpus.items.ids.to_pylist(), corpus.item_features.id_I.tolist(), strict=True)) == {
        0: 0, 1: 1, 2: -1, 3: -1, 50: -1,
    }  # fmt: skip
    assert corpus.training.t_E.tolist() == [0, 1, 2, 3] * 3 + [0, 1]
    assert corpus.train_until_U.tolist() == [2, 2, 2, 1]


def test_validation_of_new_items_is_hidden_from_training_and_known_later(tmp_path: Path) -> None:
    actions = ("view", "checkout")
    log = [Event(u, i, action, t=2 * i + n) for u in range(4) for i in range(4) for n, action in enumerate(actions)]
    store = store_of(tmp_path, log, order="sequence", test=[Event(0, 9)])
    split = {"validation_share": 0.5, "validation_of_new_items": True}
    labels, _ = labels_of(store, config_of("given", split=split))
    corpus = Corpus.build(store, labels)
    held = {(row["user_id"], row["item_id"]) for row in table(labels, "validation")}
    assert len(held) == 2
    training, known = set(rows_of(corpus, corpus.training)), set(rows_of(corpus, corpus.known))
    assert {row[:2] for row in known - training} == held
    assert len(known) == len(log)


def test_held_out_pairs_keep_task_surface_and_time(tastes: Sample) -> None:
    held_out = tastes.corpus.held_out(tastes.labels, "test")
    rows = table(tastes.labels, "test")
    assert tastes.corpus.users.decode(held_out.user_P).to_pylist() == [row["user_id"] for row in rows]
    assert tastes.corpus.items.decode(held_out.item_P).to_pylist() == [row["item_id"] for row in rows]
    assert held_out.task_P.tolist() == [row["task"] for row in rows]
    assert held_out.surface_P.tolist() == [row["surface"] for row in rows]
    assert set(held_out.at_P) == {TEST_FROM}


def test_a_user_of_the_test_file_alone_is_known_by_name_and_not_trained(tmp_path: Path) -> None:
    log = [Event(user, item) for user in range(8) for item in range(3)]
    store = store_of(tmp_path, log, order="none", test=[Event(0, 1), Event(77, 2)])
    labels, _ = labels_of(store, config_of("given"))
    corpus = Corpus.build(store, labels)
    held_out = corpus.held_out(labels, "test")
    assert corpus.users.decode(held_out.user_P).to_pylist() == [0, 77]
    assert not corpus.trained_U[held_out.user_P[1]]
    assert held_out.at_P.tolist() == [NEVER, NEVER]
    assert held_out.surface_P.tolist() == ["", ""]


def test_action_codes_are_those_of_the_schema(tastes: Sample) -> None:
    assert set(tastes.corpus.training.action_E.tolist()) == {ACTION_CODE["view"], ACTION_CODE["checkout"]}


def test_the_end_of_a_log_with_times_is_right_after_its_last_event(tmp_path: Path) -> None:
    log = [Event(user, item, t=item * DAY_US) for user in range(8) for item in range(3)]
    labels, _ = labels_of(store := store_of(tmp_path, log, test=[Event(0, 1)]), config_of("given"))
    held_out = Corpus.build(store, labels).held_out(labels, "test")
    assert held_out.at_P.tolist() == [START_US + 2 * DAY_US + 1]
