"""The file `ranks.parquet`: where a run's model put every held-out pair, so that two runs can be compared pair by pair.

One row per held-out pair and task: `task`, `query` (counts a task's queries from 0; the pairs of one are consecutive),
`user_id`, `item_id` (source ids), `rank` (1-based, 0 where the list does not hold the item) and one boolean column
`slice:NAME` per slice but "all". A slice without a pair in a task is false throughout it. The file's metadata hold the
length of the lists and whether the data are real or synthetic.

Shape letters: P held-out pairs of all tasks.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from lowerfunnel.errors import RunError
from lowerfunnel.evaluation.evaluation_set import BoolArray, EvaluationSet
from lowerfunnel.evaluation.metrics_json import DataKind
from lowerfunnel.evaluation.pair_rank import rows_of
from lowerfunnel.events.timeline import Int32Array

_SLICE = "slice:"
_LENGTH, _DATA = b"lowerfunnel.list_length", b"lowerfunnel.data"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranks:
    """What `ranks.parquet` holds.

    Attributes:
        table: Columns `task`, `query`, `user_id`, `item_id`, `rank`, in the file's order.
        slices_P: Which pairs belong to a slice, by its name; "all" is always there.
        length: Length of the lists: a rank of 0 means that the item is not among so many.
        data: "real" or "synthetic".
    """

    table: pa.Table
    slices_P: Mapping[str, BoolArray]
    length: int
    data: DataKind


def write_ranks(
    path: Path,
    ranked: Iterable[tuple[EvaluationSet, Int32Array]],
    *,
    user_ids: pa.ChunkedArray,
    item_ids: pa.ChunkedArray,
    length: int,
    data: DataKind,
) -> None:
    """Write the ranks of one model.

    Args:
        path: The file.
        ranked: The evaluation set of each task with the rank of each of its pairs.
        user_ids: Source id of the user of each row of the held-out pairs, which `EvaluationSet.held_out_P` refers to.
        item_ids: The same of the items.
        length: Length of the lists.
        data: "real" or "synthetic".

    Raises:
        ValueError: If an evaluation set does not say which held-out pairs it is of.
    """
    ranked = list(ranked)
    names = list(dict.fromkeys(name for queries, _ in ranked for name in queries.slices_P if name != "all"))
    parts = []
    for queries, rank_P in ranked:
        if queries.held_out_P is None:
            raise ValueError(f"the evaluation set of {queries.task!r} does not say which held-out pairs it is of")
        pairs = len(rank_P)
        row = pa.array(queries.held_out_P)
        columns: dict[str, pa.Array | pa.ChunkedArray] = {
            "task": pa.array([queries.task] * pairs, pa.string()),
            "query": pa.array(rows_of(queries.pair_offsets).astype(np.int32)),
            "user_id": user_ids.take(row),
            "item_id": item_ids.take(row),
            "rank": pa.array(rank_P),
        }
        none_P = np.zeros(pairs, np.bool_)
        columns |= {f"{_SLICE}{name}": pa.array(queries.slices_P.get(name, none_P)) for name in names}
        parts.append(pa.table(columns))
    if not parts:
        raise ValueError("there is nothing to write: no task has a held-out pair")
    table = pa.concat_tables(parts).replace_schema_metadata({_LENGTH: str(length), _DATA: data})
    pq.write_table(table, path, compression="zstd")


def read_ranks(path: Path) -> Ranks:
    """Read what `write_ranks` wrote.

    Raises:
        RunError: If the file is missing or holds something else.
    """
    try:
        table = pq.read_table(path)
        metadata = table.schema.metadata or {}
        length, data = int(metadata[_LENGTH]), metadata[_DATA].decode()
        pairs = table.select(["task", "query", "user_id", "item_id", "rank"])
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing: evaluate the run first") from error
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{path} does not hold ranks ({error}): evaluate the run again") from error
    slices_P: dict[str, BoolArray] = {"all": np.ones(len(table), np.bool_)}
    for name in table.column_names:
        if name.startswith(_SLICE):
            inside_P: npt.NDArray[np.bool_] = table.column(name).to_numpy()
            slices_P[name.removeprefix(_SLICE)] = inside_P
    return Ranks(table=pairs, slices_P=slices_P, length=length, data="synthetic" if data == "synthetic" else "real")
