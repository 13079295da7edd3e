"""Every setting changes something; settings that leave nothing are refused."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from tests.retrieval.retrieval_samples import Sample, batch_source, encoder_of, training_of, user_vectors

from lowerfunnel.retrieval.corpus import Corpus
from lowerfunnel.retrieval.inputs import TrainingBatch
from lowerfunnel.retrieval.settings import (
    ContextConfig,
    GroupLossConfig,
    HistoryConfig,
    NegativesConfig,
    ObjectiveConfig,
    RetrievalConfig,
    TowerConfig,
)
from lowerfunnel.training.settings import TrainingConfig

BASE = RetrievalConfig(
    tower=TowerConfig(width=8, hidden=(8,), cross_layers=1, cross_rank=4),
    history=HistoryConfig(length=20, layers=1, feedforward=8),
    objective=ObjectiveConfig(batch_size=32, id_dropout=0.2),
)
MIXTURE = replace(BASE, tower=replace(BASE.tower, cross_kind="mixture", cross_experts=2))
HARD = replace(BASE, negatives=NegativesConfig(uniform=5, hard=6, request=3))
GROUPED = replace(BASE, group_loss=GroupLossConfig(weight=0.5))
CHANGES: dict[str, tuple[RetrievalConfig, object]] = {
    "tower.width": (BASE, 12),
    "tower.arrangement": (BASE, "stacked"),
    "tower.cross_layers": (BASE, 2),
    "tower.cross_kind": (BASE, "full"),
    "tower.cross_rank": (BASE, 3),
    "tower.cross_experts": (MIXTURE, 3),
    "tower.hidden": (BASE, (8, 4)),
    "tower.head_hidden": (BASE, (5,)),
    "tower.residual": (BASE, False),
    "tower.user_id": (BASE, False),
    "tower.item_id": (BASE, False),
    "tower.category_separator": (BASE, " > "),
    "tower.counters": (BASE, True),
    "tower.activity": (BASE, True),
    "tower.popularity": (BASE, True),
    "tower.init_std": (BASE, 0.3),
    "history.length": (BASE, 2),
    "history.actions": (BASE, ("checkout",)),
    "history.encoder": (BASE, "pooling"),
    "history.layers": (BASE, 2),
    "history.heads": (BASE, 4),
    "history.feedforward": (BASE, 6),
    "history.dropout": (BASE, 0.5),
    "history.entry_dropout": (BASE, 0.5),
    "history.causal": (BASE, True),
    "context.surface": (BASE, False),
    "context.subject": (BASE, True),
    "context.query": (BASE, True),
    "context.dropout": (BASE, 0.9),
    "objective.heads": (BASE, "multi"),
    "objective.task_weights": (BASE, {"conversion": 1.0, "engagement": 0.3}),
    "objective.temperature": (BASE, 0.3),
    "objective.learn_temperature": (BASE, True),
    "objective.batch_size": (BASE, 24),
    "objective.whole_requests": (BASE, True),
    "objective.discovery": (BASE, True),
    "objective.id_dropout": (BASE, 0.6),
    "negatives.uniform": (BASE, 5),
    "negatives.hard": (BASE, 5),
    "negatives.request": (BASE, 3),
    "negatives.spared_actions": (BASE, ("checkout",)),
    "negatives.proposal": (HARD, "source"),
    "negatives.estimate": (BASE, "streaming"),
    "negatives.log_q_negative": (BASE, 0.5),
    "negatives.log_q_positive": (BASE, 0.0),
    "negatives.reweighted": (replace(BASE, negatives=NegativesConfig(log_q_positive=0.0)), True),
    "group_loss.weight": (BASE, 0.5),
    "group_loss.form": (GROUPED, "pooled"),
    "group_loss.by": (GROUPED, "colour"),
}
"""Every setting, with another value and the settings in which it has a say."""
LEARNING = {"learning_rate": 0.05, "table_learning_rate": 0.02}


def outcome(sample: Sample, config: RetrievalConfig, training: TrainingConfig) -> tuple[list[float], bytes]:
    """Train four steps; return the losses, and the vectors of all items and users."""
    corpus = Corpus.build(sample.store, sample.labels, category_separator=config.tower.category_separator)
    model, trainable = training_of(corpus, config, training=training)
    losses = [float(trainable.step(0, step, 1.0)) for step in range(4)]
    encoder = encoder_of(corpus, model)
    vectors = [encoder.items(), user_vectors(corpus, encoder, list(range(len(corpus.users))))]
    return losses, b"".join(part.tobytes() for part in vectors)


def changed(config: RetrievalConfig, name: str, value: object) -> RetrievalConfig:
    part, _, setting = name.partition(".")
    return replace(config, **{part: replace(getattr(config, part), **{setting: value})})


def test_every_setting_is_in_the_table_above() -> None:
    names = {f"{part.name}.{field.name}" for part in fields(RetrievalConfig) for field in fields(part.type)}
    assert set(CHANGES) == names


@pytest.mark.parametrize("name", CHANGES)
def test_every_setting_changes_what_is_learned(served: Sample, name: str) -> None:
    base, value = CHANGES[name]
    one, other = (outcome(served, config, TrainingConfig()) for config in (base, changed(base, name, value)))
    assert one[0] != other[0]
    assert one[1] != other[1]


def test_the_same_settings_learn_the_same(served: Sample) -> None:
    assert outcome(served, HARD, TrainingConfig()) == outcome(served, HARD, TrainingConfig())


@pytest.mark.parametrize("name", LEARNING)
def test_both_learning_rates_change_what_is_learned(tastes: Sample, name: str) -> None:
    base, other = (
        outcome(tastes, BASE, training) for training in (TrainingConfig(), TrainingConfig(**{name: LEARNING[name]}))
    )
    assert base[0][0] == other[0][0], "the first loss comes before the first update"
    assert base[1] != other[1]


def test_a_learning_rate_factor_of_zero_changes_no_weight(tastes: Sample) -> None:
    _, trainable = training_of(tastes.corpus, BASE)
    before = {name: tensor.clone() for name, tensor in trainable.weights().items()}
    trainable.step(0, 0, 0.0)
    assert all(torch.equal(before[name], tensor) for name, tensor in trainable.weights().items())


def test_the_settings_of_batches_do_what_they_say(tastes: Sample) -> None:
    """Beyond "something changes": the sizes of what the towers get."""

    def batch(name: str, value: object) -> TrainingBatch:
        return batch_source(tastes.corpus, changed(BASE, name, value)).batch(0, 0)

    assert len(batch("objective.batch_size", 24).row_B) == 24
    assert len(batch("negatives.uniform", 5).item_C) == 32 + 5
    assert batch("objective.id_dropout", 0.0).users.has_id_R.all()
    lengths = np.diff(batch("history.length", 2).users.history.offsets_R1)
    assert lengths.max() == 2


def test_more_weight_on_an_example_gives_it_more_say_in_the_loss(tastes: Sample) -> None:
    corpus = tastes.corpus
    weight_X = corpus.examples.weight_X.copy()
    weight_X[::2] *= 5
    other = replace(corpus, examples=replace(corpus.examples, weight_X=weight_X))
    one, two = (float(training_of(c, BASE)[1].step(0, 0, 1.0)) for c in (corpus, other))
    assert one != two
    # Only the proportions count.
    scaled = replace(corpus, examples=replace(corpus.examples, weight_X=corpus.examples.weight_X * 4))
    assert float(training_of(scaled, BASE)[1].step(0, 0, 1.0)) == pytest.approx(one, rel=1e-6)


@pytest.mark.parametrize(
    ("config", "settings", "sentence"),
    [
        (TowerConfig, {"width": 0}, "width must be at least 1, got 0"),
        (TowerConfig, {"cross_rank": 0}, "cross_rank must be at least 1, got 0"),
        (TowerConfig, {"hidden": (8, 0)}, r"layers must be at least 1 wide, got hidden=\(8, 0\)"),
        (TowerConfig, {"hidden": ()}, 'the arrangement "parallel" needs an MLP, and hidden names no layer'),
        (TowerConfig, {"arrangement": "none", "residual": False}, "residual=false takes it away"),
        (TowerConfig, {"category_separator": ""}, "category_separator must hold a character"),
        (TowerConfig, {"init_std": 0.0}, r"init_std must be above 0, got 0\.0"),
        (HistoryConfig, {"length": -1}, "length must not be negative, got -1"),
        (HistoryConfig, {"actions": ("buy",)}, r"actions must name canonical actions, got \['buy'\]"),
        (HistoryConfig, {"layers": 0}, "layers must be at least 1, got 0"),
        (HistoryConfig, {"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1\.0"),
        (HistoryConfig, {"entry_dropout": -0.1}, r"entry_dropout must lie in \[0, 1\), got -0\.1"),
        (ContextConfig, {"dropout": 1.5}, r"dropout must lie in \[0, 1\], got 1\.5"),
        (NegativesConfig, {"uniform": -1}, "uniform must not be negative, got -1"),
        (NegativesConfig, {"log_q_negative": float("nan")}, "log_q_negative must not be negative, got nan"),
        (NegativesConfig, {"spared_actions": ("buy",)}, r"spared_actions must name canonical actions, got \['buy'\]"),
        (NegativesConfig, {"reweighted": True}, r"set log_q_positive to 0, got 1\.0"),
        (GroupLossConfig, {"weight": -1.0}, r"weight must not be negative, got -1\.0"),
        (GroupLossConfig, {"by": ""}, 'by must be "advertiser", "category" or the name of an attribute, got ""'),
        (
            ObjectiveConfig,
            {"task_weights": {"view": 1.0}},
            r"""task_weights are of "conversion" and "engagement", got""",
        ),
        (ObjectiveConfig, {"task_weights": {"conversion": 0.0}}, "and one above 0"),
        (ObjectiveConfig, {"temperature": 0.0}, r"temperature must be above 0, got 0\.0"),
        (ObjectiveConfig, {"temperature": float("nan")}, "temperature must be above 0, got nan"),
        (
            ObjectiveConfig,
            {"batch_size": 1},
            "batch_size must be at least 2, got 1: one example alone has no negatives",
        ),
        (ObjectiveConfig, {"id_dropout": 1.0}, r"id_dropout must lie in \[0, 1\), got 1\.0"),
        (
            RetrievalConfig,
            {"history": HistoryConfig(actions=("view",)), "negatives": NegativesConfig(spared_actions=("checkout",))},
            r"negatives.spared_actions must be among history.actions, got \['checkout'\] beside \['view'\]",
        ),
        (
            RetrievalConfig,
            {"tower": TowerConfig(user_id=False), "history": HistoryConfig(length=0)},
            "tower.user_id=false and history.length=0 leave nothing",
        ),
        (
            RetrievalConfig,
            {"history": HistoryConfig(heads=3)},
            "history.heads must divide tower.width, got 3 heads of 64",
        ),
        (
            RetrievalConfig,
            {"objective": ObjectiveConfig(heads="multi", task_weights={"engagement": 1.0})},
            "task_weights give conversions no weight",
        ),
    ],
)
def test_settings_that_leave_nothing_are_refused(config: type, settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        config(**settings)
