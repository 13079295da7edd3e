"""Objects from settings: what the steps of a run are made of."""

import importlib.util
import math

import numpy as np
import numpy.typing as npt
import torch

from lowerfunnel.errors import ConfigError, require
from lowerfunnel.evaluation.baselines import AlsRetriever, ItemKnnRetriever
from lowerfunnel.evaluation.evaluation_set import EvaluationSet, Retriever
from lowerfunnel.evaluation.floors import OwnHistoryRetriever, PopularityRetriever
from lowerfunnel.evaluation.queries import evaluation_set, known_at_test
from lowerfunnel.evaluation.settings import EvaluationConfig
from lowerfunnel.evaluation.towers import TowerRetriever
from lowerfunnel.events.schema import ACTION_CODE, ACTIONS
from lowerfunnel.index.contract import Index
from lowerfunnel.index.exact import ExactIndex
from lowerfunnel.labels.settings import LabelConfig
from lowerfunnel.pipeline.oracle import OracleRetriever
from lowerfunnel.pipeline.recipe import Recipe
from lowerfunnel.retrieval.batches import TrainingData
from lowerfunnel.retrieval.corpus import Corpus, HeldOut
from lowerfunnel.retrieval.encoder import Encoder
from lowerfunnel.retrieval.training_data import item_counters, table_sizes, training_data
from lowerfunnel.retrieval.two_tower import TwoTower
from lowerfunnel.training.settings import TrainingConfig
from lowerfunnel.world import World


def missing_floors(config: EvaluationConfig) -> list[str]:
    """Return the floors that cannot be measured because the extra "baselines" is not installed."""
    if importlib.util.find_spec("implicit") is not None:
        return []
    return [floor for floor in config.floors if floor in ("itemknn", "als")]


def device_of(config: TrainingConfig) -> torch.device:
    """Return the device to train on.

    Raises:
        ConfigError: If CUDA is asked for and not there.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError('training.device is "cuda" and no CUDA device is present; set it to "auto" or "cpu"')
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(config.device)


def require_packages(recipe: Recipe) -> None:
    """Make sure, before any work, that the optional packages of the settings are installed.

    Raises:
        MissingPackageError: If one is not.
    """
    if recipe.index.kind.startswith("faiss"):
        require("faiss", extra="faiss")
    if recipe.index.kind == "milvus":
        require("pymilvus", extra="milvus")


def new_model(recipe: Recipe, corpus: Corpus, data: TrainingData) -> TwoTower:
    """Return an untrained model for a corpus; the same seed gives the same weights."""
    sizes = table_sizes(corpus, recipe.retrieval, data)
    return TwoTower(recipe.retrieval, sizes, generator=torch.Generator().manual_seed(recipe.seed))


def tower_retriever(corpus: Corpus, encoder: Encoder, index: Index, *, validating: bool = False) -> TowerRetriever:
    """Return a model with its index as a retriever, answering from what may be known."""
    return TowerRetriever(
        encoder,
        index,
        timelines=corpus.training if validating else corpus.known,
        user_features=corpus.user_features,
        trained_U=corpus.trained_U,
    )


def queries_of(
    recipe: Recipe, corpus: Corpus, held_out: HeldOut, surfaces: list[str], *, task: str, validating: bool = False
) -> EvaluationSet | None:
    """Return the evaluation set of one task, None if nothing is held out for it."""
    return evaluation_set(
        corpus,
        held_out,
        task=task,
        timelines=corpus.training if validating else corpus.known,
        conversions=recipe.labels.conversions,
        exclude_purchased=recipe.labels.exclude_purchased,
        surfaces=surfaces,
        cold_at_most=recipe.evaluation.cold_at_most,
    )


def floors_of(recipe: Recipe, corpus: Corpus) -> dict[str, Retriever]:
    """Fit the floors that the recipe names and the installed packages allow, on all that testing may know."""
    names = [name for name in recipe.evaluation.floors if name not in missing_floors(recipe.evaluation)]
    known = known_at_test(corpus)
    weight_A = action_weights(recipe.labels)
    conversion_A = np.where(np.isin(ACTIONS, recipe.labels.conversions), 1.0, 0.0)
    popularity = PopularityRetriever(known, conversion_A, items=len(corpus.items))
    floors: dict[str, Retriever] = {}
    for name in names:
        if name == "popularity":
            floors[name] = popularity
        elif name == "own_history":
            floors[name] = OwnHistoryRetriever(known, popularity)
        elif name == "itemknn":
            floors[name] = ItemKnnRetriever(known, weight_A, popularity)
        elif name == "als":
            floors[name] = AlsRetriever(known, weight_A, popularity, seed=recipe.seed)
        else:
            model = new_model(recipe, corpus, training_data(corpus, recipe.retrieval))
            encoder = Encoder(model, corpus.item_features, item_counters(corpus, recipe.retrieval, testing=True))
            floors[name] = tower_retriever(corpus, encoder, ExactIndex(encoder.items()))
    return floors


def oracle_of(recipe: Recipe, corpus: Corpus) -> dict[str, Retriever]:
    """Return the oracle of the recipe's synthetic world by its name; nothing where there is none to ask."""
    split = recipe.labels.split
    if recipe.world is None or not recipe.evaluation.oracle or split.strategy != "temporal":
        return {}
    return {"oracle": OracleRetriever(World(recipe.world), corpus.users, corpus.items, days=math.ceil(split.test_days))}


def action_weights(config: LabelConfig) -> npt.NDArray[np.float64]:
    """Return the weight of a positive by the code of its action, 0 for actions that are none."""
    weight_A = np.zeros(len(ACTIONS))
    for action, weight in config.weights.items():
        weight_A[ACTION_CODE[action]] = weight
    return weight_A
