"""Every setting changes something; settings that leave nothing are refused."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from tests.retrieval.retrieval_samples import Sample, batch_source, encoder_of, training_of, user_vectors

from lowerfunnel.retrieval.settings import ObjectiveConfig, RetrievalConfig, TowerConfig
from lowerfunnel.training.settings import TrainingConfig

BASE = RetrievalConfig(
    tower=TowerConfig(width=8, history_length=20), objective=ObjectiveConfig(batch_size=32, id_dropout=0.2)
)
TOWER = {
    "width": 12,
    "user_id": False,
    "item_id": False,
    "user_hidden": (8,),
    "item_hidden": (8,),
    "history_length": 2,
    "history_actions": ("checkout",),
    "popularity": True,
    "init_std": 0.3,
}
OBJECTIVE = {
    "temperature": 0.3,
    "batch_size": 24,
    "uniform_negatives": 5,
    "correct_positive": False,
    "discovery": True,
    "spared_actions": ("checkout",),
    "id_dropout": 0.6,
}
LEARNING = {"learning_rate": 0.05, "table_learning_rate": 0.02}


def outcome(tastes: Sample, config: RetrievalConfig, training: TrainingConfig) -> tuple[list[float], bytes]:
    """Train three steps; return the losses, and the vectors of all items and users."""
    model, trainable = training_of(tastes.corpus, config, training=training)
    losses = [float(trainable.step(0, step, 1.0)) for step in range(3)]
    encoder = encoder_of(tastes.corpus, model, config)
    vectors = [encoder.items(), user_vectors(tastes.corpus, encoder, list(range(len(tastes.corpus.users))))]
    return losses, b"".join(part.tobytes() for part in vectors)


def test_every_setting_is_in_the_tables_above() -> None:
    assert set(TOWER) == {field.name for field in fields(TowerConfig)}
    assert set(OBJECTIVE) == {field.name for field in fields(ObjectiveConfig)}


@pytest.mark.parametrize("name", TOWER)
def test_every_setting_of_the_towers_changes_the_model(tastes: Sample, name: str) -> None:
    changed = replace(BASE, tower=replace(BASE.tower, **{name: TOWER[name]}))
    base, other = (outcome(tastes, config, TrainingConfig()) for config in (BASE, changed))
    assert base == outcome(tastes, BASE, TrainingConfig())
    assert base[0] != other[0]
    assert base[1] != other[1]


@pytest.mark.parametrize("name", OBJECTIVE)
def test_every_setting_of_the_objective_changes_what_is_learned(tastes: Sample, name: str) -> None:
    changed = replace(BASE, objective=replace(BASE.objective, **{name: OBJECTIVE[name]}))
    base, other = (outcome(tastes, config, TrainingConfig()) for config in (BASE, changed))
    assert base[0] != other[0]
    assert base[1] != other[1]


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

    def batch(**objective: object) -> object:
        return batch_source(tastes.corpus, replace(BASE, objective=replace(BASE.objective, **objective))).batch(0, 0)

    assert len(batch(batch_size=24).user_B) == 24
    assert len(batch(uniform_negatives=5).item_C) == 32 + 5
    assert batch(id_dropout=0.0).users.has_id_B.all()
    shorter = replace(BASE, tower=replace(BASE.tower, history_length=2))
    lengths = np.diff(batch_source(tastes.corpus, shorter).batch(0, 0).users.history_offsets_B1)
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
        (TowerConfig, {"history_length": -1}, "history_length must not be negative, got -1"),
        (TowerConfig, {"user_id": False, "history_length": 0}, "user_id=false and history_length=0 leave nothing"),
        (TowerConfig, {"init_std": 0.0}, r"init_std must be above 0, got 0\.0"),
        (TowerConfig, {"user_hidden": (8, 0)}, r"hidden layers must be at least 1 wide, got user_hidden=\(8, 0\)"),
        (ObjectiveConfig, {"temperature": 0.0}, r"temperature must be above 0, got 0\.0"),
        (ObjectiveConfig, {"temperature": float("nan")}, "temperature must be above 0, got nan"),
        (
            ObjectiveConfig,
            {"batch_size": 1},
            "batch_size must be at least 2, got 1: one example alone has no negatives",
        ),
        (ObjectiveConfig, {"uniform_negatives": -1}, "uniform_negatives must not be negative, got -1"),
        (
            RetrievalConfig,
            {
                "tower": TowerConfig(history_actions=("view",)),
                "objective": ObjectiveConfig(spared_actions=("checkout",)),
            },
            r"spared_actions must be among history_actions, got \['checkout'\] beside \['view'\]",
        ),
        (ObjectiveConfig, {"spared_actions": ("buy",)}, r"spared_actions must name canonical actions, got \['buy'\]"),
        (ObjectiveConfig, {"id_dropout": 1.0}, r"id_dropout must lie in \[0, 1\), got 1\.0"),
    ],
)
def test_settings_that_leave_nothing_are_refused(config: type, settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        config(**settings)
