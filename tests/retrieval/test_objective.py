"""The whole step: what each task, each advertiser and each request has a say in, and what has none."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.retrieval.retrieval_samples import FULL, SMALL, Sample, encoder_of, new_model, training_of, user_vectors
from tests.retrieval.test_two_tower import stirred
from torch import Tensor

from lowerfunnel.errors import TrainingError
from lowerfunnel.retrieval.corpus import Corpus
from lowerfunnel.retrieval.inputs import TrainingBatch
from lowerfunnel.retrieval.objective import TwoTowerTraining
from lowerfunnel.retrieval.settings import (
    ContextConfig,
    GroupLossConfig,
    NegativesConfig,
    RetrievalConfig,
)
from lowerfunnel.retrieval.two_tower import SERVED

ALL = replace(
    FULL,
    context=ContextConfig(subject=True, query=True),
    negatives=NegativesConfig(uniform=8, hard=6, request=2, spared_actions=("checkout",)),
    group_loss=GroupLossConfig(weight=0.5),
    objective=replace(FULL.objective, batch_size=48, whole_requests=True, learn_temperature=True),
)
"""Everything that a log of served ads has."""
MULTI = replace(ALL, objective=replace(ALL.objective, heads="multi"))
FORMS = pytest.mark.parametrize("form", ["table", "mean", "pooled"])


def vectors_of(corpus: Corpus, trainable: TwoTowerTraining) -> list[np.ndarray]:
    encoder = encoder_of(corpus, trainable._model)
    return [encoder.items(), user_vectors(corpus, encoder, [-1, *range(len(corpus.users))])]


def of_tasks(corpus: Corpus, task: int) -> Corpus:
    return replace(corpus, examples=corpus.examples.take(np.flatnonzero(corpus.examples.task_X == task)))


def choosing(trainable: TwoTowerTraining, index: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> TwoTowerTraining:
    """Make every batch hold these examples, in this order."""
    monkeypatch.setattr(trainable._batches, "example_index", lambda _epoch, _step: index)
    return trainable


@pytest.mark.parametrize("config", [FULL, ALL, replace(ALL, negatives=NegativesConfig(estimate="streaming"))])
def test_the_order_of_the_examples_within_a_batch_changes_nothing(
    served: Sample, monkeypatch: pytest.MonkeyPatch, config: RetrievalConfig
) -> None:
    index = np.random.default_rng(0).permutation(len(served.corpus.examples))[:48]
    found = []
    for order in (index, index[::-1], np.roll(index, 17)):
        _, trainable = training_of(served.corpus, config)
        loss = float(choosing(trainable, order, monkeypatch).step(0, 0, 1.0))
        found.append((loss, *vectors_of(served.corpus, trainable)))
    for loss, items, users in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        np.testing.assert_allclose(items, found[0][1], atol=2e-3)
        np.testing.assert_allclose(users, found[0][2], atol=2e-3)


def test_in_two_heads_each_task_counts_by_its_weight_and_in_one_only_their_ratio_does(served: Sample) -> None:
    def loss(heads: str, conversion: float, engagement: float) -> float:
        objective = replace(
            ALL.objective, heads=heads, task_weights={"conversion": conversion, "engagement": engagement}
        )
        return float(training_of(served.corpus, replace(ALL, objective=objective))[1].step(0, 0, 1.0))

    one = loss("multi", 1.0, 1.0)
    of_conversions, of_engagement = loss("multi", 2.0, 1.0) - one, loss("multi", 1.0, 2.0) - one
    assert of_conversions > 0.1
    assert of_engagement > 0.1
    assert one == pytest.approx(of_conversions + of_engagement, rel=1e-5)
    assert loss("multi", 3.0, 0.5) == pytest.approx(3.0 * of_conversions + 0.5 * of_engagement, rel=1e-5)
    assert loss("unified", 2.0, 6.0) == pytest.approx(loss("unified", 0.5, 1.5), rel=1e-6)
    assert loss("unified", 2.0, 6.0) != pytest.approx(loss("unified", 1.0, 1.0), rel=1e-4)


def test_in_two_heads_the_weights_of_one_task_do_not_reach_the_other(served: Sample) -> None:
    examples = served.corpus.examples
    uneven_X = np.where(examples.task_X == 1, 1.0 + np.arange(len(examples)) % 7, examples.weight_X).astype(np.float32)
    uneven = replace(served.corpus, examples=replace(examples, weight_X=uneven_X))

    def loss(corpus: Corpus, conversion: float) -> float:
        objective = replace(MULTI.objective, task_weights={"conversion": conversion, "engagement": 1.0})
        return float(training_of(corpus, replace(MULTI, objective=objective))[1].step(0, 0, 1.0))

    of_conversions = [loss(corpus, 2.0) - loss(corpus, 1.0) for corpus in (served.corpus, uneven)]
    assert of_conversions[0] == pytest.approx(of_conversions[1], rel=1e-5)
    assert loss(served.corpus, 1.0) != pytest.approx(loss(uneven, 1.0), rel=1e-4)


def test_a_batch_without_a_conversion_teaches_the_engagement_head_alone(
    served: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    engaged = np.flatnonzero(served.corpus.examples.task_X == 1)[:48]
    found = {}
    for weight in (1.0, 5.0):
        objective = replace(MULTI.objective, task_weights={"conversion": weight, "engagement": 1.0})
        _, trainable = training_of(served.corpus, replace(MULTI, objective=objective))
        choosing(trainable, engaged, monkeypatch)
        before = {name: tensor.clone() for name, tensor in trainable.weights().items()}
        found[weight] = float(trainable.step(0, 0, 1.0))
        after = trainable.weights()
        assert all(bool(tensor.isfinite().all()) for tensor in after.values())
        changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
        heads = {name.split(".")[2] for name in changed if ".heads." in name}
        assert heads == {"engagement"}
        assert "log_scale.engagement" in changed
        assert "log_scale.conversion" not in changed
        assert "item_parts.tables.item.weight" in changed
    assert np.isfinite(found[1.0])
    assert found[1.0] == found[5.0]


def test_a_batch_without_an_engagement_teaches_the_conversion_head_alone(
    served: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    bought = np.flatnonzero(served.corpus.examples.task_X == 0)[:48]
    _, trainable = training_of(served.corpus, MULTI)
    before = {name: tensor.clone() for name, tensor in trainable.weights().items()}
    assert np.isfinite(float(choosing(trainable, bought, monkeypatch).step(0, 0, 1.0)))
    heads = {
        n.split(".")[2] for n, t in trainable.weights().items() if ".heads." in n and not torch.equal(t, before[n])
    }
    assert heads == {"conversion"}


@pytest.mark.parametrize(("task", "name"), [(1, "conversion"), (0, "engagement")])
def test_two_heads_need_examples_of_both_tasks_and_one_head_does_not(served: Sample, task: int, name: str) -> None:
    corpus = of_tasks(served.corpus, task)
    sentence = (
        f'retrieval.objective.heads is "multi", and training has no {name} to teach its head with; set it to "unified"'
    )
    with pytest.raises(TrainingError, match=sentence):
        training_of(corpus, MULTI)
    _, trainable = training_of(corpus, ALL)
    assert np.isfinite(float(trainable.step(0, 0, 1.0)))


def test_two_heads_do_without_a_task_of_weight_zero(served: Sample) -> None:
    objective = replace(MULTI.objective, task_weights={"conversion": 1.0})
    _, trainable = training_of(of_tasks(served.corpus, 0), replace(MULTI, objective=objective))
    assert np.isfinite(float(trainable.step(0, 0, 1.0)))


@FORMS
@pytest.mark.parametrize("base", [SMALL, ALL], ids=["small", "all"])
def test_with_one_advertiser_the_advertiser_loss_is_exactly_nothing(
    served: Sample, form: str, base: RetrievalConfig
) -> None:
    features = served.corpus.item_features
    corpus = replace(served.corpus, item_features=replace(features, advertiser_I=np.ones_like(features.advertiser_I)))
    found = []
    for weight in (0.0, 3.0):
        config = replace(base, group_loss=GroupLossConfig(weight=weight, form=form))
        _, trainable = training_of(corpus, config)
        losses = [float(trainable.step(0, step, 1.0)) for step in range(2)]
        found.append((losses, *vectors_of(corpus, trainable)))
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])
    np.testing.assert_array_equal(found[0][2], found[1][2])


class Opened:
    """One batch of a training, with the vectors of its requests and candidates as leaves."""

    def __init__(self, corpus: Corpus, config: RetrievalConfig) -> None:
        model, self.training = training_of(corpus, config)
        # A table may be gathered once in a training step, and is gathered anew for every loss here.
        stirred(model).eval()
        self.batch = self.training._batches.batch(0, 0)
        generator = torch.Generator().manual_seed(0)
        shape = config.tower.vector_width
        self.query_RE = torch.randn(len(self.batch.user_R), shape, generator=generator).requires_grad_()
        self.candidate_CE = torch.randn(len(self.batch.item_C), shape, generator=generator).requires_grad_()

    def item_losses(self, batch: TrainingBatch | None = None) -> Tensor:
        chosen = self.batch if batch is None else batch
        return self.training._item_loss(chosen, self.query_RE, self.candidate_CE, chosen.log_q_C)

    def group_loss(self, weight_B: Tensor) -> Tensor:
        return self.training._group_loss(self.batch, self.query_RE, self.candidate_CE, self.batch.log_q_C, weight_B)


@FORMS
def test_examples_without_an_advertiser_contribute_nothing_to_its_loss(served: Sample, form: str) -> None:
    opened = Opened(served.corpus, replace(ALL, group_loss=GroupLossConfig(weight=1.0, form=form)))
    batch = opened.batch
    examples = len(batch.row_B)
    unknown_B = batch.group_C[:examples] < 0
    assert 0 < int(unknown_B.sum()) < examples
    loss = opened.group_loss(batch.weight_B)
    weighed = opened.group_loss(torch.where(unknown_B, batch.weight_B * 100, batch.weight_B))
    assert loss.item() == weighed.item()
    loss.backward()
    assert opened.query_RE.grad is not None
    with_known = torch.zeros(len(batch.user_R), dtype=torch.bool)
    with_known[batch.row_B[~unknown_B]] = True
    assert not opened.query_RE.grad[~with_known].any()
    assert bool(opened.query_RE.grad[with_known].any(dim=1).all())
    # With nobody's advertiser known there is nothing to learn, and no division by zero.
    assert opened.group_loss(batch.weight_B * unknown_B).item() == 0.0


@pytest.mark.parametrize("form", ["table", "mean"])
def test_the_advertiser_loss_is_that_of_its_formula_in_float64(served: Sample, form: str) -> None:
    """Each user against the groups of the batch, each once, without those of its own other requests."""
    opened = Opened(served.corpus, replace(ALL, group_loss=GroupLossConfig(weight=1.0, form=form)))
    batch, width = opened.batch, ALL.tower.width
    query = opened.query_RE.detach().double().numpy()[:, :width]
    vector = opened.candidate_CE.detach().double().numpy()[:, :width]
    group, row = batch.group_C.numpy()[: batch.shared], batch.row_B.numpy()
    user = batch.user_R.numpy()[row]
    log_q = opened.training._group_log_q_G.double().numpy()
    table = opened.training._model.group
    vector_of = {}
    for g in sorted(set(group.tolist()) - {-1}):
        raw = vector[: batch.shared][group == g].mean(axis=0) if table is None else table.weight[g].double().numpy()
        vector_of[g] = raw / np.linalg.norm(raw)
    losses, weights = [], []
    for example in range(len(row)):
        own = group[example]
        if own < 0:
            continue
        score = {g: float(query[row[example]] @ v) - log_q[g] for g, v in vector_of.items()}
        positives = set(group[: len(row)][user == user[example]].tolist())
        others = [value for g, value in score.items() if g not in positives]
        losses.append(np.logaddexp.reduce([score[own], *others]) - score[own])
        weights.append(float(batch.weight_B[example]))
    assert opened.group_loss(batch.weight_B).item() == pytest.approx(np.average(losses, weights=weights), rel=1e-5)


def test_the_chance_of_a_group_by_hand(served: Sample) -> None:
    config = replace(ALL, negatives=NegativesConfig(uniform=3, hard=2))
    _, trainable = training_of(served.corpus, config)
    data, batches = trainable._batches.data, trainable._batches
    for group, log_q in enumerate(trainable._group_log_q_G.tolist()):
        members = np.flatnonzero(data.group_I == group)
        examples = np.isin(batches.examples.item_X, members).mean()
        ads = np.isin(data.ignored.item_T, members).mean()
        draws = 48 * examples + 3 * len(members) / len(data.group_I) + 2 * ads
        assert log_q == pytest.approx(np.log(1 - np.exp(-draws)), rel=1e-4)


def test_a_group_is_expected_in_a_batch_as_often_as_it_is_found_there(served: Sample) -> None:
    config = replace(ALL, group_loss=GroupLossConfig(weight=1.0), objective=replace(ALL.objective, batch_size=4))
    config = replace(config, negatives=NegativesConfig(uniform=1, hard=1))
    _, trainable = training_of(served.corpus, config)
    source = trainable._batches
    chance_G = trainable._group_log_q_G.exp().numpy()
    found_G, batches = np.zeros(len(chance_G)), 0
    for epoch in range(12):
        for step in range(source.steps_per_epoch):
            batch = source.batch(epoch, step)
            group_N = batch.group_C[: batch.shared].numpy()
            found_G[np.unique(group_N[group_N >= 0])] += 1
            batches += 1
    # Batches are drawn without replacement and whole requests together, so it is "about".
    assert (found_G / batches).tolist() == pytest.approx(chance_G.tolist(), abs=0.12)


@pytest.mark.parametrize("proposal", ["mixture", "source"])
def test_a_streaming_estimate_stands_in_for_the_counted_draws_of_positives(served: Sample, proposal: str) -> None:
    negatives = NegativesConfig(uniform=8, hard=6, request=2, proposal=proposal, estimate="streaming")
    _, trainable = training_of(served.corpus, replace(ALL, negatives=negatives))
    step = trainable.steps_per_epoch + 1
    batch = trainable._batches.batch(1, 0)
    found = trainable._log_q(batch, step).exp().numpy()
    state, proposals = trainable.optimiser_state(), trainable._batches.proposals
    item_C, positives = batch.item_C.numpy(), len(batch.row_B)
    streamed_C = 1.0 / state["streaming.gap"].numpy()[item_C]
    assert set(state["streaming.last"].numpy()[item_C[:positives]].tolist()) == {step}
    if proposal == "mixture":
        expected = streamed_C + 8 / len(served.corpus.items) + proposals.hard_I[item_C] + proposals.request_I[item_C]
    else:
        expected = np.concatenate([streamed_C[:positives], np.exp(batch.log_q_C.numpy()[positives:])])
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_steps_of_a_stream_go_on_from_epoch_to_epoch(served: Sample) -> None:
    _, trainable = training_of(served.corpus, replace(ALL, negatives=NegativesConfig(estimate="streaming")))
    for epoch, step in ((0, 0), (0, 1), (1, 0)):
        trainable.step(epoch, step, 1.0)
    assert trainable.optimiser_state()["streaming.last"].max().item() == trainable.steps_per_epoch + 1


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_hard_negatives_of_one_request_never_touch_another(served: Sample, data: st.DataObject) -> None:
    opened = Opened(served.corpus, ALL)
    batch = opened.batch
    loss_B = opened.item_losses()
    row = data.draw(st.integers(0, len(batch.user_R) - 1))
    (gradient,) = torch.autograd.grad(loss_B[batch.row_B == row].sum(), opened.candidate_CE)
    touched = torch.nonzero(gradient[batch.shared :].any(dim=1)).flatten().tolist()
    start, stop = batch.own_offsets_R1[row : row + 2].tolist()
    assert set(touched) <= set(range(start, stop))
    # What another request ignored may be gone altogether: nothing changes here.
    others = [place for place in range(len(batch.item_C) - batch.shared) if not start <= place < stop]
    moved = opened.candidate_CE.detach().clone()
    moved[batch.shared + torch.tensor(others, dtype=torch.int64)] += 10.0
    changed = opened.training._item_loss(batch, opened.query_RE, moved, batch.log_q_C)
    assert torch.equal(changed[batch.row_B == row], loss_B[batch.row_B == row])


def test_each_request_with_ignored_ads_is_taught_by_them(served: Sample) -> None:
    opened = Opened(served.corpus, replace(ALL, negatives=replace(ALL.negatives, spared_actions=())))
    batch = opened.batch
    (gradient,) = torch.autograd.grad(opened.item_losses().sum(), opened.candidate_CE)
    taught = gradient[batch.shared :].any(dim=1).float().mean().item()
    # All but those that are a positive of the same user in this batch.
    assert taught > 0.7
    assert len(batch.own_place_N) > len(batch.user_R) / 2


def test_dropout_is_drawn_anew_in_every_step_and_alike_whenever_it_is_repeated(
    served: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(
        FULL, context=ContextConfig(dropout=0.0), negatives=NegativesConfig(),
        objective=replace(FULL.objective, id_dropout=0.0),
    )  # fmt: skip
    losses = {}
    for seed in (0, 1):
        model, trainable = training_of(served.corpus, config, seed=seed)
        stirred(model)
        # Weights and batch are the same in every step: a learning rate of nothing, and all examples in order.
        choosing(trainable, np.arange(48), monkeypatch)
        losses |= {(seed, *at): float(trainable.step(*at, 0.0)) for at in ((0, 0), (0, 1), (1, 0))}
        assert float(trainable.step(0, 0, 0.0)) == losses[(seed, 0, 0)]
    assert len(set(losses.values())) == 6


PARTS: dict[str, Callable[[RetrievalConfig], RetrievalConfig]] = {
    "one head": lambda config: config,
    "two heads": lambda config: replace(config, objective=replace(config.objective, heads="multi")),
}


@pytest.mark.parametrize("heads", PARTS)
@pytest.mark.parametrize("branch", ["cross", "mlp"])
def test_side_by_side_with_one_branch_silenced_equals_the_other_branch(tastes: Sample, heads: str, branch: str) -> None:
    config = PARTS[heads](FULL)
    model = stirred(new_model(tastes.corpus, config))
    alone = new_model(tastes.corpus, replace(config, tower=replace(config.tower, arrangement=branch)))
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for side in (model.item_body, model.user_body):
            crossed = side.body.width - config.tower.hidden[-1]
            for head in side.heads.values():
                silenced = slice(crossed, None) if branch == "cross" else slice(0, crossed)
                head.layers[-1].weight[:, silenced] = 0.0
        for name, parameter in alone.named_parameters():
            value = weights[name]
            if value.shape != parameter.shape:
                width = parameter.shape[1]
                value = value[:, :width] if branch == "cross" else value[:, -width:]
            parameter.copy_(value)
    corpus, users = tastes.corpus, list(range(len(tastes.corpus.users)))
    one, other = encoder_of(corpus, model), encoder_of(corpus, alone)
    np.testing.assert_allclose(one.items(), other.items(), atol=1e-5)
    np.testing.assert_allclose(user_vectors(corpus, one, users), user_vectors(corpus, other, users), atol=1e-5)


def test_the_advertiser_loss_is_of_the_served_head(served: Sample) -> None:
    config = replace(MULTI, group_loss=GroupLossConfig(weight=1.0))
    plain = replace(MULTI, group_loss=GroupLossConfig(weight=0.0))
    grown = []
    for one in (config, plain):
        _, trainable = training_of(served.corpus, one)
        trainable.step(0, 0, 1.0)
        grown.append({name: tensor.clone() for name, tensor in trainable.weights().items()})
    name = "user_body.heads.engagement.layers.0.weight"
    served_name = name.replace("engagement", SERVED)
    assert torch.equal(grown[0][name], grown[1][name])
    assert not torch.equal(grown[0][served_name], grown[1][served_name])
