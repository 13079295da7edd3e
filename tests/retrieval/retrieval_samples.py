"""A log of users with tastes, small enough to learn in a second, and arrays for the laws of batches and towers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from tests.labels.label_samples import DAY_US, Event, config_of, labels_of, store_of

from lowerfunnel.evaluation.evaluation_set import EvaluationSet, Retriever
from lowerfunnel.events.store import EventStore
from lowerfunnel.features.entities import ItemFeatures, UserFeatures
from lowerfunnel.features.requests import Requests
from lowerfunnel.retrieval.artefact import ModelArtefact
from lowerfunnel.retrieval.batches import BatchSource
from lowerfunnel.retrieval.corpus import Corpus
from lowerfunnel.retrieval.encoder import Encoder
from lowerfunnel.retrieval.objective import TwoTowerTraining
from lowerfunnel.retrieval.settings import (
    HistoryConfig,
    NegativesConfig,
    ObjectiveConfig,
    RetrievalConfig,
    TowerConfig,
)
from lowerfunnel.retrieval.training_data import item_counters, table_sizes, training_data
from lowerfunnel.retrieval.two_tower import TwoTower
from lowerfunnel.training.settings import TrainingConfig

GROUPS, PER_GROUP, USERS = 4, 8, 48
BIG = 2**53
"""User ids lie past what a float can hold; item ids are texts."""
WEIGHTS = {"checkout": 1.0, "add_to_cart": 0.5, "view": 0.2}
PLAIN = {"tower": TowerConfig(width=16, arrangement="none"), "history": HistoryConfig(encoder="pooling")}
"""A tower that is the sum of its parts, over a pooled history."""
SMALL = RetrievalConfig(**PLAIN, objective=ObjectiveConfig(batch_size=64), negatives=NegativesConfig(uniform=8))
FULL = RetrievalConfig(
    tower=TowerConfig(
        width=16, cross_rank=8, hidden=(24, 16, 12), category_separator=" > ", counters=True, activity=True
    ),
    history=HistoryConfig(feedforward=24),
    objective=ObjectiveConfig(batch_size=64),
    negatives=NegativesConfig(uniform=8),
)
"""Everything that a log with times has."""


def item_name(group: int, number: int) -> str:
    """Number `PER_GROUP` is the group's cold item: in the catalogue, never in the log."""
    return f"item{group}-{number}"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A store with its labels and what was read of them."""

    store: EventStore
    labels: Path
    corpus: Corpus

    def item(self, name: str) -> int:
        return int(self.corpus.items.encode(pa.array([name]))[0])

    def user(self, number: int) -> int:
        return int(self.corpus.users.encode(pa.array([BIG + number]))[0])


def catalogue() -> pa.Table:
    """All features, none of them complete: groups 0 and 1 have content, odd items have no advertiser, the third no price."""
    names = [(group, number) for group in range(GROUPS) for number in range(PER_GROUP + 1)]
    return pa.table(
        {
            "item_id": [item_name(*name) for name in names],
            "advertiser_id": pa.array([f"shop{g}" if n % 2 == 0 else None for g, n in names], pa.string()),
            "category_id": [f"department{g // 2} > category{g}" for g, _ in names],
            "price": pa.array([None if n == 3 else 10.0 * (g + 1) + n for g, n in names], pa.float64()),
            "attributes": pa.array(
                [[f"colour={n % 3}", "new"] if n % 3 else None for _, n in names], pa.list_(pa.string())
            ),
            "content": pa.array(
                [[float(g == 0), float(g == 1), 0.5] if g < 2 else None for g, _ in names], pa.list_(pa.float32())
            ),
            "visual": pa.array(
                [[float(g == 2), 0.1 * n] if n != 4 else None for g, n in names], pa.list_(pa.float32())
            ),
        }
    )


def taste_events(seed: int = 0) -> list[Event]:
    """Users who stay in their group 19 times in 20, over 30 days; the last user comes on the last day only."""
    generator = np.random.default_rng(seed)
    log = []
    for user in range(USERS):
        for _ in range(14):
            group = user % GROUPS if generator.random() < 0.95 else int(generator.integers(GROUPS))
            item = item_name(group, int(generator.integers(PER_GROUP)))
            t = int(generator.integers(30 * DAY_US - DAY_US // 24))
            surface = ["home", "search"][int(generator.integers(2))]
            log.append(Event(BIG + user, item, "view", t, surface))
            if generator.random() < 0.6:
                log.append(Event(BIG + user, item, "checkout", t + 1 + int(generator.integers(DAY_US // 24)), surface))
    log.append(Event(BIG + USERS, item_name(0, 0), "view", 29 * DAY_US, "home"))
    log.append(Event(BIG + USERS, item_name(0, 1), "checkout", 30 * DAY_US, "home"))
    # An item that nobody had seen before the test.
    log.append(Event(BIG, "late", "checkout", 30 * DAY_US, "home"))
    return log


def taste_sample(folder: Path, *, strategy: str = "temporal", order: str = "time") -> Sample:
    log = taste_events()
    if order == "none":
        log = list({event._replace(t=0, surface=None): None for event in log})
    users = pa.table(
        {
            "user_id": pa.array([BIG + user for user in range(USERS)], pa.int64()),
            "attributes": pa.array(
                [[f"age={user % 5}"] if user % 3 else None for user in range(USERS)], pa.list_(pa.string())
            ),
        }
    )
    store = store_of(folder, log, order=order, items=catalogue(), users=users)
    split = {"test_days": 4, "validation_days": 3} if strategy == "temporal" else {"validation_share": 0.5}
    labels, _ = labels_of(store, config_of(strategy, split=split, weights=WEIGHTS, exclude_purchased=False))
    return Sample(store=store, labels=labels, corpus=Corpus.build(store, labels, category_separator=" > "))


def served_sample(folder: Path) -> Sample:
    """The same users as they see ads: requests of four, of which one is clicked and sometimes bought."""
    generator = np.random.default_rng(1)
    log = []
    for number in range(320):
        user, t = number % USERS, int(generator.integers(29 * DAY_US))
        group = user % GROUPS
        slots = [item_name((group + slot) % GROUPS, int(generator.integers(PER_GROUP))) for slot in range(4)]
        surface = ("home", "related", "search")[number % 3]
        of_request = {
            "surface": surface,
            "request": f"r{number}",
            "query": f"Category {group}" if surface == "search" else None,
            "context": item_name(group, number % PER_GROUP) if surface == "related" else None,
        }
        log += [Event(BIG + user, item, "impression", t + slot, **of_request) for slot, item in enumerate(slots)]
        dwell_s = float(generator.integers(60))
        log.append(Event(BIG + user, slots[0], "click", t + 10, dwell_s=dwell_s, **of_request))
        if number % 2:
            log.append(Event(BIG + user, slots[0], "checkout", t + DAY_US // 24))
    store = store_of(folder, log, items=catalogue())
    labels, _ = labels_of(
        store,
        config_of(
            "temporal",
            split={"test_days": 4, "validation_days": 3},
            weights={"checkout": 1.0, "click": 0.5},
            exclude_purchased=False,
            ignored=True,
            touch_window_h=48.0,
        ),
    )
    return Sample(store=store, labels=labels, corpus=Corpus.build(store, labels, category_separator=" > "))


def new_model(corpus: Corpus, config: RetrievalConfig = SMALL, *, seed: int = 0) -> TwoTower:
    sizes = table_sizes(corpus, config, training_data(corpus, config))
    return TwoTower(config, sizes, generator=torch.Generator().manual_seed(seed))


def batch_source(corpus: Corpus, config: RetrievalConfig = SMALL, *, seed: int = 0) -> BatchSource:
    return BatchSource(config, training_data(corpus, config), seed=seed)


def training_of(
    corpus: Corpus,
    config: RetrievalConfig = SMALL,
    *,
    seed: int = 0,
    training: TrainingConfig | None = None,
    validate: Callable[[TwoTower], Mapping[str, float]] = lambda _: {},
) -> tuple[TwoTower, TwoTowerTraining]:
    model = new_model(corpus, config, seed=seed)
    trainable = TwoTowerTraining(
        model,
        batch_source(corpus, config, seed=seed),
        config,
        training or TrainingConfig(learning_rate=0.01),
        device=torch.device("cpu"),
        seed=seed,
        validate=lambda: validate(model),
    )
    return model, trainable


def encoder_of(corpus: Corpus, model: TwoTower) -> Encoder:
    return Encoder(model, corpus.item_features, item_counters(corpus, model.config, testing=True))


def artefact_of(corpus: Corpus, model: TwoTower) -> ModelArtefact:
    data = training_data(corpus, model.config)
    return ModelArtefact.of(
        corpus,
        model.config,
        model,
        sizes=table_sizes(corpus, model.config, data),
        counters_IF=item_counters(corpus, model.config, testing=True),
    )


def user_vectors(
    corpus: Corpus, encoder: Encoder, user: list[int], *, t: int | list[int] | None = None, surface: int = 0
) -> np.ndarray:
    at = np.full(len(user), np.iinfo(np.int64).max if t is None else 0, np.int64) + np.asarray(0 if t is None else t)
    return encoder.users(
        np.array(user, np.int32),
        at.astype(np.int64),
        timelines=corpus.known,
        features=corpus.user_features,
        trained_U=corpus.trained_U,
        requests=replace(Requests.unknown(len(user)), surface_R=np.full(len(user), surface, np.int32)),
    )


def recall(retriever: Retriever, queries: EvaluationSet, k: int) -> float:
    """Return the share of held-out pairs that are found, the mean over pairs."""
    found_QK = retriever.retrieve(queries, k).item_QK
    query_P = np.repeat(np.arange(queries.queries), np.diff(queries.pair_offsets))
    hit_P = (found_QK[query_P] == queries.pair_item_P[:, None]) & (queries.pair_item_P[:, None] >= 0)
    return float(hit_P.any(axis=1).mean())


def plain_items(count: int, *, known: int | None = None, **features: object) -> ItemFeatures:
    """Return items without side features; those from `known` on have hidden ids."""
    id_I = np.arange(count, dtype=np.int32)
    if known is not None:
        id_I[known:] = -1
    given = {
        "advertiser_I": np.zeros(count, np.int32),
        "category_I": np.zeros(count, np.int32),
        "path_offsets_I1": np.zeros(count + 1, np.int64),
        "path_T": np.zeros(0, np.int32),
        "price_I3": np.zeros((count, 3), np.float32),
        "price_bucket_I": np.zeros(count, np.int32),
        "attribute_offsets_I1": np.zeros(count + 1, np.int64),
        "attribute_T": np.zeros(0, np.int32),
        "content_IC": np.zeros((count, 0), np.float32),
        "visual_IV": np.zeros((count, 0), np.float32),
        "log_share_I": np.full(count, -np.log(count), np.float32),
        **features,
    }
    return ItemFeatures(id_I=id_I, **given)


def plain_users(count: int) -> UserFeatures:
    return UserFeatures(attribute_offsets_U1=np.zeros(count + 1, np.int64), attribute_T=np.zeros(0, np.int32))
