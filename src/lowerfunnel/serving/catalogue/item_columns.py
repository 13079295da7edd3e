"""The items of a segment as arrays that filters can use.

Shape letters: I items, N places, T attribute tokens of all items.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lowerfunnel.errors import DataError
from lowerfunnel.events.schema import IdType
from lowerfunnel.index.allowed import Words
from lowerfunnel.index.ranking import Int32Array, Int64Array
from lowerfunnel.serving.catalogue.item_table import item_type_of, served_columns
from lowerfunnel.serving.catalogue.postings import Postings, encoded
from lowerfunnel.serving.service import ItemView
from lowerfunnel.serving.source_ids import SourceIds

_COUNTRY = "country="
_LARGEST_SEGMENT = 2**31 - 1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ItemColumns:
    """The items of a segment, column by column. Never changed after it was made.

    Attributes:
        item_type: Type of the item ids.
        ids: Item ids.
        advertiser_I: Code of each item's advertiser, -1 where it has none; advertisers and categories are coded as in
            their postings.
        price_I: NaN where an item has none.
        country_codes: Attribute codes by lower-case country; "de" for "country=DE" and "Country=de".
    """

    item_type: IdType
    ids: SourceIds
    advertiser_I: Int32Array
    advertisers: Postings
    category_I: Int32Array
    categories: Postings
    attributes: Postings
    country_codes: dict[str, list[int]]
    price_I: npt.NDArray[np.float64]
    currency: Any
    title: Any
    image_url: Any

    @classmethod
    def of(cls, items: pa.Table) -> "ItemColumns":
        """Build the columns of an item table; the place of an item is its row.

        Raises:
            DataError: If a column is missing or of another type, or an id is null or comes twice.
        """
        items = served_columns(items)
        if items.num_rows > _LARGEST_SEGMENT:
            raise DataError(f"a segment holds at most {_LARGEST_SEGMENT} items, got {items.num_rows}; split it")
        rows = items.num_rows
        every_I = np.arange(rows, dtype=np.int32)
        advertiser_I, advertiser_names = encoded(items["advertiser_id"], what="advertiser_id")
        category_I, category_names = encoded(items["category_id"], what="category_id")
        attribute_T, attribute_names, item_T = _tokens(items["attributes"])
        return cls(
            item_type=item_type_of(items),
            ids=SourceIds(_joined(items["item_id"])),
            advertiser_I=advertiser_I,
            advertisers=Postings.of(advertiser_names, advertiser_I, every_I, items=rows),
            category_I=category_I,
            categories=Postings.of(category_names, category_I, every_I, items=rows),
            attributes=Postings.of(attribute_names, attribute_T, item_T, items=rows),
            country_codes=_countries(attribute_names),
            price_I=_joined(items["price"]).fill_null(np.nan).to_numpy(zero_copy_only=False),
            currency=_dictionary(items["currency"]),
            # Offsets of 64 bits: the titles of some ten million items pass two gigabytes.
            title=_joined(items["title"].cast(pa.large_string())),
            image_url=_joined(items["image_url"].cast(pa.large_string())),
        )

    @property
    def items(self) -> int:
        """How many items there are, I."""
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        """Bytes that the arrays take."""
        arrays = (self.advertiser_I, self.category_I, self.price_I, self.currency, self.title, self.image_url)
        parts = (self.ids, self.advertisers, self.categories, self.attributes)
        return sum(int(array.nbytes) for array in arrays) + sum(part.nbytes for part in parts)

    def views(self, place_N: Int32Array | Int64Array) -> list[ItemView]:
        """Return the items at some places as a person sees them."""
        place_N = np.asarray(place_N, np.int64)
        price_N = self.price_I[place_N].tolist()
        taken = pa.array(place_N)
        columns = zip(
            self.ids.at(place_N),
            self.title.take(taken).to_pylist(),
            [None if price != price else price for price in price_N],  # noqa: PLR0124  NaN stands for none
            self.currency.take(taken).to_pylist(),
            _names_at(self.advertisers, self.advertiser_I[place_N]),
            _names_at(self.categories, self.category_I[place_N]),
            self.image_url.take(taken).to_pylist(),
            strict=True,
        )
        return [
            ItemView(
                item_id=item_id, title=title, price=price, currency=currency, advertiser_id=advertiser,
                category_id=category, image_url=image_url,
            )
            for item_id, title, price, currency, advertiser, category, image_url in columns
        ]  # fmt: skip

    def sold_anywhere(self) -> npt.NDArray[np.bool_]:
        """Return a mask of the items that are not bound to any country, [I]."""
        anywhere_I = np.ones(self.items, np.bool_)
        for codes in self.country_codes.values():
            for place_N in self.attributes.of_codes(np.array(codes, np.int64)):
                anywhere_I[place_N] = False
        return anywhere_I


def word_bits(place_N: Int32Array | Int64Array) -> tuple[npt.NDArray[np.int64], Words]:
    """Return for each place its word in a set of items (see `Allowed`), and its bit in that word."""
    wide_N = np.asarray(place_N, np.int64)
    return wide_N >> 6, np.uint64(1) << (wide_N & 63).astype(np.uint64)


def _tokens(column: pa.ChunkedArray) -> tuple[Int32Array, SourceIds, Int64Array]:
    """Return the code of every attribute of every item, the attributes by their codes, and the item of each."""
    flat, parents, before = [], [], 0
    for chunk in column.chunks:
        flat.append(chunk.flatten())
        parents.append(pc.list_parent_indices(chunk).to_numpy(zero_copy_only=False).astype(np.int64) + before)
        before += len(chunk)
    tokens = pa.chunked_array(flat, column.type.value_type)
    code_T, names = encoded(tokens, what="attributes")
    item_T = np.concatenate(parents) if parents else np.zeros(0, np.int64)
    return code_T, names, item_T


def _countries(names: SourceIds) -> dict[str, list[int]]:
    lower = pc.utf8_lower(names.array)
    codes: dict[str, list[int]] = {}
    code_N = np.flatnonzero(pc.starts_with(lower, _COUNTRY).to_numpy(zero_copy_only=False))
    for code, token in zip(code_N.tolist(), lower.take(pa.array(code_N)).to_pylist(), strict=True):
        codes.setdefault(token.removeprefix(_COUNTRY), []).append(code)
    return codes


def _names_at(postings: Postings, code_N: Int32Array) -> list[str | None]:
    names: list[str | None] = postings.names.array.take(pa.array(code_N, mask=code_N < 0)).to_pylist()
    return names


def _dictionary(column: pa.ChunkedArray) -> Any:
    encoded_column = column if pa.types.is_dictionary(column.type) else pc.dictionary_encode(column)
    return _joined(encoded_column.unify_dictionaries())


def _joined(column: pa.ChunkedArray) -> Any:
    """Return a column as one array."""
    if column.num_chunks == 1:
        return column.chunk(0)
    joined = column.combine_chunks()
    if isinstance(joined, pa.ChunkedArray):
        return joined.chunk(0) if joined.num_chunks else pa.array([], column.type)
    return joined
