"""What items are grouped by, on a catalogue small enough to read."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from tests.retrieval.retrieval_samples import GROUPS, PER_GROUP, Sample, item_name

from lowerfunnel.errors import UnavailableError
from lowerfunnel.retrieval.groups import groups_of

NUMBERS = [(group, number) for group in range(GROUPS) for number in range(PER_GROUP + 1)]


def groups(sample: Sample, by: str) -> dict[str, int]:
    corpus = sample.corpus
    found = groups_of(corpus.item_features, corpus.vocabularies, by)
    return dict(zip(corpus.items.ids.to_pylist(), found.tolist(), strict=True))


@pytest.mark.parametrize("by", ["advertiser", "category", "colour"])
def test_items_are_grouped_by_what_the_catalogue_says(tastes: Sample, by: str) -> None:
    # Odd items have no advertiser, and every third one no colour.
    value = {
        "advertiser": {(g, n): g if n % 2 == 0 else None for g, n in NUMBERS},
        "category": {(g, n): g for g, n in NUMBERS},
        "colour": {(g, n): n % 3 or None for g, n in NUMBERS},
    }[by]
    found = groups(tastes, by)
    for one in NUMBERS:
        assert (found[item_name(*one)] == -1) == (value[one] is None)
        for other in NUMBERS:
            together = found[item_name(*one)] == found[item_name(*other)]
            assert together == (value[one] == value[other])
    known = {place for place in found.values() if place >= 0}
    assert known == set(range(len(known)))
    assert found["late"] == -1, "nothing but its id is known of it"


def test_of_several_attributes_of_one_name_the_first_counts(tastes: Sample) -> None:
    corpus = tastes.corpus
    attribute = type(corpus.items)(pa.array(["brand=a", "brand=b", "brandy=c", "new"]))
    vocabularies = replace(corpus.vocabularies, item_attribute=attribute)
    tokens = [[3, 1, 0], [2], [0], [1, 0]] + [[]] * (len(corpus.items) - 4)
    items = replace(
        corpus.item_features,
        attribute_offsets_I1=np.concatenate([[0], np.cumsum([len(own) for own in tokens])]).astype(np.int64),
        attribute_T=np.array([token for own in tokens for token in own], np.int32),
    )
    assert groups_of(items, vocabularies, "brand")[:5].tolist() == [1, -1, 0, 1, -1]
    assert groups_of(items, vocabularies, "brandy")[:5].tolist() == [-1, 0, -1, -1, -1]


@pytest.mark.parametrize(
    ("by", "column"), [("advertiser", "advertiser_id"), ("category", "category_id"), ("brand", "attributes")]
)
def test_a_catalogue_without_groups_names_the_setting_the_column_and_the_remedy(
    tastes: Sample, by: str, column: str
) -> None:
    features = tastes.corpus.item_features
    nothing = np.zeros(len(features), np.int32)
    bare = replace(features, advertiser_I=nothing, category_I=nothing)
    sentence = (
        rf'retrieval\.group_loss groups items by "{by}", .* \(column {column}\); .* retrieval\.group_loss\.weight to 0'
    )
    with pytest.raises(UnavailableError, match=sentence):
        groups_of(bare, tastes.corpus.vocabularies, by)
