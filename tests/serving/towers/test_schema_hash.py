"""Equal hashes mean that features and towers agree; whatever they must agree on changes it."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from tests.serving.towers.tower_samples import CONFIGS, sample

from lowerfunnel.features.vocabulary import Vocabulary
from lowerfunnel.retrieval.artefact import ModelArtefact
from lowerfunnel.retrieval.settings import ObjectiveConfig
from lowerfunnel.serving.towers import schema_hash
from lowerfunnel.serving.towers.schema_hash import feature_schema_hash

ARTEFACT = sample(CONFIGS["everything"]).artefact
CONFIG, NAMES = ARTEFACT.config, ARTEFACT.vocabularies
USERS = [2**53 + user for user in range(12)]
CHANGES = {
    "tower": {"config": replace(CONFIG, tower=replace(CONFIG.tower, width=24))},
    "history": {"config": replace(CONFIG, history=replace(CONFIG.history, length=8))},
    "context": {"config": replace(CONFIG, context=replace(CONFIG.context, query=False))},
    "heads": {"config": replace(CONFIG, objective=ObjectiveConfig(heads="unified"))},
    "sizes": {"sizes": replace(ARTEFACT.sizes, groups=1)},
    "price scale": {"price_scale": replace(ARTEFACT.price_scale, mean=0.5)},
    "a user": {"users": Vocabulary(pa.array([*USERS[:-1], USERS[-1] + 1], pa.int64()))},
    "a word": {"words": Vocabulary(pa.array(["blue", "red", "shoe"], pa.string()))},
    "where words end": {"words": Vocabulary(pa.array(["bluer", "ed", "shoes"], pa.string()))},
    "a surface": {"vocabularies": replace(NAMES, surface=Vocabulary(pa.array(["a", "b", "c"], pa.string())))},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_it_changes_with_what_must_agree(change: dict) -> None:
    hashed = feature_schema_hash(ARTEFACT, order="time")
    assert feature_schema_hash(replace(ARTEFACT, **change), order="time") != hashed
    assert feature_schema_hash(replace(ARTEFACT), order="time") == hashed


def test_it_changes_with_the_order_of_the_log() -> None:
    assert len({feature_schema_hash(ARTEFACT, order=order) for order in ("time", "sequence", "none")}) == 3


@pytest.mark.parametrize("name", ["ACTIONS", "AGE_BUCKETS", "PRICE_BUCKETS", "COUNTER_NAMES", "ACTIVITY_DAYS"])
def test_it_changes_with_what_a_code_means(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    hashed = feature_schema_hash(ARTEFACT, order="time")
    value = getattr(schema_hash, name)
    monkeypatch.setattr(schema_hash, name, value[::-1] if isinstance(value, tuple) else value + 1)
    assert feature_schema_hash(ARTEFACT, order="time") != hashed


def test_weights_and_storage_are_no_part_of_it(tmp_path: Path) -> None:
    ARTEFACT.save(tmp_path)
    loaded = ModelArtefact.load(tmp_path)
    with torch.no_grad():
        loaded.model.user_parts.anyone.zero_()
    assert feature_schema_hash(loaded, order="time") == feature_schema_hash(ARTEFACT, order="time")
    sliced = pa.array(["", "blue", "red", "shoes", "zoo"], pa.string()).slice(1, 3)
    chunk = replace(ARTEFACT, words=Vocabulary(sliced))
    assert feature_schema_hash(chunk, order="time") == feature_schema_hash(ARTEFACT, order="time")


def test_it_is_a_sha_256_in_hex() -> None:
    hashed = feature_schema_hash(ARTEFACT, order="time")
    assert len(hashed) == 64
    assert int(hashed, 16) >= 0
