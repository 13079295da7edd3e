"""Which items have a value: the places of every value, ascending, as one compressed sparse row structure.

Shape letters: I items, V values, P (value, item) pairs, N rows that came, S values to look up.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lowerfunnel.index.ranking import Int32Array, Int64Array
from lowerfunnel.serving.requests import Id
from lowerfunnel.serving.source_ids import SourceIds

BoolArray = npt.NDArray[np.bool_]

_SLICED_VALUES = 256
"""Up to so many values are taken slice by slice; more of them by one gather, whose cost per value is lower."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Postings:
    """The items of each value.

    Attributes:
        items: Size of the catalogue, I.
        names: The V values.
        offset_V1: Items of value v are ``place_P[offset_V1[v]:offset_V1[v + 1]]``.
        place_P: Places, ascending and distinct within a value.
    """

    items: int
    names: SourceIds
    offset_V1: Int64Array
    place_P: Int32Array

    @classmethod
    def of(cls, names: SourceIds, code_N: Int32Array, row_N: Int32Array | Int64Array, *, items: int) -> "Postings":
        """Sort (value, item) pairs by value; pairs without a value (-1) are left out, repeats count once."""
        key_N = (code_N.astype(np.int64) << 32) | row_N
        key_P = key_N[code_N >= 0]
        key_P.sort()
        if len(key_P):
            key_P = key_P[np.concatenate([[True], key_P[1:] != key_P[:-1]])]
        offset_V1 = np.zeros(len(names) + 1, np.int64)
        np.cumsum(np.bincount(key_P >> 32, minlength=len(names)), out=offset_V1[1:])
        place_P = (key_P & 0xFFFFFFFF).astype(np.int32)
        return cls(items=items, names=names, offset_V1=offset_V1, place_P=place_P)

    @property
    def nbytes(self) -> int:
        """Bytes that the postings take, their names included."""
        return self.names.nbytes + self.offset_V1.nbytes + self.place_P.nbytes

    def of_code(self, code: int) -> Int32Array:
        """Return the places of one value, ascending; a view."""
        return self.place_P[self.offset_V1[code] : self.offset_V1[code + 1]]

    def of_codes(self, code_S: Int64Array) -> list[Int32Array]:
        """Return the places of some values, in a few pieces: what an index into the items can use one after another."""
        if len(code_S) <= _SLICED_VALUES:
            return [self.of_code(code) for code in code_S.tolist()]
        count_S = self.offset_V1[code_S + 1] - self.offset_V1[code_S]
        before_S = np.cumsum(count_S) - count_S
        position = np.arange(int(count_S.sum())) + np.repeat(self.offset_V1[code_S] - before_S, count_S)
        return [self.place_P[position]]

    def codes(self, values: Collection[Id]) -> Int64Array:
        """Return the codes of those of the values that any item has."""
        code_S = self.names.places(values)
        return code_S[code_S >= 0]

    def put(self, mask_I: BoolArray, values: Collection[Id], *, to: bool) -> None:
        """Set the mask to `to` at every item that has one of the values."""
        for place_N in self.of_codes(self.codes(values)):
            mask_I[place_N] = to

    def has(self, value: str, place_N: Int64Array) -> BoolArray:
        """Tell of some items whether they have a value."""
        return self.has_code(self.names.place(value), place_N)

    def has_code(self, code: int, place_N: Int64Array) -> BoolArray:
        """Tell of some items whether they have the value of a code; -1 is no value."""
        held_P = self.of_code(code) if code >= 0 else self.place_P[:0]
        if not len(held_P):
            return np.zeros(len(place_N), np.bool_)
        rank_N = np.minimum(held_P.searchsorted(place_N), len(held_P) - 1)
        found_N: BoolArray = held_P[rank_N] == place_N
        return found_N


def encoded(column: pa.ChunkedArray, *, what: str) -> tuple[Int32Array, SourceIds]:
    """Return the code of each string of a column, -1 where it is null, and the strings by their codes."""
    if not pa.types.is_dictionary(column.type):
        column = pc.dictionary_encode(column)
    joined = column.unify_dictionaries().combine_chunks()
    if isinstance(joined, pa.ChunkedArray):  # of a column without chunks
        joined = joined.chunk(0) if joined.num_chunks else pa.array([], column.type)
    code_N: Int32Array = joined.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    names = joined.dictionary.cast(pa.string())
    return code_N, SourceIds(names, what=what)
