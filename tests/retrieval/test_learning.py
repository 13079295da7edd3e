"""Training through the real loop: it learns, it repeats itself bit by bit, it goes on after a kill as if nothing was."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.retrieval.retrieval_samples import (
    FULL,
    GROUPS,
    PER_GROUP,
    SMALL,
    USERS,
    Sample,
    encoder_of,
    item_name,
    new_model,
    recall,
    training_of,
    user_vectors,
)
from torch import Tensor

from lowerfunnel.evaluation.evaluation_set import EvaluationSet
from lowerfunnel.evaluation.floors import PopularityRetriever
from lowerfunnel.evaluation.queries import evaluation_set, known_at_test
from lowerfunnel.evaluation.towers import TowerRetriever
from lowerfunnel.events.schema import ACTIONS
from lowerfunnel.index.exact import ExactIndex
from lowerfunnel.retrieval.objective import TwoTowerTraining
from lowerfunnel.retrieval.settings import GroupLossConfig, NegativesConfig, RetrievalConfig
from lowerfunnel.retrieval.two_tower import TwoTower
from lowerfunnel.training.loop import TrainingResult, train
from lowerfunnel.training.settings import TrainingConfig

LEARNING = TrainingConfig(epochs=8, learning_rate=0.01, patience=10)
K = PER_GROUP + 1


def queries_of(sample: Sample, part: str) -> EvaluationSet:
    queries = evaluation_set(
        sample.corpus,
        sample.corpus.held_out(sample.labels, part),
        task="conversion",
        timelines=sample.corpus.known if part == "test" else sample.corpus.training,
        conversions=("checkout",),
        exclude_purchased=False,
        surfaces=["home", "search"],
        cold_at_most=0,
    )
    assert queries is not None
    return queries


def retriever_of(sample: Sample, model: TwoTower) -> TowerRetriever:
    corpus, encoder = sample.corpus, encoder_of(sample.corpus, model)
    return TowerRetriever(
        encoder,
        ExactIndex(encoder.items()),
        timelines=corpus.known,
        user_features=corpus.user_features,
        trained_U=corpus.trained_U,
    )


def trained(
    sample: Sample, checkpoints: Path, *, seed: int = 0, training: TrainingConfig = LEARNING
) -> tuple[TwoTower, TrainingResult]:
    validation = queries_of(sample, "validation")

    def validate(model: TwoTower) -> Mapping[str, float]:
        return {f"recall@{K}": recall(retriever_of(sample, model), validation, K)}

    model, trainable = training_of(sample.corpus, seed=seed, training=training, validate=validate)
    return model, train(trainable, training, checkpoints=checkpoints, headline=f"recall@{K}")


@pytest.fixture(scope="module")
def learned(tastes: Sample, tmp_path_factory: pytest.TempPathFactory) -> tuple[TwoTower, TrainingResult]:
    return trained(tastes, tmp_path_factory.mktemp("checkpoints"))


def weights_of(model: TwoTower) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_loss_decreases(learned: tuple[TwoTower, TrainingResult]) -> None:
    losses = [row["loss"] for row in learned[1].history]
    assert losses[-1] < losses[0] - 0.3
    assert all(np.isfinite(losses))


def test_recall_beats_popularity_and_an_untrained_model_clearly(
    tastes: Sample, learned: tuple[TwoTower, TrainingResult]
) -> None:
    corpus, queries = tastes.corpus, queries_of(tastes, "test")
    conversion_A = np.array([float(action == "checkout") for action in ACTIONS])
    popularity = PopularityRetriever(known_at_test(corpus), conversion_A, items=len(corpus.items))
    # Users stay in their group 19 times in 20, and a group fills a quarter of a list without tastes.
    ours = recall(retriever_of(tastes, learned[0]), queries, K)
    floor = recall(popularity, queries, K)
    assert ours > 0.75
    assert floor < 0.45
    untrained = recall(retriever_of(tastes, new_model(corpus)), queries, K)
    assert ours > untrained + 0.2
    assert ours > floor + 0.3


def test_what_is_learned_is_the_taste_of_each_user(tastes: Sample, learned: tuple[TwoTower, TrainingResult]) -> None:
    corpus = tastes.corpus
    encoder = encoder_of(corpus, learned[0])
    users = [tastes.user(number) for number in range(USERS)]
    score = user_vectors(corpus, encoder, users) @ encoder.items().T
    for number, row in enumerate(score):
        mean = [np.mean([row[tastes.item(item_name(group, n))] for n in range(PER_GROUP)]) for group in range(GROUPS)]
        assert np.argmax(mean) == number % GROUPS


def test_a_cold_item_lies_near_the_buyers_of_its_category(
    tastes: Sample, learned: tuple[TwoTower, TrainingResult]
) -> None:
    corpus = tastes.corpus
    encoder = encoder_of(corpus, learned[0])
    cold = [tastes.item(item_name(group, PER_GROUP)) for group in range(GROUPS)]
    assert (corpus.item_features.id_I[cold] == -1).all()
    score = user_vectors(corpus, encoder, [tastes.user(n) for n in range(USERS)]) @ encoder.items()[cold].T
    nearest = score.argmax(axis=1)
    assert np.mean(nearest == np.arange(USERS) % GROUPS) > 0.9


def test_a_newcomer_is_answered_by_its_history(tastes: Sample, learned: tuple[TwoTower, TrainingResult]) -> None:
    # Its only event before the last one is a view in group 0; it has no example to learn from.
    corpus = tastes.corpus
    newcomer = tastes.user(USERS)
    assert not corpus.trained_U[newcomer]
    encoder = encoder_of(corpus, learned[0])
    vector = user_vectors(corpus, encoder, [newcomer], t=int(corpus.known.t_E.max()))[0]
    best = corpus.items.ids.take(np.argsort(-(encoder.items() @ vector))[:5]).to_pylist()
    assert all(name.startswith("item0-") for name in best)


def test_every_vector_has_length_one_after_training(tastes: Sample, learned: tuple[TwoTower, TrainingResult]) -> None:
    np.testing.assert_allclose(np.linalg.norm(encoder_of(tastes.corpus, learned[0]).items(), axis=1), 1.0, atol=1e-6)


def test_what_is_never_sampled_is_never_trained(tastes: Sample, learned: tuple[TwoTower, TrainingResult]) -> None:
    before, after = new_model(tastes.corpus), learned[0]
    cold = tastes.item(item_name(2, PER_GROUP))
    newcomer = tastes.user(USERS)
    for name, row in (("item", cold), ("user", newcomer)):
        assert torch.equal(before.embedding_tables()[name].weight[row], after.embedding_tables()[name].weight[row])
        assert not torch.equal(before.embedding_tables()[name].weight[0], after.embedding_tables()[name].weight[0])


def test_the_same_seed_gives_bitwise_equal_weights_and_another_seed_others(
    tastes: Sample, learned: tuple[TwoTower, TrainingResult], tmp_path: Path
) -> None:
    again, result = trained(tastes, tmp_path / "again")
    assert equal(weights_of(again), weights_of(learned[0]))
    assert [row["loss"] for row in result.history] == [row["loss"] for row in learned[1].history]
    short = replace(LEARNING, epochs=1)
    other = [trained(tastes, tmp_path / str(seed), seed=seed, training=short)[0] for seed in (0, 1)]
    assert not equal(weights_of(other[0]), weights_of(other[1]))


class Killed(BaseException):
    """Stands for a process that ends between two steps."""


class Dying(TwoTowerTraining):
    """The same training, until it is killed."""

    die_at = (0, 0)

    def step(self, epoch: int, step: int, learning_rate_factor: float) -> Tensor:
        if (epoch, step) == self.die_at:
            raise Killed
        return super().step(epoch, step, learning_rate_factor)


def run_until(
    sample: Sample,
    folder: Path,
    config: RetrievalConfig,
    training: TrainingConfig,
    *,
    die_at: tuple[int, int] | None = None,
) -> tuple[TwoTower, TwoTowerTraining, TrainingResult]:
    """Train with checkpoints in `folder`, where a training that was killed goes on; be killed at `die_at`."""
    validation = queries_of(sample, "validation")
    model, plain = training_of(sample.corpus, config, seed=3, training=training)
    trainable = type("DyingHere", (Dying,), {"die_at": die_at or (-1, -1)})(
        model,
        plain._batches,
        config,
        training,
        device=torch.device("cpu"),
        seed=3,
        validate=lambda: {"recall": recall(retriever_of(sample, model), validation, K)},
    )
    return model, trainable, train(trainable, training, checkpoints=folder, headline="recall")


def assert_resumes_exactly(
    sample: Sample, folder: Path, config: RetrievalConfig, training: TrainingConfig, die_at: tuple[int, int]
) -> None:
    whole, whole_training, expected = run_until(sample, folder / "whole", config, training)
    with pytest.raises(Killed):
        run_until(sample, folder / "cut", config, training, die_at=die_at)
    resumed, resumed_training, result = run_until(sample, folder / "cut", config, training)
    assert equal(weights_of(resumed), weights_of(whole))
    assert equal(resumed_training.optimiser_state(), whole_training.optimiser_state())
    assert result.best_epoch == expected.best_epoch
    rows = [[(row["epoch"], row["loss"], row["recall"]) for row in r.history] for r in (result, expected)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("die_at", [(0, 2), (1, 0), (1, 3), (2, 1)])
@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_a_killed_training_goes_on_as_if_it_had_never_stopped(
    tastes: Sample, tmp_path: Path, die_at: tuple[int, int], schedule: str
) -> None:
    training = replace(LEARNING, epochs=3, schedule=schedule, checkpoint_every_s=1e-9)
    assert_resumes_exactly(tastes, tmp_path, SMALL, training, die_at)


STREAMING = NegativesConfig(uniform=8, estimate="streaming")
RESUMED = {
    "a streaming estimate": replace(SMALL, negatives=STREAMING),
    "the full model with its dropout": FULL,
    "two heads, learned temperatures": replace(
        FULL, objective=replace(FULL.objective, heads="multi", learn_temperature=True), negatives=STREAMING
    ),
    "an advertiser table": replace(SMALL, group_loss=GroupLossConfig(weight=1.0, form="table")),
}


@pytest.mark.parametrize("name", RESUMED)
@pytest.mark.parametrize("die_at", [(0, 3), (1, 2)])
def test_every_state_of_every_form_is_resumed(
    tastes: Sample, tmp_path: Path, name: str, die_at: tuple[int, int]
) -> None:
    training = replace(LEARNING, epochs=2, checkpoint_every_s=1e-9)
    assert_resumes_exactly(tastes, tmp_path, RESUMED[name], training, die_at)


def test_the_streaming_estimate_is_part_of_the_state(tastes: Sample) -> None:
    _, trainable = training_of(tastes.corpus, RESUMED["a streaming estimate"])
    before = {name: tensor.clone() for name, tensor in trainable.optimiser_state().items()}
    trainable.step(0, 0, 1.0)
    for name in ("streaming.last", "streaming.gap"):
        assert not torch.equal(trainable.optimiser_state()[name], before[name])


def test_a_log_without_order_is_learned_from_too(unordered: Sample, tmp_path: Path) -> None:
    model, result = trained(unordered, tmp_path, training=replace(LEARNING, epochs=4))
    queries = queries_of(unordered, "test")
    ours = recall(retriever_of(unordered, model), queries, K)
    assert ours > recall(retriever_of(unordered, new_model(unordered.corpus)), queries, K)
    assert result.history[-1]["loss"] < result.history[0]["loss"]


@pytest.mark.parametrize(
    "config",
    {
        "without history": replace(SMALL, history=replace(SMALL.history, length=0)),
        "without ids": replace(SMALL, tower=replace(SMALL.tower, user_id=False, item_id=False)),
        "full": FULL,
        "two heads": replace(FULL, objective=replace(FULL.objective, heads="multi")),
        "a learned temperature": replace(SMALL, objective=replace(SMALL.objective, learn_temperature=True)),
        "a streaming estimate": replace(SMALL, negatives=replace(SMALL.negatives, estimate="streaming")),
        "an advertiser table": replace(SMALL, group_loss=GroupLossConfig(weight=1.0, form="table")),
        "the mean of an advertiser's items": replace(FULL, group_loss=GroupLossConfig(weight=1.0, form="mean")),
        "pooled advertisers": replace(FULL, group_loss=GroupLossConfig(weight=1.0, form="pooled")),
    }.items(),
    ids=lambda named: named[0],
)
def test_every_form_of_the_model_learns(tastes: Sample, config: tuple[str, RetrievalConfig]) -> None:
    model, trainable = training_of(tastes.corpus, config[1])
    steps = trainable.steps_per_epoch
    losses = [np.mean([float(trainable.step(epoch, s, 1.0)) for s in range(steps)]) for epoch in range(3)]
    assert losses[-1] < losses[0] - 0.1
    assert np.isfinite(user_vectors(tastes.corpus, encoder_of(tastes.corpus, model), [0, -1])).all()
