"""Items embedded one by one are those of the catalogue, and new ones are made of what is known of them."""

from dataclasses import replace

import numpy as np
import pytest
from tests.serving.towers.tower_samples import CONFIGS, ITEMS, Sample, catalogue, sample

from lowerfunnel.errors import DataError, UnavailableError
from lowerfunnel.features.entities import ItemFeatures
from lowerfunnel.retrieval.encoder import Encoder
from lowerfunnel.serving.records import ItemRecord
from lowerfunnel.serving.towers.item_embedder import ItemEmbedder


def records() -> list[ItemRecord]:
    return [
        ItemRecord(**{**row, "attributes": tuple(row["attributes"] or ()), "content": row["content"] and tuple(row["content"]),
                      "visual": row["visual"] and tuple(row["visual"])})
        for row in catalogue().to_pylist()
    ]  # fmt: skip


@pytest.fixture(scope="module")
def everything() -> Sample:
    return sample(CONFIGS["everything"])


@pytest.mark.parametrize("name", ["everything", "no ids", "sum", "mlp, replaced", "popularity"])
def test_an_unchanged_item_keeps_its_vectors(name: str) -> None:
    made = sample(CONFIGS[name])
    x_ND, v_NE = ItemEmbedder(made.artefact).embed(records())
    np.testing.assert_allclose(x_ND, made.encoder().item_inputs(), atol=1e-6)
    np.testing.assert_allclose(v_NE, made.encoder().items(), atol=1e-6)
    one_ND, one_NE = ItemEmbedder(made.artefact).embed(records()[7:8])
    np.testing.assert_allclose(one_ND[0], x_ND[7], atol=1e-6)
    np.testing.assert_allclose(one_NE[0], v_NE[7], atol=1e-6)


def test_it_keeps_those_of_either_head(everything: Sample) -> None:
    _, v_NE = ItemEmbedder(everything.artefact, task="engagement").embed(records())
    np.testing.assert_allclose(v_NE, everything.encoder("engagement").items(), atol=1e-6)
    assert np.abs(v_NE - everything.encoder().items()).max() > 0.1


def test_a_new_item_is_that_of_a_catalogue_with_it(everything: Sample) -> None:
    """It has no id, no events, and the share of an item without an example, as an untrained item of the catalogue has."""
    artefact = everything.artefact
    features = artefact.item_features
    # Number 33 was not trained and has no example; without its counters it is new but for its name.
    counters_IF = artefact.counters_IF.copy()
    counters_IF[33] = 0.0
    encoder = Encoder(artefact.model, features, counters_IF)
    x_ND, v_NE = ItemEmbedder(artefact).embed([replace(records()[33], item_id="new")])
    np.testing.assert_allclose(x_ND[0], encoder.item_inputs()[33], atol=1e-6)
    np.testing.assert_allclose(v_NE[0], encoder.items()[33], atol=1e-6)
    # Under its own name it keeps its counters, and a trained one keeps its id.
    _, known_NE = ItemEmbedder(artefact).embed([records()[33]])
    assert np.abs(known_NE - v_NE).max() > 1e-3
    x_3D, _ = ItemEmbedder(artefact).embed([records()[3], replace(records()[3], item_id="new")])
    assert np.abs(x_3D[0] - x_3D[1]).max() > 1e-3


CHANGES = {
    "advertiser_id": "shop3", "category_id": "all > part1", "price": 99.0, "attributes": ("colour=1",),
    "content": (9.0, 9.0, 9.0), "visual": (5.0, 5.0),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_of_a_record_changes_both_vectors(everything: Sample, name: str) -> None:
    embedder, record = ItemEmbedder(everything.artefact), records()[5]
    x_ND, v_NE = embedder.embed([record, replace(record, **{name: CHANGES[name]})])
    assert np.abs(x_ND[0] - x_ND[1]).max() > 1e-3
    assert np.abs(v_NE[0] - v_NE[1]).max() > 1e-3


def test_a_title_or_a_value_that_nobody_knows_changes_nothing(everything: Sample) -> None:
    embedder, record = ItemEmbedder(everything.artefact), records()[5]
    told = replace(
        record, title="A shoe", image_url="https://example.com/shoe.png", attributes=(*record.attributes, "?")
    )
    x_ND, _ = embedder.embed([record, told])
    np.testing.assert_array_equal(x_ND[0], x_ND[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"content": (1.0, 2.0)}, "content vector of item 'item005' has length 2, and the model reads 3"),
        ({"visual": (1.0, 2.0, 3.0)}, "visual vector of item 'item005' has length 3, and the model reads 2"),
        ({"content": (1.0, float("nan"), 0.0)}, "content vector of item 'item005' must hold finite"),
        ({"content": (1.0, 1e39, 0.0)}, "content vector of item 'item005' must hold finite"),
        ({"price": float("nan")}, "price of item 'item005' must be a number"),
        ({"price": -1.0}, "price of item 'item005' must be a number"),
        ({"item_id": 5}, "ids of this model are strings, got 5"),
    ],
)
def test_a_record_that_does_not_fit_is_named(everything: Sample, change: dict, message: str) -> None:
    good = records()
    with pytest.raises(DataError, match=message):
        ItemEmbedder(everything.artefact).embed([good[4], replace(good[5], **change)])


def test_an_empty_vector_is_none(everything: Sample) -> None:
    embedder, record = ItemEmbedder(everything.artefact), records()[5]
    x_ND, _ = embedder.embed([replace(record, content=None), replace(record, content=())])
    np.testing.assert_array_equal(x_ND[0], x_ND[1])


def test_no_records_have_no_vectors(everything: Sample) -> None:
    x_ND, v_NE = ItemEmbedder(everything.artefact).embed([])
    assert (x_ND.shape, v_NE.shape) == ((0, 12), (0, 13))
    assert len(records()) == ITEMS
    assert isinstance(everything.artefact.item_features, ItemFeatures)


def test_a_head_that_is_not_there_is_refused() -> None:
    with pytest.raises(UnavailableError, match='no head "engagement"'):
        ItemEmbedder(sample(CONFIGS["sum"]).artefact, task="engagement")
