"""Models with weights of their own over a log of random events, in the form of a store and in that of training."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from tests.retrieval.test_two_tower import stirred

from lowerfunnel.events.schema import ACTION_CODE, ACTIONS
from lowerfunnel.events.timeline import Order, Timelines
from lowerfunnel.features.activity import activity_names
from lowerfunnel.features.counters import COUNTER_NAMES
from lowerfunnel.features.entities import FeatureVocabularies, ItemFeatures, UserFeatures, log_shares
from lowerfunnel.features.prices import PriceScale
from lowerfunnel.features.requests import Requests, encode_words
from lowerfunnel.features.vocabulary import Vocabulary
from lowerfunnel.retrieval.artefact import ModelArtefact
from lowerfunnel.retrieval.encoder import Encoder
from lowerfunnel.retrieval.settings import (
    ContextConfig,
    HistoryConfig,
    ObjectiveConfig,
    RetrievalConfig,
    TowerConfig,
)
from lowerfunnel.retrieval.sizes import TableSizes
from lowerfunnel.retrieval.two_tower import TwoTower
from lowerfunnel.serving.requests import CandidateRequest
from lowerfunnel.serving.user_timeline import UserTimeline

ITEMS, USERS = 40, 12
SURFACES = ["home", "related", "search"]
WORDS = ["blue", "red", "shoes"]
HOUR_US = 3_600_000_000
END_US = 40 * 24 * HOUR_US
"""When the last event was."""
LATER = np.iinfo(np.int64).max
NARROW = {"width": 12, "hidden": (10, 8), "cross_rank": 5, "cross_experts": 2}
READ = HistoryConfig(length=9, feedforward=7, heads=3)
POOLED = HistoryConfig(length=9, encoder="pooling")
CONTEXT = ContextConfig(subject=True, query=True)


def config_of(
    history: HistoryConfig = READ, context: ContextConfig = CONTEXT, heads: str = "unified", **tower: object
) -> RetrievalConfig:
    return RetrievalConfig(
        tower=TowerConfig(**{**NARROW, **tower}),
        history=history,
        context=context,
        objective=ObjectiveConfig(heads=heads),
    )


CONFIGS = {
    "transformer": config_of(),
    "causal": config_of(HistoryConfig(length=9, feedforward=7, heads=2, causal=True)),
    "one layer, all actions": config_of(HistoryConfig(length=9, feedforward=7, layers=1, actions=ACTIONS)),
    "pooling": config_of(POOLED),
    "no history": config_of(HistoryConfig(length=0)),
    "no history, pooling": config_of(HistoryConfig(length=0, encoder="pooling")),
    "stacked": config_of(arrangement="stacked", cross_kind="full"),
    "mlp, replaced": config_of(arrangement="mlp", residual=False, head_hidden=(7,)),
    "cross": config_of(arrangement="cross", cross_kind="mixture"),
    "sum": config_of(arrangement="none"),
    "sum of a pooled history alone": config_of(POOLED, ContextConfig(surface=False), arrangement="none", user_id=False),
    "two heads": config_of(heads="multi"),
    "two heads of a sum": config_of(arrangement="none", heads="multi"),
    "popularity": config_of(popularity=True),
    "everything": config_of(popularity=True, activity=True, counters=True, category_separator=" > ", heads="multi"),
    "no ids": config_of(user_id=False, item_id=False),
    "no context": config_of(context=ContextConfig(surface=False)),
    "subject alone": config_of(context=ContextConfig(surface=False, subject=True)),
}


class NamedPlaces(dict[str, int]):
    """Places by name, as a server gives them."""

    def places_of(self, item_ids, /):
        return np.array([self.get(item_id, -1) for item_id in item_ids], np.int64)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A model, the log it is asked with, and where its items lie."""

    artefact: ModelArtefact
    order: Order
    stored: list[UserTimeline]
    timelines: Timelines
    places: "NamedPlaces"

    def encoder(self, task: str = "conversion") -> Encoder:
        artefact = self.artefact
        return Encoder(artefact.model, artefact.item_features, artefact.counters_IF, task=task)

    def offline(
        self, requests: Sequence[CandidateRequest], t: Sequence[int], *, task: str = "conversion"
    ) -> np.ndarray:
        """What `lowerfunnel recommend` would answer with."""
        artefact = self.artefact
        return self.encoder(task).users(
            user_places(artefact, requests),
            np.array(t, np.int64),
            timelines=self.timelines,
            features=artefact.user_features,
            trained_U=artefact.trained_U,
            requests=requests_of_log(artefact, requests),
        )


def item_name(number: int) -> str:
    return f"item{number:03d}"


def catalogue() -> pa.Table:
    number = range(ITEMS)
    return pa.table(
        {
            "item_id": [item_name(n) for n in number],
            "advertiser_id": pa.array([f"shop{n % 4}" if n % 5 else None for n in number], pa.string()),
            "category_id": pa.array([f"all > part{n % 6}" if n % 7 else None for n in number], pa.string()),
            "price": pa.array([5.0 + n if n % 3 else None for n in number], pa.float64()),
            "attributes": pa.array(
                [[f"colour={n % 3}", "new"] if n % 4 else None for n in number], pa.list_(pa.string())
            ),
            "content": pa.array([[0.1 * n, 1.0, -0.5] if n % 2 else None for n in number], pa.list_(pa.float32())),
            "visual": pa.array([[0.2, 0.1 * n] if n % 3 else None for n in number], pa.list_(pa.float32())),
        }
    )


def sample(
    config: RetrievalConfig, *, order: Order = "time", attributes: bool = True, surfaces: bool = True, seed: int = 0
) -> Sample:
    """Return a model with random weights, none of them zero, and the events of its users.

    User u has 4 * u events: from none, over fewer than a history holds, to many more.
    """
    generator = np.random.default_rng(seed)
    table = catalogue()
    users = pa.table(
        {
            "user_id": pa.array([2**53 + user for user in range(USERS)], pa.int64()),
            "attributes": pa.array(
                [[f"age={u % 3}", f"from={u % 2}"][: u % 3] if attributes else None for u in range(USERS)],
                pa.list_(pa.string()),
            ),
        }
    )
    separator = config.tower.category_separator
    vocabularies = FeatureVocabularies.of(table, users, SURFACES if surfaces else [], category_separator=separator)
    scale = PriceScale.of(table)
    example_X = generator.integers(0, ITEMS // 2, 60).astype(np.int32)
    items = ItemFeatures.of(
        table,
        # The last eight were not trained.
        id_I=np.where(np.arange(ITEMS) < ITEMS - 8, np.arange(ITEMS), -1).astype(np.int32),
        vocabularies=vocabularies,
        price_scale=scale,
        content_width=3,
        visual_width=2,
        log_share_I=log_shares(example_X, np.ones(60, np.float32), items=ITEMS),
        category_separator=separator,
    )
    sizes = TableSizes(
        users=USERS,
        items=ITEMS,
        advertisers=len(vocabularies.advertiser),
        categories=len(vocabularies.category),
        category_paths=len(vocabularies.category_path),
        item_attributes=len(vocabularies.item_attribute),
        user_attributes=len(vocabularies.user_attribute),
        surfaces=len(vocabularies.surface),
        words=len(WORDS),
        price_buckets=int(items.price_bucket_I.max()),
        content_width=3,
        visual_width=2,
        counters_width=len(COUNTER_NAMES) if config.tower.counters else 0,
        activity_width=len(activity_names(order)) if config.tower.activity else 0,
    )
    counters_IF = generator.random((ITEMS, sizes.counters_width)).astype(np.float32)
    artefact = ModelArtefact(
        config=config,
        model=stirred(TwoTower(config, sizes, generator=torch.Generator().manual_seed(seed))).eval(),
        sizes=sizes,
        users=Vocabulary.of(users.column("user_id")),
        items=Vocabulary.of(table.column("item_id")),
        words=Vocabulary(pa.array(WORDS, pa.string())),
        vocabularies=vocabularies,
        price_scale=scale,
        item_features=items,
        user_features=UserFeatures.of(users, vocabularies=vocabularies),
        trained_U=np.arange(USERS) % 4 != 3,
        counters_IF=counters_IF,
    )
    stored = [stored_events(generator, 4 * user, order) for user in range(USERS)]
    return Sample(
        artefact=artefact,
        order=order,
        stored=stored,
        timelines=timelines_of(artefact, stored, order),
        places=NamedPlaces({item_name(number): number for number in range(ITEMS)}),
    )


def stored_events(generator: np.random.Generator, count: int, order: Order) -> UserTimeline:
    """Return events in a store's order; every tenth is on an item that no catalogue has."""
    ts_us = np.sort(generator.integers(0, END_US, count)) if order == "time" else np.arange(count)
    return UserTimeline.of(
        ts_us=ts_us.tolist(),
        item_id=["gone" if n % 10 == 9 else item_name(int(generator.integers(ITEMS))) for n in range(count)],
        action=[ACTIONS[int(generator.integers(len(ACTIONS)))] for _ in range(count)],
        surface=[[*SURFACES, "unheard of", None][int(generator.integers(5))] for _ in range(count)],
        dwell_s=[
            float(np.float32(generator.random() * 99)) if generator.random() < 0.6 else None for _ in range(count)
        ],
    )


def timelines_of(artefact: ModelArtefact, stored: Sequence[UserTimeline], order: Order) -> Timelines:
    """Read stored events as `lowerfunnel.retrieval.corpus.store_timelines` reads a log, column by column."""
    columns = {name: [v for each in stored for v in each.columns()[name]] for name in UserTimeline.of().columns()}
    t_E = np.array(columns["ts_us"], np.int64)
    surface = pa.array(columns["surface"], pa.string())
    return Timelines.build(
        user_E=np.repeat(np.arange(len(stored), dtype=np.int32), [len(each) for each in stored]),
        t_E=np.zeros_like(t_E) if order == "none" else t_E,
        item_E=artefact.items.encode(pa.array(columns["item_id"], pa.string())),
        action_E=np.array([ACTION_CODE[action] for action in columns["action"]], np.int8),
        users=len(stored),
        order=order,
        surface_E=(artefact.vocabularies.surface.encode(surface) + 1).astype(np.int16),
        dwell_E=np.array(columns["dwell_s"], np.float64).astype(np.float32),
    )


def user_places(artefact: ModelArtefact, requests: Sequence[CandidateRequest]) -> np.ndarray:
    return artefact.users.encode(pa.array([request.user_id for request in requests], pa.int64()))


def requests_of_log(artefact: ModelArtefact, requests: Sequence[CandidateRequest]) -> Requests:
    """Read requests as `lowerfunnel.retrieval.corpus` reads those of examples."""
    word_offsets_R1, word_T = encode_words(pa.array([r.query for r in requests], pa.string()), artefact.words)
    surface = pa.array([r.surface for r in requests], pa.string())
    return Requests(
        surface_R=artefact.vocabularies.surface.encode(surface) + np.int32(1),
        subject_R=artefact.items.encode(pa.array([r.subject_item_id for r in requests], pa.string())),
        word_offsets_R1=word_offsets_R1,
        word_T=word_T,
    )


def asked_by_all() -> list[CandidateRequest]:
    """Every user of the log, one nobody knows, and one without an id, from all places."""
    users = [*(2**53 + user for user in range(USERS)), 7, None]
    return [
        CandidateRequest(
            request_id=f"r{n}",
            k=10,
            user_id=user,
            surface=[*SURFACES, None, "unheard of"][n % 5],
            subject_item_id=[item_name(n), None, "gone"][n % 3],
            query=["Red shoes!", None, "green", "blue red RED"][n % 4],
        )
        for n, user in enumerate(users)
    ]


def stored_of(sample_: Sample, requests: Sequence[CandidateRequest]) -> list[UserTimeline]:
    """What a store answers for the users who ask."""
    nothing = UserTimeline.of()
    place = user_places(sample_.artefact, requests)
    return [sample_.stored[user] if user >= 0 else nothing for user in place.tolist()]
