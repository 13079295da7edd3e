"""Source ids and the dense ids that models use for them.

Shape letters: V ids in the vocabulary, N ids to look up.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lowerfunnel.errors import DataError


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Sorted, distinct source ids (64-bit integers or strings); an id's place is its dense id."""

    ids: pa.Array

    def __post_init__(self) -> None:
        if self.ids.type not in (pa.int64(), pa.string()):
            raise DataError(f"ids must be 64-bit integers or strings, got {self.ids.type}")
        if self.ids.null_count:
            raise DataError(f"a vocabulary cannot hold null ids, got {self.ids.null_count}")

    @classmethod
    def of(cls, ids: pa.Array | pa.ChunkedArray) -> "Vocabulary":
        """Build a vocabulary of the distinct values of `ids`, nulls left out."""
        distinct = pc.drop_null(pc.unique(ids))
        return cls(distinct.take(pc.sort_indices(distinct)))

    def __len__(self) -> int:
        return len(self.ids)

    def encode(self, ids: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int32]:
        """Return the dense id of each source id, -1 where it is null or not in the vocabulary.

        Raises:
            DataError: If integers are looked up among strings, or anything but whole numbers among integers.
        """
        if ids.type != self.ids.type:
            ids = self._cast(ids)
        dense = pc.index_in(ids, value_set=self.ids)
        if isinstance(dense, pa.ChunkedArray):
            dense = dense.combine_chunks()
        dense_N: npt.NDArray[np.int32] = dense.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
        return dense_N

    def decode(self, dense_N: npt.NDArray[np.int32]) -> pa.Array:
        """Return the source id of each dense id, null for -1."""
        index = pa.array(dense_N, pa.int32(), mask=dense_N < 0)
        return self.ids.take(index)

    def _cast(self, ids: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        if pa.types.is_floating(ids.type):
            raise DataError(f"ids came as {ids.type}; ids are never floats, write them as integers or strings")
        try:
            return pc.cast(ids, self.ids.type)
        except pa.ArrowInvalid as error:
            raise DataError(f"ids of this log are {self.ids.type}, got {ids.type}: {error}") from error

    def save(self, path: Path) -> None:
        """Write the ids to one Parquet file."""
        pq.write_table(pa.table({"id": self.ids}), path, compression="zstd")

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Read what `save` wrote."""
        return cls(pq.read_table(path).column("id").combine_chunks())
