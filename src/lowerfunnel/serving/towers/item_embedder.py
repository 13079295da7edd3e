"""Vectors of new and changed items, by the code that makes those of the catalogue.

Shape letters: N items, I items of the catalogue, D width of the towers, E width of their vectors, F width of a feature
vector.
"""

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch

from lowerfunnel.errors import DataError
from lowerfunnel.events.timeline import Float32Array
from lowerfunnel.features.entities import ItemFeatures
from lowerfunnel.retrieval.artefact import ModelArtefact
from lowerfunnel.retrieval.inputs import ItemInputs
from lowerfunnel.retrieval.two_tower import SERVED
from lowerfunnel.serving.records import ItemRecord
from lowerfunnel.serving.source_ids import SourceIds

_LARGEST = float(np.finfo(np.float32).max)


class ItemEmbedder:
    """Turns records of items into what they are in a history and what they are found by. May be called from many threads.

    An item of the catalogue keeps what was learned of it beside its record: its id embedding, if it has one, its share of
    the examples, and how it had performed. A new one has no embedding and no events, and the share of an item without an
    example: the least of the catalogue, as nearly every catalogue has such an item; where every item has an example, it is
    that of the one that counts least.

    Args:
        artefact: The model.
        task: The head whose vectors are made.

    Raises:
        UnavailableError: If the model has no such head.
    """

    def __init__(self, artefact: ModelArtefact, *, task: str = SERVED) -> None:
        artefact.model.require_head(task)
        self._artefact, self._task = artefact, task
        self._places = SourceIds(artefact.items.ids)
        features = artefact.item_features
        self._widths = {"content": features.content_IC.shape[1], "visual": features.visual_IV.shape[1]}
        self._least_log_share = float(features.log_share_I.min(initial=0.0))

    def embed(self, records: Sequence[ItemRecord]) -> tuple[Float32Array, Float32Array]:
        """Return the items' inputs and vectors, [N, D] and [N, E].

        Raises:
            DataError: If an id is of another type than the model's, a price is no number above 0 or 0, or a vector is of
                another length than the model's or not finite; it names the item.
        """
        artefact, width = self._artefact, self._artefact.config.tower
        if not records:
            return np.zeros((0, width.width), np.float32), np.zeros((0, width.vector_width), np.float32)
        for record in records:
            self._require_usable(record)
        place_N = np.array([self._places.place_of_own_type(record.item_id) for record in records], np.int64)
        known_N, row_N = place_N >= 0, np.maximum(place_N, 0)
        catalogue = artefact.item_features
        features = ItemFeatures.of(
            _table(records),
            id_I=np.where(known_N, catalogue.id_I[row_N], -1).astype(np.int32),
            vocabularies=artefact.vocabularies,
            price_scale=artefact.price_scale,
            content_width=self._widths["content"],
            visual_width=self._widths["visual"],
            log_share_I=np.where(known_N, catalogue.log_share_I[row_N], self._least_log_share).astype(np.float32),
            category_separator=width.category_separator,
        )
        counters_NF = np.where(known_N[:, None], artefact.counters_IF[row_N], 0.0).astype(np.float32)
        device = artefact.model.user_parts.anyone.device
        with torch.no_grad():
            x_ND, v_NE = artefact.model.encode_items(
                ItemInputs.of(features, np.arange(len(records))).to(device),
                torch.from_numpy(counters_NF).to(device),
                task=self._task,
            )
        return x_ND.cpu().numpy(), v_NE.cpu().numpy()

    def _require_usable(self, record: ItemRecord) -> None:
        if record.price is not None and not (math.isfinite(record.price) and record.price >= 0):
            raise DataError(
                f"the price of item {record.item_id!r} must be a number of at least 0, got {record.price}; leave out a "
                "price that is not known"
            )
        for name, vector in (("content", record.content), ("visual", record.visual)):
            if not vector:
                continue
            if len(vector) != self._widths[name]:
                raise DataError(
                    f"the {name} vector of item {record.item_id!r} has length {len(vector)}, and the model reads "
                    f"{self._widths[name] or 'none'}; send one as the catalogue that it was trained on"
                )
            if not all(abs(value) <= _LARGEST for value in vector):
                raise DataError(
                    f"the {name} vector of item {record.item_id!r} must hold finite 32-bit numbers, and some value is NaN, "
                    "infinite or too large"
                )


def _table(records: Sequence[ItemRecord]) -> pa.Table:
    """Return the records as the columns that `ItemFeatures.of` reads."""
    return pa.table(
        {
            "advertiser_id": pa.array([record.advertiser_id for record in records], pa.string()),
            "category_id": pa.array([record.category_id for record in records], pa.string()),
            "price": pa.array([record.price for record in records], pa.float64()),
            "attributes": pa.array([record.attributes for record in records], pa.list_(pa.string())),
            "content": pa.array([record.content for record in records], pa.list_(pa.float32())),
            "visual": pa.array([record.visual for record in records], pa.list_(pa.float32())),
        }
    )
