"""What a task of weight zero, and a click of no length, leave behind: nothing, through the whole pipeline."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.labels.label_samples import DAY_US, Event, config_of, labels_of, store_of
from tests.retrieval.retrieval_samples import (
    BIG,
    FULL,
    SMALL,
    USERS,
    Sample,
    batch_source,
    catalogue,
    encoder_of,
    item_name,
    training_of,
    user_vectors,
)

from lowerfunnel.retrieval.corpus import Corpus
from lowerfunnel.retrieval.settings import ContextConfig, RetrievalConfig
from lowerfunnel.training.loop import train
from lowerfunnel.training.settings import TrainingConfig

SHORT = TrainingConfig(epochs=2, learning_rate=0.01)
SEARCHING = replace(
    FULL,
    tower=replace(FULL.tower, popularity=True),
    context=ContextConfig(subject=True, query=True),
    objective=replace(FULL.objective, batch_size=32),
)


def learned(corpus: Corpus, config: RetrievalConfig, checkpoints: Path) -> tuple[list[float], np.ndarray, np.ndarray]:
    """Train for two epochs; return the losses, and the vectors of all items and users."""
    model, trainable = training_of(corpus, config, training=SHORT)
    result = train(trainable, SHORT, checkpoints=checkpoints, headline="recall@10")
    encoder = encoder_of(corpus, model)
    users = [-1, *range(len(corpus.users))]
    return [row["loss"] for row in result.history], encoder.items(), user_vectors(corpus, encoder, users)


def assert_equal(
    one: tuple[list[float], np.ndarray, np.ndarray], other: tuple[list[float], np.ndarray, np.ndarray]
) -> None:
    assert one[0] == other[0]
    np.testing.assert_array_equal(one[1], other[1])
    np.testing.assert_array_equal(one[2], other[2])


@pytest.mark.parametrize("heads", ["unified", "multi"])
def test_a_task_of_weight_zero_is_as_if_it_had_never_been_labelled(served: Sample, tmp_path: Path, heads: str) -> None:
    split = {"test_days": 4, "validation_days": 3}
    labels, _ = labels_of(
        served.store,
        config_of("temporal", split=split, exclude_purchased=False, touch_window_h=48.0),
        name=f"bought_{heads}",
    )
    objective = replace(SEARCHING.objective, heads=heads, task_weights={"conversion": 1.0, "engagement": 0.0})
    config = replace(SEARCHING, objective=objective)
    weightless, removed = (
        Corpus.build(served.store, folder, category_separator=" > ", tasks=objective.learned)
        for folder in (served.labels, labels)
    )
    assert not weightless.trained_U.all(), "somebody only clicked"
    assert len(weightless.examples) < len(served.corpus.examples)
    assert_equal(learned(weightless, config, tmp_path / "weightless"), learned(removed, config, tmp_path / "removed"))
    # Left out of the settings, it has no weight either.
    unnamed = replace(config, objective=replace(objective, task_weights={"conversion": 1.0}))
    assert unnamed.objective.learned == ("conversion",)
    assert_equal(learned(removed, unnamed, tmp_path / "unnamed"), learned(removed, config, tmp_path / "removed again"))


def test_conversions_of_weight_zero_leave_engagement_alone(served: Sample) -> None:
    alone = Corpus.build(served.store, served.labels, tasks=["engagement"])
    assert set(alone.examples.task_X.tolist()) == {1}
    assert len(alone.examples) == int((served.corpus.examples.task_X == 1).sum())
    assert set(np.flatnonzero(alone.trained_U).tolist()) == set(alone.examples.user_X.tolist())


def visits(folder: Path, *, bounce_s: float | None) -> Sample:
    """Users who click and buy; every third click lasts `bounce_s`, which is no time at all or nobody knows how much."""
    generator = np.random.default_rng(2)
    log = []
    for number in range(240):
        user, t = number % USERS, int(generator.integers(29 * DAY_US))
        dwell_s = bounce_s if number % 3 == 0 else float(generator.integers(1, 90))
        item = item_name(user % 4, int(generator.integers(8)))
        log.append(Event(BIG + user, item, "click", t, dwell_s=dwell_s))
        if number % 4 == 1:
            log.append(Event(BIG + user, item, "checkout", t + 1))
    store = store_of(folder, log, items=catalogue())
    labels, _ = labels_of(
        store,
        config_of(
            "temporal",
            split={"test_days": 4, "validation_days": 3},
            weights={"checkout": 1.0, "click": 0.5},
            exclude_purchased=False,
            dwell={"weight": "log2"},
        ),
    )
    return Sample(store=store, labels=labels, corpus=Corpus.build(store, labels))


def test_a_click_of_zero_seconds_contributes_nothing_from_the_labels_to_the_weights(tmp_path: Path) -> None:
    (tmp_path / "bounced").mkdir()
    (tmp_path / "unknown").mkdir()
    bounced, unknown = visits(tmp_path / "bounced", bounce_s=0.0), visits(tmp_path / "unknown", bounce_s=None)
    corpus = bounced.corpus
    clicks = {
        (user, item, t)
        for user, item, t, action, dwell in zip(
            np.repeat(np.arange(corpus.known.users), np.diff(corpus.known.offsets_U1)).tolist(),
            corpus.known.item_E.tolist(), corpus.known.t_E.tolist(), corpus.known.action_E.tolist(),
            corpus.known.dwell_E.tolist(), strict=True,
        )
        if dwell == 0.0
    }  # fmt: skip
    assert len(clicks) > 50
    source = batch_source(corpus, SMALL)
    for step in range(source.steps_per_epoch):
        index = source.example_index(0, step)
        columns = (
            column[index].tolist() for column in (source.examples.user_X, source.examples.item_X, source.examples.t_X)
        )
        assert not clicks & set(zip(*columns, strict=True))
        assert bool((source.batch(0, step).weight_B > 0).all())
    # As if nobody had measured it: a pooled history reads no dwell, so all else is the same.
    assert_equal(learned(corpus, SMALL, tmp_path / "one"), learned(unknown.corpus, SMALL, tmp_path / "other"))


def test_the_weight_of_a_longer_visit_arrives_at_its_example(tmp_path: Path) -> None:
    corpus = visits(tmp_path, bounce_s=0.0).corpus
    examples = corpus.examples
    bought = examples.weight_X[examples.task_X == 0]
    clicked = examples.weight_X[examples.task_X == 1]
    assert set(bought.tolist()) == {1.0}
    assert clicked.min() > 0
    assert clicked.max() == 0.5
    assert len(set(clicked.tolist())) > 20
