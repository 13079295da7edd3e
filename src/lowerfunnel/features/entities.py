"""Side features of items and users as dense arrays.

Shape letters: I items, U users, C and V widths of the content and the visual vector, T tokens (ragged over items or
users).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from safetensors.numpy import load_file, save_file

from lowerfunnel.errors import DataError
from lowerfunnel.events.timeline import Float32Array, Int32Array, Int64Array
from lowerfunnel.features.category_paths import encode_paths, path_vocabulary
from lowerfunnel.features.prices import PriceScale
from lowerfunnel.features.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureVocabularies:
    """What each categorical feature value is called; row 0 of a table is the unknown value, so codes are shifted by 1."""

    advertiser: Vocabulary
    category: Vocabulary
    category_path: Vocabulary
    item_attribute: Vocabulary
    user_attribute: Vocabulary
    surface: Vocabulary

    @classmethod
    def of(
        cls, items: pa.Table, users: pa.Table, surfaces: list[str], *, category_separator: str | None = None
    ) -> "FeatureVocabularies":
        """Collect the values that the catalogue, the users and the log hold.

        With a `category_separator`, category ids are paths such as "electronics > keyboards".
        """
        return cls(
            advertiser=Vocabulary.of(items.column("advertiser_id")),
            category=Vocabulary.of(items.column("category_id")),
            category_path=path_vocabulary(items.column("category_id"), category_separator),
            item_attribute=Vocabulary.of(_flat(items.column("attributes"))),
            user_attribute=Vocabulary.of(_flat(users.column("attributes"))),
            surface=Vocabulary.of(pa.array(surfaces, pa.string())),
        )

    def save(self, folder: Path) -> None:
        """Write one file per feature."""
        for name in self.__slots__:
            getattr(self, name).save(folder / f"{name}.parquet")

    @classmethod
    def load(cls, folder: Path) -> "FeatureVocabularies":
        """Read what `save` wrote."""
        return cls(**{name: Vocabulary.load(folder / f"{name}.parquet") for name in cls.__slots__})


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemFeatures:
    """Features of I items.

    Attributes:
        id_I: Dense item, -1 for one the model was not trained with.
        advertiser_I: Code of the advertiser, 0 unknown.
        category_I: Code of the category, 0 unknown.
        path_offsets_I1: Tokens of item i are ``path_offsets_I1[i]:path_offsets_I1[i + 1]``.
        path_T: Codes of the categories on the path to the item's own, which is the last; none without a separator.
        price_I3: What `PriceScale.scaled` says: log price, the same beside its category, and whether a price is known.
        price_bucket_I: Bucket of the price, 0 unknown.
        attribute_offsets_I1: Tokens of item i are ``attribute_offsets_I1[i]:attribute_offsets_I1[i + 1]``.
        attribute_T: Codes of the tokens; tokens the model does not know are left out.
        content_IC: Content vectors, zero where unknown; C is 0 for a catalogue without any.
        visual_IV: The same for visual vectors.
        log_share_I: Natural log of the item's share of the training examples by weight, as `log_shares` smooths it.
    """

    id_I: Int32Array
    advertiser_I: Int32Array
    category_I: Int32Array
    path_offsets_I1: Int64Array
    path_T: Int32Array
    price_I3: Float32Array
    price_bucket_I: Int32Array
    attribute_offsets_I1: Int64Array
    attribute_T: Int32Array
    content_IC: Float32Array
    visual_IV: Float32Array
    log_share_I: Float32Array

    def __len__(self) -> int:
        return len(self.id_I)

    @classmethod
    def of(
        cls,
        items: pa.Table,
        *,
        id_I: Int32Array,
        vocabularies: FeatureVocabularies,
        price_scale: PriceScale,
        content_width: int,
        visual_width: int,
        log_share_I: Float32Array,
        category_separator: str | None = None,
    ) -> "ItemFeatures":
        """Read the features of a table of items (`lowerfunnel.events.schema.item_schema`), in its order.

        Raises:
            DataError: If a content or a visual vector has another length than `content_width` or `visual_width`.
        """
        offsets_I1, token_T = _tokens(items.column("attributes"), vocabularies.item_attribute)
        path_offsets_I1, path_T = encode_paths(
            items.column("category_id"), vocabularies.category_path, category_separator
        )
        return cls(
            id_I=id_I,
            advertiser_I=vocabularies.advertiser.encode(items.column("advertiser_id")) + np.int32(1),
            category_I=vocabularies.category.encode(items.column("category_id")) + np.int32(1),
            path_offsets_I1=path_offsets_I1,
            path_T=path_T,
            price_I3=price_scale.scaled(items),
            price_bucket_I=price_scale.buckets(items),
            attribute_offsets_I1=offsets_I1,
            attribute_T=token_T,
            content_IC=_vectors(items, "content", content_width),
            visual_IV=_vectors(items, "visual", visual_width),
            log_share_I=log_share_I,
        )

    def described(self) -> npt.NDArray[np.bool_]:
        """Tell, per item, whether anything is known of it beside its id."""
        described_I = (self.advertiser_I > 0) | (self.category_I > 0) | (self.price_bucket_I > 0)
        described_I |= (np.diff(self.attribute_offsets_I1) > 0) | (np.diff(self.path_offsets_I1) > 0)
        described_I |= (self.content_IC != 0).any(axis=1) | (self.visual_IV != 0).any(axis=1)
        return described_I

    def save(self, path: Path) -> None:
        """Write the arrays to one safetensors file."""
        save_file({name: np.ascontiguousarray(getattr(self, name)) for name in self.__slots__}, path)

    @classmethod
    def load(cls, path: Path) -> "ItemFeatures":
        """Read what `save` wrote."""
        return cls(**load_file(path))


@dataclass(frozen=True, kw_only=True, slots=True)
class UserFeatures:
    """Features of U users: their attribute tokens, ragged as in `ItemFeatures`."""

    attribute_offsets_U1: Int64Array
    attribute_T: Int32Array

    def __len__(self) -> int:
        return len(self.attribute_offsets_U1) - 1

    @classmethod
    def of(cls, users: pa.Table, *, vocabularies: FeatureVocabularies) -> "UserFeatures":
        """Read the features of a table of users, in its order."""
        offsets_U1, token_T = _tokens(users.column("attributes"), vocabularies.user_attribute)
        return cls(attribute_offsets_U1=offsets_U1, attribute_T=token_T)

    def save(self, path: Path) -> None:
        """Write the arrays to one safetensors file."""
        save_file({name: np.ascontiguousarray(getattr(self, name)) for name in self.__slots__}, path)

    @classmethod
    def load(cls, path: Path) -> "UserFeatures":
        """Read what `save` wrote."""
        return cls(**load_file(path))


def log_shares(item_X: Int32Array, weight_X: Float32Array, *, items: int) -> Float32Array:
    """Return the natural log of each item's share of the examples by weight, one example added for every item.

    The one is of mean weight, and keeps an item without an example at a finite distance below one that has a single one.
    """
    total_I = np.bincount(item_X, weights=weight_X, minlength=items)
    mean = float(weight_X.mean()) if len(weight_X) else 1.0
    log_share_I: Float32Array = np.log((total_I + mean) / (total_I.sum() + mean * items)).astype(np.float32)
    return log_share_I


def content_width(items: pa.Table) -> int:
    """Return the length of the catalogue's content vectors, 0 if it has none."""
    return _width(items, "content")


def visual_width(items: pa.Table) -> int:
    """Return the length of the catalogue's visual vectors, 0 if it has none."""
    return _width(items, "visual")


def _width(items: pa.Table, column: str) -> int:
    length = pc.max(pc.list_value_length(items.column(column))).as_py()
    return int(length or 0)


def _flat(lists: pa.ChunkedArray) -> pa.Array:
    flat = pc.list_flatten(lists)
    return flat.combine_chunks() if isinstance(flat, pa.ChunkedArray) else flat


def _tokens(lists: pa.ChunkedArray, vocabulary: Vocabulary) -> tuple[Int64Array, Int32Array]:
    length_I = pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype(np.int64)
    token_T = vocabulary.encode(_flat(lists))
    known_T = token_T >= 0
    owner_T = np.repeat(np.arange(len(length_I)), length_I)[known_T]
    offsets_I1 = np.zeros(len(length_I) + 1, np.int64)
    np.cumsum(np.bincount(owner_T, minlength=len(length_I)), out=offsets_I1[1:])
    return offsets_I1, token_T[known_T]


def _vectors(items: pa.Table, column: str, width: int) -> Float32Array:
    lists = items.column(column)
    vector_IW = np.zeros((len(lists), width), np.float32)
    length_I = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    known_I = length_I > 0
    if not known_I.any():
        return vector_IW
    if (length_I[known_I] != width).any():
        odd = sorted({int(length) for length in length_I[known_I]} - {width})
        raise DataError(f"{column} vectors must all have length {width}, some have {odd}")
    vector_IW[known_I] = _flat(lists).to_numpy(zero_copy_only=False).reshape(-1, width)
    if not np.isfinite(vector_IW).all():
        raise DataError(f"{column} vectors must be finite, some hold NaN or infinity")
    return vector_IW
