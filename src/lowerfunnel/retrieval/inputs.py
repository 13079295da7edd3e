"""What the towers read: tensors of one batch, with every table's distinct rows listed once.

Shape letters: U distinct items of the batch, B queries, C candidates, N history entries, T attribute tokens,
F width of the content vector.
"""

from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lowerfunnel.events.timeline import Int32Array, Int64Array, ragged_index
from lowerfunnel.features.entities import ItemFeatures, UserFeatures
from lowerfunnel.features.history import Histories

BoolArray = npt.NDArray[np.bool_]
M = TypeVar("M", bound="Movable")


class Movable:
    """A dataclass of tensors (and of others of its kind) that moves to a device as one."""

    __slots__ = ()

    def to(self: M, device: torch.device) -> M:
        """Return a copy on `device`."""
        return type(self)(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True, slots=True)
class Lookup(Movable):
    """N ids of one table: its distinct rows, and each id's place among them."""

    row: Tensor
    place: Tensor

    @classmethod
    def of(cls, ids: npt.NDArray[np.integer]) -> "Lookup":
        """List the distinct rows of `ids`, which must not be negative."""
        row, place = np.unique(ids, return_inverse=True)
        return cls(row=torch.from_numpy(row.astype(np.int64)), place=torch.from_numpy(place))


@dataclass(frozen=True, kw_only=True, slots=True)
class Bag(Movable):
    """Ragged tokens of one table: token ids as a `Lookup`, and where each owner's tokens start."""

    token: Lookup
    offsets: Tensor

    @classmethod
    def of(cls, offsets_I1: Int64Array, token_T: Int32Array, owner_U: Int64Array) -> "Bag":
        """Gather the tokens of the owners `owner_U` from all owners' tokens."""
        position_N, offsets_U1 = ragged_index(offsets_I1[owner_U], offsets_I1[owner_U + 1])
        return cls(token=Lookup.of(token_T[position_N]), offsets=torch.from_numpy(offsets_U1))


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemInputs(Movable):
    """U items. `id_U` is a row of the id table, `has_id_U` 0 where that row must not be used."""

    id_U: Tensor
    has_id_U: Tensor
    advertiser: Lookup
    category: Lookup
    price_U2: Tensor
    attributes: Bag
    content_UF: Tensor
    log_share_U: Tensor

    @classmethod
    def of(cls, features: ItemFeatures, index_U: Int64Array, *, dropped_U: BoolArray | None = None) -> "ItemInputs":
        """Gather the items at `index_U`. The ids of those `dropped_U` are hidden."""
        id_U = features.id_I[index_U]
        has_id_U = id_U >= 0
        if dropped_U is not None:
            has_id_U = has_id_U & ~dropped_U
        return cls(
            id_U=torch.from_numpy(np.maximum(id_U, 0).astype(np.int64)),
            has_id_U=torch.from_numpy(has_id_U.astype(np.float32)),
            advertiser=Lookup.of(features.advertiser_I[index_U]),
            category=Lookup.of(features.category_I[index_U]),
            price_U2=torch.from_numpy(features.price_I2[index_U]),
            attributes=Bag.of(features.attribute_offsets_I1, features.attribute_T, index_U),
            content_UF=torch.from_numpy(features.content_IC[index_U]),
            log_share_U=torch.from_numpy(features.log_share_I[index_U]),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class UserInputs(Movable):
    """B queries: who asks, where, and what they did before; history items are places among the U items."""

    id: Lookup
    has_id_B: Tensor
    surface: Lookup
    attributes: Bag
    history_place_N: Tensor
    history_offsets_B1: Tensor
    history_action_N: Tensor
    history_age_N: Tensor

    @classmethod
    def of(
        cls,
        *,
        user_B: Int32Array,
        surface_B: Int32Array,
        features: UserFeatures,
        histories: Histories,
        history_place_N: npt.NDArray[np.integer],
        dropped_B: BoolArray | None = None,
    ) -> "UserInputs":
        """Gather B queries. Unknown users (-1) have neither id nor attributes."""
        known_B = user_B >= 0
        has_id_B = known_B if dropped_B is None else known_B & ~dropped_B
        row_B = np.maximum(user_B, 0).astype(np.int64)
        offsets_U1 = features.attribute_offsets_U1
        stop_B = np.where(known_B, offsets_U1[row_B + 1], offsets_U1[row_B])
        position_N, offsets_B1 = ragged_index(offsets_U1[row_B], stop_B)
        return cls(
            id=Lookup.of(row_B),
            has_id_B=torch.from_numpy(has_id_B.astype(np.float32)),
            surface=Lookup.of(surface_B),
            attributes=Bag(token=Lookup.of(features.attribute_T[position_N]), offsets=torch.from_numpy(offsets_B1)),
            history_place_N=torch.from_numpy(history_place_N.astype(np.int64)),
            history_offsets_B1=torch.from_numpy(histories.offsets_B1),
            history_action_N=torch.from_numpy(histories.action_N.astype(np.int64)),
            history_age_N=torch.from_numpy(histories.age_N.astype(np.int64)),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingBatch(Movable):
    """One batch: the items it touches, its queries, its candidates and their weights."""

    items: ItemInputs
    users: UserInputs
    candidate_C: Tensor
    """Places of the candidates among the items; the first B are the queries' positives."""
    item_C: Tensor
    user_B: Tensor
    log_q_C: Tensor
    weight_B: Tensor
    spared_item_S: Tensor
    """Items that are no negatives of their query; those of query b are ``spared_offsets_B1[b]:spared_offsets_B1[b + 1]``."""
    spared_offsets_B1: Tensor
