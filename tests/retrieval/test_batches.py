"""Laws of batches on random logs: pure, aligned, never newer than their examples, corrected by what is really drawn."""

from collections import Counter
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.retrieval.retrieval_samples import Sample, batch_source, plain_items, plain_users

from lowerfunnel.errors import TrainingError
from lowerfunnel.events.schema import ACTION_CODE, ACTIONS, FUNNEL_DEPTH
from lowerfunnel.events.timeline import Timelines
from lowerfunnel.features.history import gather_histories
from lowerfunnel.features.requests import Requests
from lowerfunnel.retrieval.batches import BatchSource, TrainingData
from lowerfunnel.retrieval.examples import Examples
from lowerfunnel.retrieval.inputs import Movable, TrainingBatch
from lowerfunnel.retrieval.negatives import IgnoredAds
from lowerfunnel.retrieval.settings import (
    ContextConfig,
    HistoryConfig,
    NegativesConfig,
    ObjectiveConfig,
    RetrievalConfig,
)

MANY = settings(max_examples=40, deadline=None)
ITEMS, USERS = 7, 5
CODES = [ACTION_CODE[name] for name in ("view", "add_to_cart", "checkout")]
Event = tuple[int, int, int, int]


@st.composite
def logs(draw: st.DrawFn) -> tuple[str, list[Event]]:
    order = draw(st.sampled_from(["time", "sequence", "none"]))
    event = st.tuples(
        st.integers(0, USERS - 1), st.integers(0, 0 if order == "none" else 12), st.integers(0, ITEMS - 1),
        st.sampled_from(CODES),
    )  # fmt: skip
    return order, draw(st.lists(event, min_size=2, max_size=40))


def source_of(
    order: str,
    log: list[Event],
    config: RetrievalConfig,
    *,
    seed: int = 0,
    examples: list[Event] | None = None,
    described: int = 0,
    ignored: IgnoredAds | None = None,
) -> BatchSource:
    """Take every event for an example, told apart by its weight: 1, 2, 3, ..."""
    user, t, item, action = (np.array(column) for column in zip(*log, strict=True))
    timelines = Timelines.build(
        user_E=user.astype(np.int32),
        t_E=t.astype(np.int64),
        item_E=item.astype(np.int32),
        action_E=action.astype(np.int8),
        users=USERS,
        order=order,  # type: ignore[arg-type]
    )
    user, t, item, action = (np.array(column) for column in zip(*(examples or log), strict=True))
    ads = IgnoredAds.none() if ignored is None else ignored
    requests = len(ads.offsets_Q1) - 1
    return BatchSource(
        config,
        TrainingData(
            examples=Examples(
                user_X=user.astype(np.int32),
                t_X=t.astype(np.int64),
                item_X=item.astype(np.int32),
                action_X=action.astype(np.int8),
                task_X=(action != CODES[2]).astype(np.int8),
                weight_X=np.arange(1, len(user) + 1, dtype=np.float32),
                requests=replace(Requests.unknown(len(user)), surface_R=(1 + user % 2).astype(np.int32)),
                ignored_X=np.where(user % 2 == 0, t % requests, -1) if requests else np.full(len(user), -1),
            ),
            timelines=timelines,
            items=plain_items(ITEMS, category_I=(np.arange(ITEMS) < described).astype(np.int32)),
            users=plain_users(USERS),
            counters=None,
            ignored=ads,
            group_I=np.full(ITEMS, -1, np.int32),
        ),
        seed=seed,
    )


def config_of(
    *, history_length: int = 5, negatives: NegativesConfig | None = None, uniform: int = 0, **objective: object
) -> RetrievalConfig:
    return RetrievalConfig(
        history=HistoryConfig(length=history_length),
        objective=ObjectiveConfig(**{"batch_size": 4, **objective}),
        negatives=negatives or NegativesConfig(uniform=uniform),
    )


def example_of(batch: TrainingBatch) -> list[int]:
    return [int(weight) - 1 for weight in batch.weight_B]


def tensors_of(value: object) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, int):
        return [torch.tensor(value)]
    assert isinstance(value, Movable)
    return [tensor for field in fields(value) for tensor in tensors_of(getattr(value, field.name))]  # type: ignore[arg-type]


def same(one: TrainingBatch, other: TrainingBatch) -> bool:
    # An unknown dwell is NaN, which equals nothing.
    pairs = zip(tensors_of(one), tensors_of(other), strict=True)
    return all(a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True) for a, b in pairs)


def histories_of(batch: TrainingBatch) -> list[list[tuple[int, int]]]:
    """Read the examples' histories back as (item, action), by way of their requests and the places among the items."""
    history = batch.users.history
    offsets = history.offsets_R1.tolist()
    item = batch.items.id_U[history.place_N].tolist()
    entries = list(zip(item, history.action_N.tolist(), strict=True))
    of_request = [entries[start:stop] for start, stop in pairwise(offsets)]
    return [of_request[row] for row in batch.row_B.tolist()]


@MANY
@given(logs(), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
def test_a_batch_is_a_pure_function_of_seed_epoch_and_step(
    log: tuple[str, list[Event]], seed: int, uniform: int, epoch: int
) -> None:
    config = config_of(uniform=uniform, id_dropout=0.5)
    one, other = (source_of(*log, config, seed=seed) for _ in range(2))
    steps = one.steps_per_epoch
    forwards = [one.batch(epoch, step) for step in range(steps)]
    other.batch(epoch + 1, 0)
    backwards = [other.batch(epoch, step) for step in reversed(range(steps))]
    assert all(same(a, b) for a, b in zip(forwards, reversed(backwards), strict=True))


def test_another_seed_epoch_or_step_is_another_batch() -> None:
    log = [(i % USERS, i, i % ITEMS, CODES[2]) for i in range(30)]
    batches = {}
    for key in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]:
        batches[key] = tuple(example_of(source_of("time", log, config_of(), seed=key[0]).batch(key[1], key[2])))
    assert len(set(batches.values())) == 4


@MANY
@given(logs(), st.integers(1, 6), st.integers(0, 2))
def test_an_epoch_takes_each_example_at_most_once_and_fills_every_batch(
    log: tuple[str, list[Event]], batch_size: int, epoch: int
) -> None:
    source = source_of(*log, config_of(batch_size=max(2, batch_size)))
    taken = [example for step in range(source.steps_per_epoch) for example in example_of(source.batch(epoch, step))]
    assert len(taken) == len(set(taken)) == source.steps_per_epoch * source.batch_size
    assert len(log[1]) - len(taken) < source.batch_size


@MANY
@given(logs(), st.integers(0, 4))
def test_candidate_i_is_the_item_of_example_i_and_so_are_its_user_weight_and_surface(
    log: tuple[str, list[Event]], uniform: int
) -> None:
    source = source_of(*log, config_of(uniform=uniform, id_dropout=0.0))
    for step in range(source.steps_per_epoch):
        batch = source.batch(0, step)
        drawn = [log[1][example] for example in example_of(batch)]
        rows = len(drawn)
        assert batch.item_C[:rows].tolist() == [item for _, _, item, _ in drawn]
        assert batch.item_C.shape == batch.candidate_C.shape == batch.log_q_C.shape == (rows + uniform,)
        # The towers see the item at the candidate's place, under that very id.
        assert batch.items.id_U[batch.candidate_C].tolist() == batch.item_C.tolist()
        assert batch.user_R[batch.row_B].tolist() == [user for user, _, _, _ in drawn]
        assert batch.users.id.row[batch.users.id.place].tolist() == batch.user_R.tolist()
        assert batch.task_B.tolist() == [int(action != CODES[2]) for _, _, _, action in drawn]
        surface = batch.users.surface.row[batch.users.surface.place][batch.row_B].tolist()
        assert all(shown in (0, 1 + user % 2) for shown, (user, _, _, _) in zip(surface, drawn, strict=True))
        for lookup in (batch.users.id, batch.users.surface, batch.items.advertiser, batch.items.category):
            assert lookup.row.tolist() == sorted(set(lookup.row.tolist()))
        assert batch.items.id_U.tolist() == sorted(set(batch.items.id_U.tolist()))


@MANY
@given(logs(), st.integers(0, 4), st.booleans())
def test_a_history_is_the_latest_events_strictly_before_the_example(
    log: tuple[str, list[Event]], length: int, discovery: bool
) -> None:
    order, events = log
    source = source_of(order, events, config_of(history_length=length, discovery=discovery))
    depth = [FUNNEL_DEPTH[action] for action in ACTIONS]
    for step in range(source.steps_per_epoch):
        batch = source.batch(0, step)
        for example, found in zip(example_of(batch), histories_of(batch), strict=True):
            user, t, target, action = events[example]
            before = sorted((e for e in events if e[0] == user and (order == "none" or e[1] < t)), key=lambda e: e[1])
            latest = [(item, code) for _, _, item, code in before[len(before) - min(length, len(before)) :]]
            if discovery:
                expected = [entry for entry in latest if entry[0] != target]
            elif order == "none":
                # Nothing as deep in the funnel as the example may explain it, itself least of all.
                expected = [(i, code) for i, code in latest if i != target or depth[code] < depth[action]]
            else:
                expected = latest
            assert found == expected


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_ids_are_dropped_at_the_rate_of_the_setting_and_apart_for_items_and_users(share: float) -> None:
    log = [(i % USERS, i, i % ITEMS, CODES[2]) for i in range(40)]
    source = source_of("time", log, config_of(batch_size=20, id_dropout=share), described=ITEMS)
    batches = [source.batch(epoch, step) for epoch in range(100) for step in range(2)]
    items = torch.cat([batch.items.has_id_U for batch in batches])
    users = torch.cat([batch.users.has_id_R for batch in batches])
    assert set(items.tolist()) | set(users.tolist()) <= {0.0, 1.0}
    # 1,400 items and 4,000 users: four standard errors are below .054.
    assert 1 - items.mean() == pytest.approx(share, abs=0.054)
    assert 1 - users.mean() == pytest.approx(share, abs=0.054)


def test_an_item_of_which_nothing_else_is_known_keeps_its_id() -> None:
    log = [(i % USERS, i, i % ITEMS, CODES[2]) for i in range(40)]
    source = source_of("time", log, config_of(batch_size=20, id_dropout=0.9), described=3)
    kept = torch.ones(ITEMS)
    for epoch in range(20):
        items = source.batch(epoch, 0).items
        kept[items.id_U] = torch.minimum(kept[items.id_U], items.has_id_U)
    assert kept.tolist() == [0.0] * 3 + [1.0] * (ITEMS - 3)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_requests_hide_what_is_known_of_them_at_the_rate_of_the_setting(share: float) -> None:
    log = [(i % USERS, i, i % ITEMS, CODES[2]) for i in range(40)]
    source = source_of("time", log, replace(config_of(batch_size=20), context=ContextConfig(dropout=share)))
    hidden = []
    for epoch in range(50):
        surface = source.batch(epoch, 0).users.surface
        hidden += (surface.row[surface.place] == 0).tolist()
    assert np.mean(hidden) == pytest.approx(share, abs=0.07 * (0 < share < 1))


def test_discovery_hides_what_was_done_with_the_target_and_nothing_else() -> None:
    view, cart, buy = CODES
    log = [(0, 0, 1, view), (0, 1, 2, view), (0, 2, 1, cart), (0, 3, 1, buy)]
    # Twice the same purchase, since one example alone has no negatives.
    examples = [(0, 3, 1, buy)] * 2
    shown, hidden = (
        histories_of(source_of("time", log, config_of(discovery=discovery), examples=examples).batch(0, 0))[0]
        for discovery in (False, True)
    )
    assert shown == [(1, view), (2, view), (1, cart)]
    assert hidden == [(2, view)]


def test_discovery_hides_from_each_example_of_a_request_its_own_item_alone() -> None:
    view, cart, buy = CODES
    log = [(0, 0, 1, view), (0, 1, 2, cart)]
    examples = [(0, 3, 1, buy), (0, 3, 2, buy)]
    for discovery, expected in ((False, [[(1, view), (2, cart)]] * 2), (True, [[(2, cart)], [(1, view)]])):
        batch = source_of("time", log, config_of(discovery=discovery), examples=examples).batch(0, 0)
        found = dict(zip(example_of(batch), histories_of(batch), strict=True))
        assert [found[0], found[1]] == expected


@MANY
@given(logs())
def test_training_sees_a_history_as_answering_does(log: tuple[str, list[Event]]) -> None:
    order, events = log
    if order == "none":
        return  # A training history leaves its target out there, and an answer has none.
    source = source_of(order, events, config_of())
    batch = source.batch(0, 0)
    drawn = [events[example] for example in example_of(batch)]
    first = [batch.row_B.tolist().index(row) for row in range(len(batch.user_R))]
    user, t, _, _ = (np.array(column) for column in zip(*(drawn[place] for place in first), strict=True))
    asked = gather_histories(source._timelines, user.astype(np.int32), t.astype(np.int64), max_length=5)
    history = batch.users.history
    assert history.offsets_R1.tolist() == asked.offsets_B1.tolist()
    assert history.action_N.tolist() == asked.action_N.tolist()
    assert history.age_N.tolist() == asked.age_N.tolist()
    assert history.back_N.tolist() == asked.back_N.tolist()
    assert batch.items.id_U[history.place_N].tolist() == asked.item_N.tolist()


def test_a_task_of_weight_zero_is_as_if_its_examples_were_not_there() -> None:
    log = [(i % USERS, i, i % ITEMS, CODES[i % 3]) for i in range(40)]
    bought = [event for event in log if event[3] == CODES[2]]
    weightless = config_of(task_weights={"conversion": 1.0, "engagement": 0.0}, uniform=2)
    left, right = (source_of("time", log, weightless, examples=examples) for examples in (log, bought))
    for step in range(right.steps_per_epoch):
        one, other = left.batch(0, step), right.batch(0, step)
        for name in ("item_C", "log_q_C", "row_B", "user_R", "task_B"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name


@MANY
@given(logs(), st.booleans())
def test_a_request_is_encoded_once_and_whole_requests_stay_together(log: tuple[str, list[Event]], whole: bool) -> None:
    order, events = log
    source = source_of(order, events, config_of(whole_requests=whole))
    batches = [source.batch(0, step) for step in range(source.steps_per_epoch)]
    seen = Counter[tuple[int, int]]()
    for batch in batches:
        drawn = [events[example] for example in example_of(batch)]
        requests = {(user, t) for user, t, _, _ in drawn}
        assert len(batch.user_R) == (len(drawn) if order == "none" else len(requests))
        seen.update(requests)
    if whole and order != "none":
        # A request is cut at most where a batch ends.
        assert sum(count - 1 for count in seen.values()) <= len(batches) - 1


def test_a_batch_larger_than_the_log_takes_all_of_it() -> None:
    log = [(i % USERS, i, i % ITEMS, CODES[2]) for i in range(6)]
    source = source_of("time", log, config_of(batch_size=4096))
    assert (source.batch_size, source.steps_per_epoch) == (6, 1)
    assert sorted(example_of(source.batch(0, 0))) == list(range(6))


def test_one_example_is_too_few() -> None:
    with pytest.raises(
        TrainingError, match="training needs at least 2 examples, got 1; check the labels and the split"
    ):
        source_of("time", [(0, 1, 2, CODES[2])], config_of())


def test_side_features_of_a_real_log_arrive_at_their_items(tastes: Sample) -> None:
    corpus = tastes.corpus
    features = corpus.item_features
    batch = batch_source(corpus).batch(0, 0).items
    shown = batch.has_id_U > 0
    # An item without an id of its own shows row 0 and hides it, so it is told by its features' values below.
    known = batch.id_U[shown].numpy()
    assert (batch.advertiser.row[batch.advertiser.place][shown].numpy() == features.advertiser_I[known]).all()
    assert (batch.category.row[batch.category.place][shown].numpy() == features.category_I[known]).all()
    assert (batch.price_U3[shown].numpy() == features.price_I3[known]).all()
    assert (batch.content_UF[shown].numpy() == features.content_IC[known]).all()
    token = batch.attributes.token.row[batch.attributes.token.place].tolist()
    offsets = batch.attributes.offsets.tolist()
    for place in torch.nonzero(shown).flatten().tolist():
        item = int(batch.id_U[place])
        own = features.attribute_T[features.attribute_offsets_I1[item] : features.attribute_offsets_I1[item + 1]]
        assert token[offsets[place] : offsets[place + 1]] == own.tolist()


def test_user_attributes_arrive_at_their_users(tastes: Sample) -> None:
    corpus = tastes.corpus
    batch = batch_source(corpus).batch(0, 0)
    features = corpus.user_features
    token = batch.users.attributes.token.row[batch.users.attributes.token.place].tolist()
    offsets = batch.users.attributes.offsets.tolist()
    for place, user in enumerate(batch.user_R.tolist()):
        own = features.attribute_T[features.attribute_offsets_U1[user] : features.attribute_offsets_U1[user + 1]]
        assert token[offsets[place] : offsets[place + 1]] == own.tolist()


def test_examples_of_unequal_weight_keep_their_own(tastes: Sample) -> None:
    corpus = tastes.corpus
    numbered = replace(corpus.examples, weight_X=np.arange(len(corpus.examples), dtype=np.float32))
    batch = batch_source(replace(corpus, examples=numbered)).batch(2, 1)
    index = batch.weight_B.long().numpy()
    assert (batch.user_R[batch.row_B].numpy() == corpus.examples.user_X[index]).all()
    assert (batch.item_C[: len(index)].numpy() == corpus.examples.item_X[index]).all()
