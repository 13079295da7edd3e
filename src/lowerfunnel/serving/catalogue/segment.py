"""A segment: items that are searched together, what they are, and which of them may come back.

A served version has one large segment that never changes, and a small one of the items that were put since, which is
built anew at each change. An item that was put again or deleted is removed from the segment that held it before.

Shape letters: I items, W words of 64 items, N places.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from lowerfunnel.events.schema import IdType
from lowerfunnel.index.allowed import Allowed
from lowerfunnel.index.ranking import Int32Array, Int64Array
from lowerfunnel.serving.catalogue.eligibility import Eligibility
from lowerfunnel.serving.catalogue.item_columns import ItemColumns, word_bits
from lowerfunnel.serving.catalogue.item_table import read_item_file, table_of_records
from lowerfunnel.serving.catalogue.matching import Matching
from lowerfunnel.serving.records import ItemRecord
from lowerfunnel.serving.requests import Filters, Id
from lowerfunnel.serving.service import ItemView


class CatalogueSegment:
    """Items by their place, 0..I - 1. What they are never changes; what is eligible does, at any time.

    Attributes:
        columns: The items.
        eligibility: What may be served at the moment; attach it to an `EligibilityState` before the segment is served.
    """

    def __init__(self, columns: ItemColumns, *, cache_bytes: int = 64 << 20) -> None:
        """Take over columns.

        Args:
            columns: The items.
            cache_bytes: Room for the answers to filters that come again and again.
        """
        self.columns = columns
        self.eligibility = Eligibility(columns)
        self._matching = Matching(columns, cache_bytes=cache_bytes)

    @classmethod
    def of(cls, items: pa.Table) -> "CatalogueSegment":
        """Build a segment of an item table (`item_schema`, and `image_url` if there is one); places are its rows.

        Raises:
            DataError: If a column is missing or of another type, or an id is null or comes twice.
        """
        return cls(ItemColumns.of(items))

    @classmethod
    def of_records(cls, records: Sequence[ItemRecord], item_type: IdType) -> "CatalogueSegment":
        """Build a segment of records; places are their positions.

        Raises:
            DataError: If an id is of another type or comes twice.
        """
        return cls.of(table_of_records(records, item_type))

    @classmethod
    def load(cls, path: Path) -> "CatalogueSegment":
        """Build a segment of what `write_item_file` wrote.

        Raises:
            DataError: If the file cannot be used.
        """
        return cls.of(read_item_file(path))

    @property
    def items(self) -> int:
        """How many items there are, removed ones included."""
        return self.columns.items

    def place_of(self, item_id: Id) -> int:
        """Return the place of an item, -1 where it is not here."""
        return self.columns.ids.place(item_id)

    def places_of(self, item_ids: Collection[Id]) -> Int64Array:
        """Return the place of each item, -1 where it is not here."""
        return self.columns.ids.places(item_ids)

    def ids_of(self, place_N: Int32Array | Int64Array) -> list[Id]:
        """Return the ids of the items at some places."""
        return self.columns.ids.at(place_N)

    def views(self, place_N: Int32Array | Int64Array) -> list[ItemView]:
        """Return the items at some places as a person sees them."""
        return self.columns.views(place_N)

    def advertiser_of(self, place_N: Int32Array | Int64Array) -> Int32Array:
        """Return the code of each item's advertiser in this segment, -1 where it has none."""
        code_N: Int32Array = self.columns.advertiser_I[place_N]
        return code_N

    def advertiser_codes_in(self, other: "CatalogueSegment") -> Int32Array:
        """Return, by the codes of this segment, codes that mean the same advertiser in both segments.

        That is the code in `other`; an advertiser that it lacks gets a number past its codes. So one cap counts the items
        of both segments: ``delta.advertiser_codes_in(main)[delta.advertiser_of(place_N)]``. The last element is -1, so
        that an item without an advertiser (-1) stays one.
        """
        own, others = self.columns.advertisers.names, other.columns.advertisers.names
        code_V = others.places(own.at(np.arange(len(own))))
        past_V = len(others) + np.arange(len(own))
        return np.append(np.where(code_V >= 0, code_V, past_V), -1).astype(np.int32)

    def matching(self, filters: Filters) -> Allowed:
        """Return the items that pass the filters, eligible or not; see `Matching.matching`."""
        return self._matching.matching(filters)

    def allowed(self, filters: Filters, *, excluded: Int32Array | Int64Array | None = None) -> Allowed:
        """Return the items that pass the filters, are eligible at this moment, and are not excluded.

        Args:
            filters: What a request wants.
            excluded: Places that must not come back, such as what the user has bought; -1 excludes nothing.
        """
        passing = self._matching.without_items(filters)
        word_W = passing.word_W & self.eligibility.words()
        self._matching.keep_listed(word_W, filters.items)
        if excluded is not None and len(excluded):
            word_N, bit_N = word_bits(excluded[excluded >= 0])
            np.bitwise_and.at(word_W, word_N, ~bit_N)
        return Allowed.of_words(word_W, items=self.items, within_S=passing.within_S)
