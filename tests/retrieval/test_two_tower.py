"""The towers against a slow float64 reading of their docstring, and what they make of those nobody knows."""

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
from lowerfunnel.features.history import gather_histories
from lowerfunnel.retrieval.encoder import Encoder
from lowerfunnel.retrieval.settings import RetrievalConfig, TowerConfig
from lowerfunnel.retrieval.two_tower import TableSizes, TwoTower

TOWERS = {
    "plain": TowerConfig(width=12),
    "hidden layers": TowerConfig(width=12, user_hidden=(9, 7), item_hidden=(10,)),
    "without ids": TowerConfig(width=12, user_id=False, item_id=False),
    "popularity": TowerConfig(width=12, popularity=True),
    "without history": TowerConfig(width=12),
    "short history": TowerConfig(width=12),
}


def stirred(model: TwoTower, seed: int = 1) -> TwoTower:
    """Give every parameter a value of its own, also those that begin at zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.5, generator=generator)
    return model


class Reference:
    """The formula of `TwoTower`, one item and one user at a time, in float64."""

    def __init__(self, model: TwoTower, sample: Sample, config: TowerConfig) -> None:
        self.parts = {name: p.detach().double().numpy() for name, p in model.named_parameters()}
        self.corpus, self.config = sample.corpus, config

    def table(self, name: str) -> np.ndarray:
        return self.parts[f"tables.{name}.weight"]

    def mlp(self, tower: str, x: np.ndarray, hidden: tuple[int, ...]) -> np.ndarray:
        if not hidden:
            return x
        y = x
        for layer in range(len(hidden) + 1):
            prefix = f"{tower}.layers.{2 * layer}"
            y = self.parts[f"{prefix}.weight"] @ y + self.parts[f"{prefix}.bias"]
            if layer < len(hidden):
                y = np.maximum(y, 0)
        return x + y

    def item_input(self, item: int) -> np.ndarray:
        features = self.corpus.item_features
        x = self.parts["anything"].copy()
        if self.config.item_id and features.id_I[item] >= 0:
            x += self.table("item")[features.id_I[item]]
        x += self.table("advertiser")[features.advertiser_I[item]] + self.table("category")[features.category_I[item]]
        tokens = features.attribute_T[slice(*features.attribute_offsets_I1[item : item + 2])]
        if len(tokens):
            x += self.table("item_attribute")[tokens].mean(axis=0)
        return x + features.price_I2[item] @ self.parts["price"] + features.content_IC[item] @ self.parts["content"]

    def item(self, item: int) -> np.ndarray:
        x = self.mlp("item_mlp", self.item_input(item), self.config.item_hidden)
        share = [self.corpus.item_features.log_share_I[item]] if self.config.popularity else []
        return np.append(x / np.linalg.norm(x), share)

    def user(self, user: int, t: int, surface: int) -> np.ndarray:
        corpus = self.corpus
        y = self.parts["anyone"].copy()
        history = gather_histories(
            corpus.known, np.array([user], np.int32), np.array([t]), max_length=self.config.history_length
        )
        weight = [
            np.exp(self.parts["action_weight"][action] + self.parts["age_weight"][age])
            for action, age in zip(history.action_N, history.age_N, strict=True)
        ]
        if weight:
            mean = sum(w * self.item_input(item) for w, item in zip(weight, history.item_N, strict=True)) / sum(weight)
            y += self.parts["history_gate"] * mean
        if self.config.user_id and user >= 0 and corpus.trained_U[user]:
            y += self.table("user")[user]
        y += self.table("surface")[surface]
        if user >= 0:
            tokens = corpus.user_features.attribute_T[
                slice(*corpus.user_features.attribute_offsets_U1[user : user + 2])
            ]
            if len(tokens):
                y += self.table("user_attribute")[tokens].mean(axis=0)
        y = self.mlp("user_mlp", y, self.config.user_hidden)
        return np.append(y / np.linalg.norm(y), [self.parts["popularity_weight"]] if self.config.popularity else [])


@pytest.mark.parametrize("name", TOWERS)
def test_vectors_are_those_of_the_formula_in_float64(tastes: Sample, name: str) -> None:
    config = RetrievalConfig(tower=TOWERS[name])
    model = stirred(new_model(tastes.corpus, config))
    encoder, reference = encoder_of(tastes.corpus, model, config), Reference(model, tastes, TOWERS[name])
    expected = np.stack([reference.item(item) for item in range(len(tastes.corpus.items))])
    np.testing.assert_allclose(encoder.items(), expected, atol=2e-6)
    users = [-1, *range(USERS + 1)]
    last = int(tastes.corpus.known.t_E.max())
    for surface, t in ((0, last + 1), (2, last - 10**12)):
        expected = np.stack([reference.user(user, t, surface) for user in users])
        found = user_vectors(tastes.corpus, encoder, users, t=t, surface=surface)
        np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("name", TOWERS)
def test_every_vector_is_of_length_one_but_for_its_popularity(tastes: Sample, name: str) -> None:
    corpus, config = tastes.corpus, RetrievalConfig(tower=TOWERS[name])
    for model in (new_model(corpus, config), stirred(new_model(corpus, config))):
        encoder = encoder_of(corpus, model, config)
        item_length = np.linalg.norm(encoder.items()[:, :12], axis=1)
        if not model.anything.any():
            # An item of which nothing is known has no direction until the model has learned one.
            assert item_length[tastes.item("late")] == 0.0
            item_length = np.delete(item_length, tastes.item("late"))
        np.testing.assert_allclose(item_length, 1.0, atol=1e-6)
        users = user_vectors(corpus, encoder, [-1, *range(USERS + 1)])
        np.testing.assert_allclose(np.linalg.norm(users[:, :12], axis=1), 1.0, atol=1e-6)
        assert encoder.items().shape[1] == users.shape[1] == config.tower.vector_width == 12 + config.tower.popularity


def test_of_two_items_that_fit_alike_the_more_popular_one_scores_higher(tastes: Sample) -> None:
    corpus, config = tastes.corpus, RetrievalConfig(tower=TowerConfig(width=12, popularity=True))
    alike = plain_items(2, known=0, log_share_I=np.log(np.array([0.2, 0.8], np.float32)))
    sizes = TableSizes(
        users=1, items=2, advertisers=0, categories=0, item_attributes=0, user_attributes=0, surfaces=0, content_width=0,
        has_price=False,
    )  # fmt: skip
    model = TwoTower(config.tower, sizes, generator=torch.Generator().manual_seed(0))
    encoder = Encoder(model, alike)
    nobody = np.array([-1], np.int32)
    user_BD = encoder.users(
        nobody, np.array([0]), np.zeros(1, np.int32), timelines=corpus.known, features=plain_users(1),
        trained_U=np.zeros(1, np.bool_),
    )  # fmt: skip
    score_I = (encoder.items() @ user_BD.T)[:, 0]
    weight = model.popularity_weight
    assert weight is not None
    assert score_I[1] - score_I[0] == pytest.approx(weight.item() * np.log(4), rel=1e-5)


def test_the_same_seed_gives_the_same_model_and_another_another(tastes: Sample) -> None:
    first, again, other = (new_model(tastes.corpus, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["tables.item.weight"], other["tables.item.weight"])


def test_the_model_draws_from_its_own_generator_alone(tastes: Sample) -> None:
    before = torch.get_rng_state()
    new_model(tastes.corpus, RetrievalConfig(tower=TOWERS["hidden layers"]))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_feature_that_the_log_does_not_have_gets_no_table() -> None:
    sizes = TableSizes(
        users=3, items=4, advertisers=0, categories=0, item_attributes=0, user_attributes=0, surfaces=0,
        content_width=0, has_price=False,
    )  # fmt: skip
    model = TwoTower(TowerConfig(width=4), sizes, generator=torch.Generator().manual_seed(0))
    assert sorted(model.embedding_tables()) == ["item", "user"]
    assert model.price is None
    assert model.content is None
    encoder = Encoder(model, plain_items(4))
    assert encoder.items().shape == (4, 4)
    timelines = Timelines(
        offsets_U1=np.zeros(4, np.int64), t_E=np.zeros(0, np.int64), item_E=np.zeros(0, np.int32),
        action_E=np.zeros(0, np.int8), order="none",
    )  # fmt: skip
    found = encoder.users(
        np.array([-1, 0], np.int32), np.zeros(2, np.int64), np.zeros(2, np.int32), timelines=timelines,
        features=plain_users(3), trained_U=np.ones(3, np.bool_),
    )  # fmt: skip
    assert np.isfinite(found).all()
    assert not np.allclose(found[0], found[1])


def test_the_unknown_value_of_a_feature_says_nothing_at_first(tastes: Sample) -> None:
    model = new_model(tastes.corpus)
    for name in ("advertiser", "category", "surface"):
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
        price_I2=np.array([[0, 1], [0, 1], [0, 1], [0, 1], [1.5, 1], [0, 0]], np.float32),
        content_IC=np.zeros((6, 3), np.float32),
    )
    assert len(vocabularies.category) == 4
    return Encoder(stirred(new_model(tastes.corpus)), items).items()


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
            np.zeros(1, np.int32), np.ones(1, np.int64), np.zeros(1, np.int32), timelines=timelines,
            features=plain_users(1), trained_U=np.zeros(1, np.bool_),
        )  # fmt: skip

    cold = [tastes.item(item_name(group, PER_GROUP)) for group in range(2)]
    assert np.abs(vector(cold[0]) - vector(cold[1])).max() > 1e-3
    assert np.abs(vector(cold[0]) - vector(late)).max() > 1e-3
