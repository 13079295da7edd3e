"""What items are grouped by in the advertiser-level loss.

Shape letters: I items, T attribute tokens.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lowerfunnel.errors import UnavailableError
from lowerfunnel.events.timeline import Int32Array
from lowerfunnel.features.entities import FeatureVocabularies, ItemFeatures


def groups_of(items: ItemFeatures, vocabularies: FeatureVocabularies, by: str) -> Int32Array:
    """Return the group of each item, from 0 without gaps, -1 for an item without one.

    `by` is "advertiser", "category", or the name of an attribute: the first token "name=value" of an item counts.

    Raises:
        UnavailableError: If no item has such a group.
    """
    if by == "advertiser":
        group_I = items.advertiser_I - np.int32(1)
    elif by == "category":
        group_I = items.category_I - np.int32(1)
    else:
        group_I = _attribute(items, vocabularies, f"{by}=")
    if not (group_I >= 0).any():
        column = {"advertiser": "advertiser_id", "category": "category_id"}.get(by, "attributes")
        raise UnavailableError(
            f'retrieval.group_loss groups items by "{by}", and no item of this log has one (column {column}); '
            'map the column, set retrieval.group_loss.by to "advertiser", "category" or the name of an attribute, or '
            "retrieval.group_loss.weight to 0"
        )
    return group_I


def _attribute(items: ItemFeatures, vocabularies: FeatureVocabularies, prefix: str) -> Int32Array:
    tokens: pa.Array = vocabularies.item_attribute.ids.cast(pa.string())
    matches = pc.starts_with(tokens, prefix).to_numpy(zero_copy_only=False).astype(np.bool_)
    value_of_token = np.where(matches, np.cumsum(matches) - 1, -1).astype(np.int32)
    value_T = value_of_token[items.attribute_T] if len(items.attribute_T) else np.zeros(0, np.int32)
    owner_T = np.repeat(np.arange(len(items)), np.diff(items.attribute_offsets_I1))
    group_I = np.full(len(items), -1, np.int32)
    # The first token of an item is written last.
    known_T = np.flatnonzero(value_T >= 0)[::-1]
    group_I[owner_T[known_T]] = value_T[known_T]
    return group_I
