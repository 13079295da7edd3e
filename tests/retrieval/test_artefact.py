"""A model comes back from disk bit by bit, or not at all."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.retrieval.retrieval_samples import (
    FULL,
    SMALL,
    Sample,
    artefact_of,
    encoder_of,
    new_model,
    training_of,
    user_vectors,
)

from lowerfunnel.errors import RunError
from lowerfunnel.retrieval.artefact import ModelArtefact
from lowerfunnel.retrieval.encoder import Encoder
from lowerfunnel.retrieval.settings import GroupLossConfig, RetrievalConfig

TWO_HEADS = replace(FULL, objective=replace(FULL.objective, heads="multi", learn_temperature=True))
TABLE = replace(FULL, group_loss=GroupLossConfig(weight=0.5, form="table"))
POPULAR = replace(SMALL, tower=replace(SMALL.tower, popularity=True))
MODELS = {"plain": SMALL, "full": FULL, "two heads": TWO_HEADS, "advertisers": TABLE, "popular": POPULAR}
FILES = (
    "model.json", "weights.safetensors", "users.parquet", "items.parquet", "items.safetensors", "users.safetensors",
    "words.parquet", "price_scale.json", "known.safetensors", "vocabularies/advertiser.parquet",
    "vocabularies/category.parquet", "vocabularies/category_path.parquet", "vocabularies/item_attribute.parquet",
    "vocabularies/user_attribute.parquet", "vocabularies/surface.parquet",
)  # fmt: skip


@pytest.fixture
def saved(tastes: Sample, tmp_path: Path) -> Path:
    artefact_of(tastes.corpus, new_model(tastes.corpus)).save(tmp_path)
    return tmp_path


@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)
def test_a_saved_model_gives_the_same_vectors_bit_by_bit(
    tastes: Sample, tmp_path: Path, config: RetrievalConfig
) -> None:
    corpus = tastes.corpus
    model, trainable = training_of(corpus, config)
    for step in range(3):
        trainable.step(0, step, 1.0)
    artefact_of(corpus, model).save(tmp_path)
    loaded = ModelArtefact.load(tmp_path)
    assert loaded.config == config
    assert loaded.price_scale == corpus.price_scale
    assert loaded.users.ids.equals(corpus.users.ids)
    assert loaded.items.ids.equals(corpus.items.ids)
    assert loaded.vocabularies == corpus.vocabularies
    assert not loaded.model.training
    as_read = replace(corpus, user_features=loaded.user_features, trained_U=loaded.trained_U)
    before = encoder_of(corpus, model)
    after = Encoder(loaded.model, loaded.item_features, loaded.counters_IF)
    np.testing.assert_array_equal(before.items(), after.items())
    users = [-1, *range(len(corpus.users))]
    np.testing.assert_array_equal(user_vectors(corpus, before, users), user_vectors(as_read, after, users))


def test_a_model_is_made_of_these_files_and_the_same_one_of_the_same_bytes(tastes: Sample, tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        artefact_of(tastes.corpus, new_model(tastes.corpus)).save(tmp_path / name)
    found = sorted(p.relative_to(tmp_path / "one").as_posix() for p in (tmp_path / "one").rglob("*") if p.is_file())
    assert found == sorted(FILES)
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes() for name in FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(RunError, match=rf"the model in {saved} cannot be read \(.*\); train it again"):
        ModelArtefact.load(saved)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["cut", "empty", "overwritten"])
def test_a_damaged_file_is_refused(saved: Path, name: str, damage: str) -> None:
    content = (saved / name).read_bytes()
    changed = {"cut": content[: len(content) // 2], "empty": b"", "overwritten": bytes(len(content))}
    (saved / name).write_bytes(changed[damage])
    with pytest.raises(RunError, match=r"the model in .* cannot be read \((.|\n)*\); train it again"):
        ModelArtefact.load(saved)


def test_a_setting_of_another_version_is_refused(saved: Path) -> None:
    written = json.loads((saved / "model.json").read_text())
    written["config"]["tower"]["floors"] = 4
    (saved / "model.json").write_text(json.dumps(written))
    with pytest.raises(RunError, match=r"cannot be read \((.|\n)*tower\.floors(.|\n)*\); train it again"):
        ModelArtefact.load(saved)


def test_the_weights_of_another_model_are_refused(tastes: Sample, saved: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    artefact_of(tastes.corpus, new_model(tastes.corpus, FULL)).save(other)
    (saved / "weights.safetensors").write_bytes((other / "weights.safetensors").read_bytes())
    with pytest.raises(RunError, match=f"the weights in {saved} are those of another model; train it again"):
        ModelArtefact.load(saved)


def test_a_row_that_would_spread_over_a_table_is_refused(saved: Path) -> None:
    weights = load_file(saved / "weights.safetensors")
    weights["item_parts.tables.item.weight"] = torch.ones(1, SMALL.tower.width)
    save_file(weights, saved / "weights.safetensors")
    with pytest.raises(RunError, match="are those of another model"):
        ModelArtefact.load(saved)


VOCABULARIES = ("advertiser", "category", "category_path", "item_attribute", "user_attribute", "surface")


@pytest.mark.parametrize(
    "name",
    ["users.parquet", "items.parquet", "known.safetensors", *(f"vocabularies/{name}.parquet" for name in VOCABULARIES)],
)
def test_files_of_two_models_do_not_belong_together(
    tastes: Sample, unordered: Sample, saved: Path, tmp_path: Path, name: str
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    corpus = unordered.corpus
    fewer = replace(
        corpus,
        users=type(corpus.users)(corpus.users.ids.slice(1)),
        items=type(corpus.items)(corpus.items.ids.slice(1)),
        trained_U=corpus.trained_U[1:],
        vocabularies=replace(
            corpus.vocabularies, **dict.fromkeys(VOCABULARIES, type(corpus.items)(corpus.items.ids.slice(0, 1)))
        ),
    )
    whole = artefact_of(tastes.corpus, new_model(tastes.corpus))
    replace(
        whole,
        users=fewer.users,
        items=fewer.items,
        trained_U=fewer.trained_U,
        vocabularies=fewer.vocabularies,
    ).save(other)
    (saved / name).write_bytes((other / name).read_bytes())
    with pytest.raises(RunError, match=f"the files of the model in {saved} do not belong together; train it again"):
        ModelArtefact.load(saved)
