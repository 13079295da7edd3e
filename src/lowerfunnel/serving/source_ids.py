"""Source ids by place and places by source id, for a million ids without a million Python objects.

A dict of a million strings takes about 150 MB. Here the ids stay in one Arrow array, and beside it lie their 64-bit hashes
in ascending order (12 bytes an id): a look-up is a binary search among the hashes, checked against the id itself.
Integers are their own hashes. The hashes are Python's, salted per process, so nobody outside can choose ids that collide;
they are never stored.

Shape letters: I ids, N ids or places to look up.
"""

from collections.abc import Collection
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lowerfunnel.errors import DataError
from lowerfunnel.index.ranking import Int32Array, Int64Array
from lowerfunnel.serving.requests import Id

_INT64 = np.iinfo(np.int64)
_HASHED_AT_ONCE = 65_536
_FEW_LOOK_UPS = 256


class SourceIds:
    """Distinct ids, all integers or all strings. The place of an id is its row. Never changed after it was made.

    Integer and string ids are different ids: 7 is never found among strings, and "7" never among integers.
    """

    __slots__ = ("_array", "_key_I", "_number_I", "_place_I")

    def __init__(self, ids: pa.Array, *, what: str = "item_id") -> None:
        """Take over an array of 64-bit integers or strings.

        Args:
            ids: The ids in the order of their places.
            what: What they are called in an error.

        Raises:
            DataError: If ids repeat, are null, or are neither integers nor strings.
        """
        if ids.type not in (pa.int64(), pa.string()):
            raise DataError(f"{what} must be 64-bit integers or strings, got {ids.type}")
        if ids.null_count:
            raise DataError(f"{what} must not be null, got {ids.null_count} nulls among {len(ids)}")
        self._array: Any = ids
        self._number_I: Int64Array | None = None
        if ids.type == pa.int64():
            self._number_I = ids.to_numpy(zero_copy_only=False)
            key_I = self._number_I
        else:
            key_I = _hashes(ids)
        self._place_I: Int32Array | None = None
        """None where the keys ascend as they are."""
        if len(ids) > 1 and not bool((key_I[1:] > key_I[:-1]).all()):
            self._place_I = np.argsort(key_I, kind="stable").astype(np.int32)
            key_I = key_I[self._place_I]
        self._key_I = key_I
        self._require_distinct(what)

    def __len__(self) -> int:
        return len(self._array)

    @property
    def nbytes(self) -> int:
        """Bytes that the ids and their search take."""
        held = int(self._array.nbytes)
        if self._number_I is None or self._place_I is not None:
            held += self._key_I.nbytes
        return held + (0 if self._place_I is None else self._place_I.nbytes)

    @property
    def array(self) -> pa.Array:
        """The ids in the order of their places."""
        return self._array

    def at(self, place_N: Int32Array | Int64Array) -> list[Id]:
        """Return the ids at some places, which must lie in 0..I - 1."""
        if self._number_I is not None:
            numbers: list[Id] = self._number_I[place_N].tolist()
            return numbers
        texts: list[Id] = self._array.take(pa.array(place_N)).to_pylist()
        return texts

    def place(self, source_id: Id) -> int:
        """Return the place of one id, -1 where it is not here. About 2 microseconds."""
        key = self._key(source_id)
        if key is None:
            return -1
        rank = int(self._key_I.searchsorted(np.int64(key)))
        while rank < len(self._key_I) and self._key_I[rank] == key:
            place = rank if self._place_I is None else int(self._place_I[rank])
            if self._number_I is not None or self._array[place].as_py() == source_id:
                return place
            rank += 1
        return -1

    def place_of_own_type(self, source_id: Id) -> int:
        """Return the place of one id that must be of the type of those here, -1 where it is not here.

        Raises:
            DataError: If the id is a string among integers, or an integer among strings: 7 is not "7".
        """
        own_type, held = (str, "strings") if self._number_I is None else (int, "integers")
        if type(source_id) is not own_type:
            came = f"{source_id!r} ({type(source_id).__name__})"
            raise DataError(f"ids of this model are {held}, got {came}; send it as in the log")
        return self.place(source_id)

    def places(self, source_ids: Collection[Id]) -> Int64Array:
        """Return the place of each id in the order of the collection, -1 where it is not here; linear in their number."""
        place_N = np.full(len(source_ids), -1, np.int64)
        if not len(source_ids) or not len(self._key_I):
            return place_N
        own_type = str if self._number_I is None else int
        asked = list(source_ids)
        row_N: Int64Array | None = None  # the rows that can be here at all, where those are not all
        if set(map(type, asked)) != {own_type} or (own_type is int and not _fit(asked)):
            kept = [row for row, source_id in enumerate(asked) if self._key(source_id) is not None]
            row_N, asked = np.array(kept, np.int64), [asked[row] for row in kept]
        keys = map(hash, asked) if own_type is str else asked
        found_place_N = self._places_of_keys(np.fromiter(keys, np.int64, len(asked)))
        if own_type is str:
            found_N = found_place_N >= 0
            named = asked if found_N.all() else list(compress(asked, found_N.tolist()))
            held = self.at(found_place_N[found_N])
            if held != named:  # some have the hash of another id
                checked = [self.place(name) if name != other else -2 for name, other in zip(named, held, strict=True)]
                checked_N = np.array(checked, np.int64)
                found_place_N[found_N] = np.where(checked_N == -2, found_place_N[found_N], checked_N)
        if row_N is None:
            return found_place_N
        place_N[row_N] = found_place_N
        return place_N

    def _places_of_keys(self, key_N: Int64Array) -> Int64Array:
        """Return the place of the first id of each key, -1 where no id has it."""
        if len(key_N) <= _FEW_LOOK_UPS:
            rank_N = self._key_I.searchsorted(key_N)
            np.minimum(rank_N, len(self._key_I) - 1, out=rank_N)
            return self._checked(rank_N, key_N)
        # Ascending look-ups walk through memory once: 10 times as fast as a million at random.
        order_N = np.argsort(key_N)
        rank_N = np.empty(len(key_N), np.int64)
        rank_N[order_N] = self._key_I.searchsorted(key_N[order_N])
        np.minimum(rank_N, len(self._key_I) - 1, out=rank_N)
        return self._checked(rank_N, key_N)

    def _checked(self, rank_N: Int64Array, key_N: Int64Array) -> Int64Array:
        """Return the places of ranks, -1 where another key stands there."""
        place_N = rank_N if self._place_I is None else self._place_I[rank_N].astype(np.int64)
        return np.where(self._key_I[rank_N] == key_N, place_N, -1)

    def _key(self, source_id: Id) -> int | None:
        """Return what an id is sorted by, or None for one of the other type."""
        if self._number_I is None:
            return hash(source_id) if type(source_id) is str else None
        return source_id if type(source_id) is int and _INT64.min <= source_id <= _INT64.max else None

    def _require_distinct(self, what: str) -> None:
        for rank in np.flatnonzero(self._key_I[1:] == self._key_I[:-1]).tolist():
            # All ids of one hash: three of them may hold a repeat that does not lie side by side.
            same = np.flatnonzero(self._key_I == self._key_I[rank])
            held = self.at(same if self._place_I is None else self._place_I[same])
            if len(set(held)) < len(held):
                twice = next(source_id for row, source_id in enumerate(held) if source_id in held[:row])
                raise DataError(f"{what} must be distinct, and {twice!r} comes twice; keep one row of each")


def _fit(numbers: Collection[Id]) -> bool:
    """Whether all of some integers have 64 bits."""
    return _INT64.min <= min(numbers) and max(numbers) <= _INT64.max  # type: ignore[operator]  # they are integers


def _hashes(texts: pa.Array) -> Int64Array:
    """Return the hash of each string; in blocks, so that few of them are Python objects at a time."""
    hash_I: npt.NDArray[np.int64] = np.empty(len(texts), np.int64)
    for start in range(0, len(texts), _HASHED_AT_ONCE):
        block = texts.slice(start, _HASHED_AT_ONCE).to_pylist()
        hash_I[start : start + len(block)] = np.fromiter(map(hash, block), np.int64, len(block))
    return hash_I
