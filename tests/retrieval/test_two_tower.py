"""The towers against a slow float64 reading of their docstring, and what they make of those nobody knows."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.retrieval.retrieval_samples import (
    PER_GROUP,
    USERS,
    Sample,
    encoder_of,
    item_name,
    new_model,
    plain_items,
    plain_users,
    user_vectors,
)

from lowerfunnel.events.timeline import Timelines
from lowerfunnel.features.activity import activity_counts
from lowerfunnel.features.history import gather_histories
from lowerfunnel.retrieval.encoder import Encoder
from lowerfunnel.retrieval.settings import HistoryConfig, ObjectiveConfig, RetrievalConfig, TowerConfig
from lowerfunnel.retrieval.sizes import TableSizes
from lowerfunnel.retrieval.training_data import item_counters
from lowerfunnel.retrieval.two_tower import TwoTower

NARROW = {"width": 12, "hidden": (10, 8, 6), "cross_rank": 5, "cross_experts": 2, "init_std": 0.1}
_HISTORY = ("anyone", "history_gate", "action_weight", "age_weight", "surface_weight")
POOLED = HistoryConfig(encoder="pooling")


def tower_of(
    *, history: HistoryConfig = POOLED, objective: ObjectiveConfig | None = None, **tower: object
) -> RetrievalConfig:
    return RetrievalConfig(
        tower=TowerConfig(**{**NARROW, **tower}), history=history, objective=objective or ObjectiveConfig()
    )


TOWERS = {
    "sum": tower_of(arrangement="none"),
    "without ids": tower_of(arrangement="none", user_id=False, item_id=False),
    "popularity": tower_of(arrangement="none", popularity=True),
    "short history": tower_of(arrangement="none", history=HistoryConfig(encoder="pooling", length=2)),
    "parallel": tower_of(),
    "stacked": tower_of(arrangement="stacked", cross_kind="full"),
    "mlp, published": tower_of(arrangement="mlp", residual=False, head_hidden=(7,)),
    "cross": tower_of(arrangement="cross", cross_kind="mixture"),
    "two heads": tower_of(objective=ObjectiveConfig(heads="multi")),
    "two heads of a sum": tower_of(arrangement="none", objective=ObjectiveConfig(heads="multi")),
    "counters and activity": tower_of(counters=True, activity=True),
    "transformer": tower_of(history=HistoryConfig(feedforward=9, length=20)),
    "causal": tower_of(arrangement="none", history=HistoryConfig(feedforward=9, causal=True, heads=3)),
}


def stirred(model: TwoTower, seed: int = 1) -> TwoTower:
    """Give every parameter a value of its own, also those that begin at zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
    return model


class Reference:
    """The formula of `TwoTower`, one item and one user at a time, in float64.

    Bodies, heads and the Transformer are the model's own layers in float64, which have references of their own; what goes
    into them and what is made of it is written out.
    """

    def __init__(self, model: TwoTower, sample: Sample, config: RetrievalConfig) -> None:
        self.model = copy.deepcopy(model).double().eval()
        self.parts = {name: p.detach().numpy() for name, p in self.model.named_parameters()}
        self.corpus, self.config = sample.corpus, config
        self.counters_IF = item_counters(sample.corpus, config, testing=True)

    def table(self, side: str, name: str) -> np.ndarray:
        return self.parts[f"{side}_parts.tables.{name}.weight"]

    def linear(self, side: str, name: str) -> np.ndarray:
        return self.parts[f"{side}_parts.linears.{name}"]

    def mean(self, side: str, name: str, offsets: np.ndarray, tokens: np.ndarray, owner: int) -> np.ndarray:
        own = tokens[slice(*offsets[owner : owner + 2])] if owner >= 0 else []
        table = self.table(side, name)
        return table[own].mean(axis=0) if len(own) else np.zeros(table.shape[1])

    def item_parts(self, item: int) -> list[np.ndarray]:
        features = self.corpus.item_features
        own = self.parts["item_parts.anything"].copy()
        if self.config.tower.item_id and features.id_I[item] >= 0:
            own += self.table("item", "item")[features.id_I[item]]
        bucket = self.table("item", "price_bucket")[features.price_bucket_I[item]]
        return [
            own,
            self.table("item", "advertiser")[features.advertiser_I[item]],
            self.table("item", "category")[features.category_I[item]],
            self.mean("item", "item_attribute", features.attribute_offsets_I1, features.attribute_T, item),
            self.mean("item", "category_path", features.path_offsets_I1, features.path_T, item),
            features.price_I3[item] @ self.linear("item", "price") + bucket,
            features.content_IC[item] @ self.linear("item", "content"),
            features.visual_IV[item] @ self.linear("item", "visual"),
        ]

    def vector(self, side: str, parts: list[np.ndarray]) -> np.ndarray:
        """Return the served head's vector: conversions where there are two."""
        tower = self.model.get_submodule(f"{side}_body")
        total, all_parts = np.sum(parts, axis=0), torch.from_numpy(np.concatenate(parts)[None])
        body = total if tower.body is None else tower.body(all_parts)[0].detach().numpy()
        if "conversion" in tower.heads:
            head = tower.heads["conversion"](torch.from_numpy(body)[None])[0].detach().numpy()
            total = total + head if self.config.tower.residual else head
        return total / np.linalg.norm(total)

    def item(self, item: int) -> np.ndarray:
        parts = self.item_parts(item)
        if self.config.tower.counters:
            parts.append(self.counters_IF[item] @ self.linear("item", "counters"))
        share = [self.corpus.item_features.log_share_I[item]] if self.config.tower.popularity else []
        return np.append(self.vector("item", parts), share)

    def history(self, user: int, t: int) -> list[np.ndarray]:
        own = {name: self.parts[f"user_parts.{name}"] for name in _HISTORY}
        codes = self.config.history.codes
        found = gather_histories(
            self.corpus.known.of_actions(codes), np.array([user], np.int32), np.array([t]),
            max_length=self.config.history.length,
        )  # fmt: skip
        weight = np.array([
            np.exp(own["action_weight"][action] + own["age_weight"][age] + own["surface_weight"][surface])
            for action, age, surface in zip(found.action_N, found.age_N, found.surface_N, strict=True)
        ])  # fmt: skip
        inputs = [np.sum(self.item_parts(item), axis=0) for item in found.item_N]
        entries = np.array(inputs).reshape(len(weight), self.config.tower.width)
        reader = self.model.user_parts.reader
        if reader is not None and len(weight):
            parts = self.parts
            for name, code_N in (("action", found.action_N), ("age", found.age_N), ("surface", found.surface_N)):
                entries = entries + parts[f"user_parts.reader.{name}"][code_N]
            back_N = len(weight) - 1 - np.arange(len(weight))
            entries = entries + parts["user_parts.reader.back"][back_N]
            known_N = ~np.isnan(found.dwell_N)
            dwell_N2 = np.stack([np.log1p(np.nan_to_num(found.dwell_N)), known_N], axis=1)
            entries = entries + dwell_N2.astype(np.float64) @ parts["user_parts.reader.dwell"]
            offsets = torch.tensor([0, len(weight)])
            entries = reader.encoder(torch.from_numpy(entries), offsets).detach().numpy()
        pooled = weight @ entries / weight.sum() if len(weight) else np.zeros(self.config.tower.width)
        history = [pooled * own["history_gate"] + own["anyone"]]
        if reader is not None:
            latest = entries[-1] if len(weight) else np.zeros(self.config.tower.width)
            history.append(latest * self.parts["user_parts.latest_gate"])
        return history

    def user(self, user: int, t: int, surface: int) -> np.ndarray:
        corpus, width = self.corpus, self.config.tower.width
        parts = self.history(user, t)
        if self.config.tower.user_id:
            known = user >= 0 and corpus.trained_U[user]
            parts.append(self.table("user", "user")[user] if known else np.zeros(width))
        features = corpus.user_features
        parts.append(self.mean("user", "user_attribute", features.attribute_offsets_U1, features.attribute_T, user))
        if self.config.tower.activity:
            counts_BF = activity_counts(corpus.known, np.array([user], np.int32), np.array([t]))
            parts.append(counts_BF[0].astype(np.float64) @ self.linear("user", "activity"))
        parts.append(self.table("user", "surface")[surface])
        weight = [self.parts["popularity_weight"]] if self.config.tower.popularity else []
        return np.append(self.vector("user", parts), weight)


@pytest.mark.parametrize("name", TOWERS)
def test_vectors_are_those_of_the_formula_in_float64(tastes: Sample, name: str) -> None:
    config = TOWERS[name]
    model = stirred(new_model(tastes.corpus, config))
    encoder, reference = encoder_of(tastes.corpus, model), Reference(model, tastes, config)
    expected = np.stack([reference.item(item) for item in range(len(tastes.corpus.items))])
    np.testing.assert_allclose(encoder.items(), expected, atol=1e-5)
    users = [-1, *range(0, USERS + 1, 5), USERS]
    last = int(tastes.corpus.known.t_E.max())
    for surface, t in ((0, last + 1), (2, last - 10**12)):
        expected = np.stack([reference.user(user, t, surface) for user in users])
        found = user_vectors(tastes.corpus, encoder, users, t=t, surface=surface)
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", TOWERS)
def test_a_fresh_model_is_the_sum_of_its_parts_unless_told_otherwise(tastes: Sample, name: str) -> None:
    """The layers start from nothing; only "published", without the sum, starts at random."""
    config = TOWERS[name]
    plain = replace(
        config,
        tower=replace(config.tower, arrangement="none", residual=True),
        history=replace(config.history, encoder="pooling"),
        objective=replace(config.objective, heads="unified"),
    )
    model, summed = new_model(tastes.corpus, config), new_model(tastes.corpus, plain)
    same = dict(model.named_parameters())
    with torch.no_grad():
        for key, parameter in summed.named_parameters():
            parameter.copy_(same[key])
    users = list(range(USERS))
    found = [
        (encoder.items(), user_vectors(tastes.corpus, encoder, users))
        for encoder in (encoder_of(tastes.corpus, model), encoder_of(tastes.corpus, summed))
    ]
    alike = [np.abs(one - other).max() < 1e-5 for one, other in zip(*found, strict=True)]
    assert alike == [config.tower.residual] * 2


@pytest.mark.parametrize("name", TOWERS)
def test_every_vector_is_of_length_one_but_for_its_popularity(tastes: Sample, name: str) -> None:
    corpus, config = tastes.corpus, TOWERS[name]
    for model in (new_model(corpus, config), stirred(new_model(corpus, config))):
        encoder = encoder_of(corpus, model)
        item_length = np.linalg.norm(encoder.items()[:, :12], axis=1)
        if not config.tower.residual and not model.item_parts.anything.any():
            # A fresh MLP may have nothing to say of an item: its rectifiers are all off.
            item_length = item_length[item_length > 0]
            assert len(item_length) > len(corpus.items) / 2
        elif not model.item_parts.anything.any():
            # An item of which nothing is known has no direction until the model has learned one.
            assert item_length[tastes.item("late")] == 0.0
            item_length = np.delete(item_length, tastes.item("late"))
        np.testing.assert_allclose(item_length, 1.0, atol=1e-6)
        users = user_vectors(corpus, encoder, [-1, *range(USERS + 1)])
        np.testing.assert_allclose(np.linalg.norm(users[:, :12], axis=1), 1.0, atol=1e-6)
        assert encoder.items().shape[1] == users.shape[1] == config.tower.vector_width == 12 + config.tower.popularity


def test_of_two_items_that_fit_alike_the_more_popular_one_scores_higher(tastes: Sample) -> None:
    corpus, config = tastes.corpus, tower_of(arrangement="none", popularity=True)
    alike = plain_items(2, known=0, log_share_I=np.log(np.array([0.2, 0.8], np.float32)))
    model = TwoTower(config, TableSizes(users=1, items=2), generator=torch.Generator().manual_seed(0))
    encoder = Encoder(model, alike, np.zeros((2, 0), np.float32))
    nobody = np.array([-1], np.int32)
    user_BD = encoder.users(
        nobody, np.array([0]), timelines=corpus.known, features=plain_users(1),
        trained_U=np.zeros(1, np.bool_),
    )  # fmt: skip
    score_I = (encoder.items() @ user_BD.T)[:, 0]
    weight = model.popularity_weight
    assert weight is not None
    assert score_I[1] - score_I[0] == pytest.approx(weight.item() * np.log(4), rel=1e-5)


def test_a_temperature_is_learned_from_the_setting_and_never_below_a_hundredth(tastes: Sample) -> None:
    fixed = tower_of(objective=ObjectiveConfig(temperature=0.2, heads="multi"))
    assert new_model(tastes.corpus, fixed).inverse_temperature("conversion") == 5.0
    learned = tower_of(objective=ObjectiveConfig(temperature=0.2, heads="multi", learn_temperature=True))
    model = new_model(tastes.corpus, learned)
    with torch.no_grad():
        for task, scale, expected in (("conversion", 50.0, 100.0), ("engagement", -3.0, np.exp(-3.0))):
            first = model.inverse_temperature(task)
            assert float(first) == pytest.approx(5.0)
            model.log_scale[task].fill_(scale)
            assert float(model.inverse_temperature(task)) == pytest.approx(expected)


def test_the_same_seed_gives_the_same_model_and_another_another(tastes: Sample) -> None:
    first, again, other = (new_model(tastes.corpus, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["item_parts.tables.item.weight"], other["item_parts.tables.item.weight"])


def test_the_model_draws_from_its_own_generator_alone(tastes: Sample) -> None:
    before = torch.get_rng_state()
    new_model(tastes.corpus, TOWERS["transformer"])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_feature_that_the_log_does_not_have_gets_no_table() -> None:
    config = RetrievalConfig(tower=TowerConfig(width=4))
    model = TwoTower(config, TableSizes(users=3, items=4), generator=torch.Generator().manual_seed(0))
    assert sorted(model.embedding_tables()) == ["item", "user"]
    assert not model.item_parts.linears
    assert model.user_parts.reader is not None
    assert model.user_parts.reader.surface is None
    encoder = Encoder(model, plain_items(4), np.zeros((4, 0), np.float32))
    assert encoder.items().shape == (4, 4)
    timelines = Timelines(
        offsets_U1=np.zeros(4, np.int64), t_E=np.zeros(0, np.int64), item_E=np.zeros(0, np.int32),
        action_E=np.zeros(0, np.int8), order="none",
    )  # fmt: skip
    found = encoder.users(
        np.array([-1, 0], np.int32), np.zeros(2, np.int64), timelines=timelines,
        features=plain_users(3), trained_U=np.ones(3, np.bool_),
    )  # fmt: skip
    assert np.isfinite(found).all()
    assert not np.allclose(found[0], found[1])


def test_the_unknown_value_of_a_feature_says_nothing_at_first(tastes: Sample) -> None:
    model = new_model(tastes.corpus)
    for name in ("advertiser", "category", "price_bucket", "surface"):
        weight = model.embedding_tables()[name].weight
        assert not weight[0].any()
        assert weight[1:].any()


def unknown_items(tastes: Sample) -> np.ndarray:
    """Encode six items that never trained: two alike, one of another category, shop, price, and one of nothing."""
    vocabularies = tastes.corpus.vocabularies
    items = plain_items(
        6,
        known=0,
        category_I=np.array([1, 1, 2, 1, 1, 0], np.int32),
        advertiser_I=np.array([1, 1, 1, 2, 1, 0], np.int32),
        price_I3=np.array([[0, 0, 1]] * 4 + [[1.5, 0, 1], [0, 0, 0]], np.float32),
        content_IC=np.zeros((6, 3), np.float32),
        visual_IV=np.zeros((6, 2), np.float32),
    )
    assert len(vocabularies.category) == 4
    return Encoder(stirred(new_model(tastes.corpus)), items, np.zeros((6, 0), np.float32)).items()


def test_unknown_items_are_what_is_known_of_them(tastes: Sample) -> None:
    alike, twin, *others = unknown_items(tastes)
    np.testing.assert_array_equal(alike, twin)
    for other in others:
        assert np.abs(alike - other).max() > 1e-3
    assert np.isfinite(others).all()


def test_the_id_row_of_an_item_without_training_events_changes_nothing(tastes: Sample) -> None:
    cold = tastes.item(item_name(1, PER_GROUP))
    model = stirred(new_model(tastes.corpus))
    before = encoder_of(tastes.corpus, model).items()
    with torch.no_grad():
        model.embedding_tables()["item"].weight[cold] += 100.0
    np.testing.assert_array_equal(encoder_of(tastes.corpus, model).items(), before)
    assert tastes.corpus.item_features.id_I[cold] == -1


def test_an_unknown_user_is_nobody_in_particular_and_a_history_tells_more(tastes: Sample) -> None:
    corpus = tastes.corpus
    encoder = encoder_of(corpus, stirred(new_model(corpus)))
    newcomer = tastes.user(USERS)
    before = int(corpus.known.t_E.min())
    nobody, other, silent, active = (
        user_vectors(corpus, encoder, [user], t=t)[0]
        for user, t in ((-1, before), (-1, 2 * before), (newcomer, before), (newcomer, 2 * before))
    )
    np.testing.assert_array_equal(nobody, other)
    # The newcomer has no example and no attributes: without a history it is nobody in particular, with one it is not.
    np.testing.assert_array_equal(silent, nobody)
    assert np.abs(active - nobody).max() > 1e-2


def test_the_id_row_of_a_user_without_an_example_changes_nothing(tastes: Sample) -> None:
    corpus = tastes.corpus
    newcomer, trained = tastes.user(USERS), tastes.user(0)
    model = stirred(new_model(corpus))
    before = user_vectors(corpus, encoder_of(corpus, model), [newcomer, trained, -1])
    with torch.no_grad():
        model.embedding_tables()["user"].weight += 100.0
    after = user_vectors(corpus, encoder_of(corpus, model), [newcomer, trained, -1])
    np.testing.assert_array_equal(before[[0, 2]], after[[0, 2]])
    assert np.abs(before[1] - after[1]).max() > 1e-2


def test_an_unknown_item_counts_in_a_history(tastes: Sample) -> None:
    corpus = tastes.corpus
    encoder = encoder_of(corpus, stirred(new_model(corpus)))
    late = tastes.item("late")

    def vector(item: int) -> np.ndarray:
        timelines = Timelines(
            offsets_U1=np.array([0, 1]), t_E=np.zeros(1, np.int64), item_E=np.array([item], np.int32),
            action_E=np.ones(1, np.int8), order="time",
        )  # fmt: skip
        return encoder.users(
            np.zeros(1, np.int32), np.ones(1, np.int64), timelines=timelines,
            features=plain_users(1), trained_U=np.zeros(1, np.bool_),
        )  # fmt: skip

    cold = [tastes.item(item_name(group, PER_GROUP)) for group in range(2)]
    assert np.abs(vector(cold[0]) - vector(cold[1])).max() > 1e-3
    assert np.abs(vector(cold[0]) - vector(late)).max() > 1e-3
