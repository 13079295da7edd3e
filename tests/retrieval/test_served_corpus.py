"""What a corpus holds of requests, searches and ignored ads is what the labels say, under dense ids."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tests.labels.label_samples import DAY_US, START_US, Event, config_of, labels_of, store_of, table
from tests.retrieval.retrieval_samples import Sample

from lowerfunnel.features.requests import words_of
from lowerfunnel.retrieval.corpus import NEVER, Corpus, end_of_log
from lowerfunnel.retrieval.examples import TASKS


def micros(value: object) -> int:
    return round(value.timestamp() * 1e6)  # type: ignore[attr-defined]


def test_examples_keep_what_the_labels_know_of_their_request(served: Sample) -> None:
    corpus, rows = served.corpus, table(served.labels, "train")
    requests = corpus.examples.requests
    surfaces = [None, *corpus.vocabularies.surface.ids.to_pylist()]
    words, items = corpus.words.ids.to_pylist(), corpus.items.ids.to_pylist()
    assert len(rows) == len(corpus.examples) > 200
    for place, row in enumerate(rows):
        assert surfaces[requests.surface_R[place]] == row["surface"]
        subject = int(requests.subject_R[place])
        assert (items[subject] if subject >= 0 else None) == row["context_item_id"]
        own = requests.word_T[requests.word_offsets_R1[place] : requests.word_offsets_R1[place + 1]]
        assert [words[word] for word in own] == words_of(row["query"] or "")
        assert TASKS[corpus.examples.task_X[place]] == row["task"]
    # Conversions took over the request of their touch.
    bought = [row for row in rows if row["action"] == "checkout"]
    assert {row["surface"] for row in bought} == {"home", "related", "search"}


def test_ignored_ads_are_those_of_the_labels_side_by_side_by_request(served: Sample) -> None:
    corpus, rows = served.corpus, table(served.labels, "ignored")
    ads = corpus.ignored
    items = corpus.items.ids.to_pylist()
    found = Counter((items[item], t) for item, t in zip(ads.item_T.tolist(), ads.t_T.tolist(), strict=True))
    assert found == Counter((row["item_id"], micros(row["t"])) for row in rows)
    by_request = Counter[frozenset[tuple[object, int]]]()
    for start, stop in pairwise(ads.offsets_Q1.tolist()):
        by_request[
            frozenset((items[i], t) for i, t in zip(ads.item_T[start:stop], ads.t_T[start:stop], strict=True))
        ] += 1
    expected: dict[object, set[tuple[object, int]]] = {}
    for row in rows:
        expected.setdefault(row["request_id"], set()).add((row["item_id"], micros(row["t"])))
    assert by_request == Counter(frozenset(one) for one in expected.values())


def test_an_example_points_to_the_ignored_ads_of_its_own_request(served: Sample) -> None:
    corpus = served.corpus
    items = corpus.items.ids.to_pylist()
    expected: dict[object, set[object]] = {}
    for row in table(served.labels, "ignored"):
        expected.setdefault(row["request_id"], set()).add(row["item_id"])
    for place, row in enumerate(table(served.labels, "train")):
        request = int(corpus.examples.ignored_X[place])
        assert (request >= 0) == (row["request_id"] in expected)
        if request >= 0:
            own = corpus.ignored.item_T[corpus.ignored.offsets_Q1[request] : corpus.ignored.offsets_Q1[request + 1]]
            assert {items[item] for item in own} == expected[row["request_id"]]


def test_ads_without_a_request_are_in_none(tmp_path: Path) -> None:
    log = [
        Event(1, 1, "impression", 0, "home", "r1"),
        Event(1, 2, "impression", 1),
        Event(1, 3, "click", 2, "home", "r1"),
        Event(1, 3, "checkout", 3, "home", "r1"),
        Event(1, 4, "impression", 4, "home", "r0"),
        Event(1, 5, "checkout", 30 * DAY_US),
    ]
    labels, _ = labels_of(store := store_of(tmp_path, log), config_of("temporal", ignored=True))
    corpus = Corpus.build(store, labels)
    items = corpus.items.ids.to_pylist()
    assert corpus.ignored.offsets_Q1.tolist() == [0, 1, 2]
    assert [items[item] for item in corpus.ignored.item_T] == [4, 1, 2]
    assert corpus.examples.ignored_X.tolist() == [1]


def test_a_corpus_without_ignored_ads_has_none(tastes: Sample) -> None:
    assert len(tastes.corpus.ignored) == 0
    assert set(tastes.corpus.examples.ignored_X.tolist()) == {-1}
    assert len(tastes.corpus.words) == 0


def test_a_split_by_time_asks_all_users_at_the_start_of_its_periods(tastes: Sample) -> None:
    corpus = tastes.corpus
    assert (corpus.validation_at, corpus.test_at) == (START_US + 23 * DAY_US, START_US + 26 * DAY_US)
    assert set(corpus.validation_until_U.tolist()) == {corpus.validation_at}


@pytest.mark.parametrize("order", ["time", "sequence", "none"])
def test_a_split_by_user_judges_the_catalogue_at_the_end_of_the_log(tmp_path: Path, order: str) -> None:
    log = [
        Event(user, item, t=(10 * item + user) * DAY_US if order != "none" else 0)
        for user in range(6)
        for item in range(4)
    ]
    store = store_of(tmp_path, log, order=order)
    strategy = "leave_random_out" if order == "none" else "leave_last_out"
    labels, _ = labels_of(store, config_of(strategy, split={"validation_share": 0.5}))
    corpus = Corpus.build(store, labels)
    end = START_US + 35 * DAY_US + 1 if order == "time" else NEVER
    assert corpus.validation_at == corpus.test_at == end_of_log(corpus.known) == end
    np.testing.assert_array_equal(corpus.validation_until_U, corpus.train_until_U)
