"""What the towers read: tensors of one batch, with every table's distinct rows listed once.

Shape letters: U distinct items of the batch, B examples, R distinct requests, C candidates, N history entries, T tokens,
F width of a feature vector, S items that requests are spared.
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
from lowerfunnel.features.requests import Requests

BoolArray = npt.NDArray[np.bool_]
Float32Array = npt.NDArray[np.float32]
M = TypeVar("M", bound="Movable")


class Movable:
    """A dataclass of tensors (and of others of its kind) that moves to a device as one."""

    __slots__ = ()

    def to(self: M, device: torch.device) -> M:
        """Return a copy on `device`."""
        moved = {}
        for f in fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            moved[f.name] = value.to(device) if isinstance(value, Tensor | Movable) else value
        return type(self)(**moved)


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
        """Gather the tokens of the owners `owner_U` from all owners' tokens; an owner of -1 has none."""
        row_U = np.maximum(owner_U, 0)
        stop_U = np.where(owner_U >= 0, offsets_I1[row_U + 1], offsets_I1[row_U])
        position_N, offsets_U1 = ragged_index(offsets_I1[row_U], stop_U)
        return cls(token=Lookup.of(token_T[position_N]), offsets=torch.from_numpy(offsets_U1))


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemInputs(Movable):
    """U items. `id_U` is a row of the id table, `has_id_U` 0 where that row must not be used."""

    id_U: Tensor
    has_id_U: Tensor
    advertiser: Lookup
    category: Lookup
    path: Bag
    price_U3: Tensor
    price_bucket: Lookup
    attributes: Bag
    content_UF: Tensor
    visual_UF: Tensor
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
            path=Bag.of(features.path_offsets_I1, features.path_T, index_U),
            price_U3=torch.from_numpy(features.price_I3[index_U]),
            price_bucket=Lookup.of(features.price_bucket_I[index_U]),
            attributes=Bag.of(features.attribute_offsets_I1, features.attribute_T, index_U),
            content_UF=torch.from_numpy(features.content_IC[index_U]),
            visual_UF=torch.from_numpy(features.visual_IV[index_U]),
            log_share_U=torch.from_numpy(features.log_share_I[index_U]),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryInputs(Movable):
    """What R users did before their requests; items are places among the U items of the batch."""

    place_N: Tensor
    offsets_R1: Tensor
    action_N: Tensor
    age_N: Tensor
    surface_N: Tensor
    dwell_s_N: Tensor
    """Seconds, NaN where unknown."""
    back_N: Tensor

    @classmethod
    def of(cls, histories: Histories, place_N: npt.NDArray[np.integer]) -> "HistoryInputs":
        """Take over gathered histories."""

        def whole(array: npt.NDArray[np.integer]) -> Tensor:
            return torch.from_numpy(array.astype(np.int64))

        return cls(
            place_N=whole(place_N),
            offsets_R1=torch.from_numpy(histories.offsets_B1),
            action_N=whole(histories.action_N),
            age_N=whole(histories.age_N),
            surface_N=whole(histories.surface_N),
            dwell_s_N=torch.from_numpy(histories.dwell_N),
            back_N=whole(histories.back_N),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class UserInputs(Movable):
    """R requests: who asks, what they did before, and what is known of the request."""

    id: Lookup
    has_id_R: Tensor
    attributes: Bag
    history: HistoryInputs
    activity_RF: Tensor
    surface: Lookup
    subject_place_R: Tensor
    """Place of the subject item among the U items; 0 where there is none."""
    has_subject_R: Tensor
    query: Bag

    @classmethod
    def of(
        cls,
        *,
        user_R: Int32Array,
        features: UserFeatures,
        history: HistoryInputs,
        activity_RF: Float32Array,
        requests: Requests,
        place_I: npt.NDArray[np.integer] | None = None,
        dropped_R: BoolArray | None = None,
    ) -> "UserInputs":
        """Gather R requests. Unknown users (-1) have neither id nor attributes.

        `place_I` maps a subject item to its place; without it an item is its own place.
        """
        known_R = user_R >= 0
        has_id_R = known_R if dropped_R is None else known_R & ~dropped_R
        subject_R = np.maximum(requests.subject_R, 0).astype(np.int64)
        return cls(
            id=Lookup.of(np.maximum(user_R, 0).astype(np.int64)),
            has_id_R=torch.from_numpy(has_id_R.astype(np.float32)),
            attributes=Bag.of(features.attribute_offsets_U1, features.attribute_T, user_R.astype(np.int64)),
            history=history,
            activity_RF=torch.from_numpy(activity_RF),
            surface=Lookup.of(requests.surface_R),
            subject_place_R=torch.from_numpy(
                np.where(requests.subject_R >= 0, subject_R if place_I is None else place_I[subject_R], 0)
            ),
            has_subject_R=torch.from_numpy((requests.subject_R >= 0).astype(np.float32)),
            query=Bag(token=Lookup.of(requests.word_T), offsets=torch.from_numpy(requests.word_offsets_R1)),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingBatch(Movable):
    """One batch: the items it touches, its requests, its candidates and their weights.

    The first B candidates are the examples' positives, then come those that the whole batch shares (uniform and hard
    negatives), then those that single requests see alone.
    """

    items: ItemInputs
    users: UserInputs
    row_B: Tensor
    """Request of each example."""
    user_R: Tensor
    weight_B: Tensor
    task_B: Tensor
    """0 for a conversion, 1 for an engagement."""
    candidate_C: Tensor
    """Places of the candidates among the items."""
    item_C: Tensor
    counters_CF: Tensor
    """How each candidate had performed before the day of its example."""
    group_C: Tensor
    """Advertiser (or what `group_loss.by` names) of each candidate, -1 unknown."""
    log_q_C: Tensor
    """Log of the expected draws of each candidate, by the counted estimate."""
    other_draws_C: Tensor
    """Expected draws of each shared candidate as anything but a positive, for the streaming estimate."""
    shared: int
    """Candidates that the whole batch sees."""
    own_place_N: Tensor
    own_offsets_R1: Tensor
    """Candidates that single requests see alone."""
    spared_item_S: Tensor
    spared_offsets_R1: Tensor
    """Items that are no negatives of single requests."""
