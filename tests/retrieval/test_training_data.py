"""What a log cannot give is said before training starts, and counters know no more than whoever is asked may."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from tests.labels.label_samples import DAY_US, START_US, Event, config_of, labels_of, store_of, table
from tests.retrieval.retrieval_samples import FULL, SMALL, Sample, batch_source

from lowerfunnel.errors import TrainingError, UnavailableError
from lowerfunnel.events.timeline import Timelines
from lowerfunnel.features.activity import ACTIVITY_GROUPS
from lowerfunnel.features.counters import COUNTER_NAMES
from lowerfunnel.features.requests import Requests
from lowerfunnel.retrieval.corpus import NEVER, Corpus, end_of_log
from lowerfunnel.retrieval.negatives import IgnoredAds
from lowerfunnel.retrieval.settings import ContextConfig, GroupLossConfig, NegativesConfig, RetrievalConfig
from lowerfunnel.retrieval.training_data import (
    describe_examples,
    item_counters,
    require_available,
    table_sizes,
    training_data,
)

CONVERSIONS_7D, IMPRESSIONS_28D = (COUNTER_NAMES.index(name) for name in ("conversions_7d", "impressions_28d"))


def bare(corpus: Corpus) -> Corpus:
    """Return the same log as if it had no surfaces, requests, searches, ignored ads and advertisers."""
    examples, features = corpus.examples, corpus.item_features
    return replace(
        corpus,
        examples=replace(
            examples, requests=Requests.unknown(len(examples)), ignored_X=np.full(len(examples), -1, np.int64)
        ),
        item_features=replace(features, advertiser_I=np.zeros_like(features.advertiser_I)),
        ignored=IgnoredAds.none(),
    )


def ordered(corpus: Corpus, order: str) -> Corpus:
    return replace(corpus, training=replace(corpus.training, order=order), known=replace(corpus.known, order=order))


def without_requests(corpus: Corpus) -> Corpus:
    """Ads were ignored, and no example came from a request that held some."""
    nowhere = np.full(len(corpus.examples), -1, np.int64)
    return replace(corpus, examples=replace(corpus.examples, ignored_X=nowhere))


def with_negatives(**settings: int) -> RetrievalConfig:
    return replace(SMALL, negatives=NegativesConfig(**settings))


def with_tower(**settings: bool) -> RetrievalConfig:
    return replace(SMALL, tower=replace(SMALL.tower, **settings))


MISSING: dict[str, tuple[RetrievalConfig, Callable[[Corpus], Corpus], tuple[str, ...]]] = {
    "a subject": (
        replace(SMALL, context=ContextConfig(subject=True)), bare,
        ("retrieval.context.subject is on", "column context_item_id", "labels.touch_window_h", "to false"),
    ),
    "a query": (
        replace(SMALL, context=ContextConfig(query=True)), bare,
        ("retrieval.context.query is on", "column query", "labels.touch_window_h", "to false"),
    ),
    "hard negatives": (
        with_negatives(hard=3), bare,
        ("retrieval.negatives.hard is 3", "it needs impressions", "labels.ignored to true", "retrieval.negatives.hard to 0"),
    ),
    "own negatives": (
        with_negatives(request=2), bare,
        ("retrieval.negatives.request is 2", "it needs impressions", "labels.ignored to true", "request to 0"),
    ),
    "own negatives without requests": (
        with_negatives(request=2), without_requests,
        ("retrieval.negatives.request is 2", "map request_id", "labels.touch_window_h", "request to 0"),
    ),
    "an advertiser loss": (
        replace(SMALL, group_loss=GroupLossConfig(weight=1.0)), bare,
        ("retrieval.group_loss", "column advertiser_id", "retrieval.group_loss.weight to 0"),
    ),
    "counters of a sequence": (
        with_tower(counters=True), lambda corpus: ordered(corpus, "sequence"),
        ("retrieval.tower.counters needs a log with times", 'ordered by "sequence"', "set it to false"),
    ),
    "counters without order": (
        with_tower(counters=True), lambda corpus: ordered(corpus, "none"),
        ("retrieval.tower.counters needs a log with times", 'ordered by "none"', "set it to false"),
    ),
    "activity without order": (
        with_tower(activity=True), lambda corpus: ordered(corpus, "none"),
        ("retrieval.tower.activity needs a log with order", "set it to false"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", MISSING)
def test_what_the_log_lacks_names_setting_column_and_remedy(served: Sample, what: str) -> None:
    config, without, parts = MISSING[what]
    with pytest.raises(UnavailableError) as raised:
        training_data(without(served.corpus), config)
    assert all(part in str(raised.value) for part in parts), raised.value
    training_data(served.corpus, config)


def test_a_log_without_anything_is_enough_for_a_model_that_asks_for_nothing(served: Sample) -> None:
    nothing = ordered(bare(served.corpus), "none")
    require_available(nothing, SMALL)
    require_available(ordered(bare(served.corpus), "sequence"), with_tower(activity=True))


def test_hard_negatives_need_no_requests(served: Sample) -> None:
    training_data(without_requests(served.corpus), with_negatives(hard=3))


def test_a_head_without_an_example_is_named(served: Sample) -> None:
    corpus = served.corpus
    config = replace(SMALL, objective=replace(SMALL.objective, heads="multi"))
    for code, name in ((0, "engagement"), (1, "conversion")):
        alone = corpus.examples.take(np.flatnonzero(corpus.examples.task_X == code))
        with pytest.raises(TrainingError, match=rf'heads is "multi", and training has no {name} .* labels\.weights'):
            training_data(replace(corpus, examples=alone), config)


def test_tables_are_as_large_as_the_vocabularies_and_vectors_as_wide_as_the_features(served: Sample) -> None:
    corpus = served.corpus
    plain, full = (table_sizes(corpus, config, training_data(corpus, config)) for config in (SMALL, FULL))
    assert (plain.counters_width, plain.activity_width, plain.groups) == (0, 0, 0)
    assert (full.counters_width, full.activity_width) == (len(COUNTER_NAMES), 4 * len(ACTIVITY_GROUPS))
    assert (full.users, full.items, full.words) == (len(corpus.users), len(corpus.items), len(corpus.words))
    assert (full.surfaces, full.advertisers, full.categories) == (3, 4, 4)
    assert (full.content_width, full.visual_width) == (3, 2)
    grouped = replace(SMALL, group_loss=GroupLossConfig(weight=1.0, by="colour"))
    assert table_sizes(corpus, grouped, training_data(corpus, grouped)).groups == 2


def test_a_batch_is_described_by_the_source_ids_of_its_first_examples(served: Sample) -> None:
    corpus = served.corpus
    source = batch_source(corpus)
    index = source.example_index(1, 2)
    examples = corpus.examples
    users = corpus.users.decode(examples.user_X[index[:5]]).to_pylist()
    items = corpus.items.decode(examples.item_X[index[:5]]).to_pylist()
    pairs = ", ".join(f"{user} on {item}" for user, item in zip(users, items, strict=True))
    expected = f"64 examples, the first of them {pairs} (user on item)"
    assert describe_examples(corpus, source, 1, 2) == expected


def counted(timelines: Timelines, action: int, item: int, start_us: int, stop_us: int) -> int:
    chosen = (timelines.item_E == item) & (timelines.action_E == action)
    return int((chosen & (timelines.t_E >= start_us) & (timelines.t_E < stop_us)).sum())


@pytest.mark.parametrize("testing", [False, True])
def test_in_a_split_by_time_counters_stop_at_the_day_of_validation_or_of_the_test(
    served: Sample, *, testing: bool
) -> None:
    corpus = served.corpus
    at = corpus.test_at if testing else corpus.validation_at
    # Four days of test, three of validation before it, in a log that ends on its 29th day.
    assert corpus.test_at - corpus.validation_at == 3 * DAY_US
    assert end_of_log(corpus.known) - 1 - corpus.test_at == 4 * DAY_US
    day = at - at % DAY_US
    found = item_counters(corpus, FULL, testing=testing)
    for item in range(len(corpus.items)):
        for column, action, days in ((CONVERSIONS_7D, 7, 7), (IMPRESSIONS_28D, 0, 28)):
            expected = counted(corpus.known, action, item, day - days * DAY_US, day)
            assert found[item, column] == pytest.approx(np.log1p(expected)), (item, column)


def test_a_model_that_does_not_look_gets_no_counters(served: Sample) -> None:
    assert item_counters(served.corpus, SMALL, testing=True).shape == (len(served.corpus.items), 0)
    assert training_data(served.corpus, SMALL).counters is None


@pytest.fixture(scope="module")
def left_out(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Ten users who buy five items each, a day apart; of half of them one is held out for validation, of all one."""
    folder = tmp_path_factory.mktemp("left_out")
    log = [
        Event(user, (user + step) % 7, t=(step * 10 + user) * DAY_US // 10) for user in range(10) for step in range(5)
    ]
    store = store_of(folder, log)
    labels, _ = labels_of(store, config_of("leave_last_out", split={"validation_share": 0.5}))
    return Sample(store=store, labels=labels, corpus=Corpus.build(store, labels))


@pytest.mark.parametrize("testing", [False, True])
def test_where_users_are_asked_for_one_by_one_no_held_out_event_is_counted(left_out: Sample, *, testing: bool) -> None:
    corpus = left_out.corpus
    assert corpus.validation_at == corpus.test_at == end_of_log(corpus.known) == START_US + 49 * DAY_US // 10 + 1
    held_out = {(r["user_id"], r["item_id"]) for r in table(left_out.labels, "test")}
    assert len(held_out) == 10
    if not testing:
        held_out |= {(r["user_id"], r["item_id"]) for r in table(left_out.labels, "validation")}
        assert len(held_out) == 15
    day = corpus.test_at - corpus.test_at % DAY_US
    bought = Counter[int]()
    for user in range(10):
        for step in range(5):
            pair, t = (user, (user + step) % 7), START_US + (step * 10 + user) * DAY_US // 10
            bought[pair[1]] += pair not in held_out and t < day
    found = item_counters(corpus, FULL, testing=testing)
    for item in range(7):
        dense = corpus.items.ids.to_pylist().index(item)
        assert found[dense, CONVERSIONS_7D] == pytest.approx(np.log1p(bought[item]))


def test_training_counts_nothing_that_validation_holds_out(left_out: Sample) -> None:
    counters = training_data(left_out.corpus, FULL).counters
    assert counters is not None
    items = len(left_out.corpus.items)
    late = counters.at(np.arange(items, dtype=np.int32), np.full(items, START_US + 6 * DAY_US, np.int64))
    assert np.expm1(late[:, CONVERSIONS_7D]).sum() == pytest.approx(50 - 15)
    assert NEVER not in left_out.corpus.validation_until_U


@pytest.mark.parametrize(("example_day", "ad_day"), [(20, 9), (9, 20)])
def test_every_candidate_of_a_batch_is_as_of_the_day_before_its_moment(
    served: Sample, example_day: int, ad_day: int
) -> None:
    """Examples come on one day and ignored ads on another: a hard negative is as of the ad, all others as of examples."""
    corpus = served.corpus
    examples, ads = corpus.examples, corpus.ignored
    example_t, ad_t = (START_US + day * DAY_US for day in (example_day, ad_day))
    moved = replace(
        corpus,
        examples=replace(examples, t_X=np.full_like(examples.t_X, example_t)),
        ignored=replace(ads, t_T=np.full_like(ads.t_T, ad_t)),
    )
    source = batch_source(moved, replace(FULL, negatives=NegativesConfig(uniform=8, hard=6, request=2)))
    counters = source.data.counters
    assert counters is not None
    for step in range(source.steps_per_epoch):
        batch = source.batch(0, step)
        t_C = np.full(len(batch.item_C), example_t)
        t_C[source.batch_size : source.batch_size + 6] = ad_t
        np.testing.assert_array_equal(batch.counters_CF.numpy(), counters.at(batch.item_C.numpy(), t_C))
        assert (batch.counters_CF.numpy() != counters.at(batch.item_C.numpy(), t_C[::-1])).any()
        assert len(batch.own_place_N) > 0


def test_own_candidates_are_as_of_their_request_and_uniform_ones_as_of_some(served: Sample) -> None:
    corpus = served.corpus
    source = batch_source(corpus, replace(FULL, negatives=NegativesConfig(uniform=8, request=2)))
    counters = source.data.counters
    assert counters is not None
    for step in range(source.steps_per_epoch):
        batch = source.batch(0, step)
        t_X = corpus.examples.t_X[source.example_index(0, step)]
        found, item = batch.counters_CF.numpy(), batch.item_C.numpy()
        np.testing.assert_array_equal(found[: len(t_X)], counters.at(item[: len(t_X)], t_X))
        t_R = np.zeros(len(batch.user_R), np.int64)
        t_R[batch.row_B.numpy()] = t_X
        own_t = np.repeat(t_R, np.diff(batch.own_offsets_R1.numpy()))
        np.testing.assert_array_equal(found[batch.shared :], counters.at(item[batch.shared :], own_t))
        for place in range(len(t_X), batch.shared):
            rows = counters.at(np.repeat(item[place : place + 1], len(t_X)), t_X)
            assert (rows == found[place]).all(axis=1).any()
