"""The held-out pairs of two runs beside each other, and what each user's metrics are under both.

Shape letters: S seeds, P held-out pairs that both runs have, Q queries, U users, M metrics.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lowerfunnel.evaluation.evaluation_set import BoolArray
from lowerfunnel.evaluation.measure import MICRO_RECALL
from lowerfunnel.evaluation.ranks_file import Ranks
from lowerfunnel.metrics.ranking import RANK_METRICS, recall, relevant_items
from lowerfunnel.metrics.seeded import SeededDifference, seeded_difference

Float64Array = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
_KEYS = ("task", "user_id", "item_id")


@dataclass(frozen=True, kw_only=True, slots=True)
class Paired:
    """The pairs that two runs have both, in the order of the first.

    Attributes:
        task_P: Task of each.
        query_P: Query of each in the first run; those of one are consecutive.
        user_P: Source id of each one's user.
        rank_a_P: Rank by the first run's model, 0 where it was not found.
        rank_b_P: The same by the second's.
        slices_P: Slices, as the first run has them.
        only_a: How many pairs of each task the first run alone has.
        only_b: The same of the second.
    """

    task_P: npt.NDArray[np.object_]
    query_P: Int32Array
    user_P: pa.ChunkedArray
    rank_a_P: Int32Array
    rank_b_P: Int32Array
    slices_P: Mapping[str, BoolArray]
    only_a: Mapping[str, int]
    only_b: Mapping[str, int]


def pair_up(a: Ranks, b: Ranks) -> Paired:
    """Set the pairs of two runs beside each other by task, user and item; a pair that only one has is left out."""
    same = len(a.table) == len(b.table) and all(a.table.column(key).equals(b.table.column(key)) for key in _KEYS)
    row_a_P, row_b_P = (np.arange(len(a.table)),) * 2 if same else _joined(a.table, b.table)
    table, taken = a.table, pa.array(row_a_P)
    both = table if same else table.take(taken)
    counts = [_counts(part) for part in (a.table, b.table, both)]
    return Paired(
        task_P=np.asarray(both.column("task").to_pylist(), dtype=object),
        query_P=both.column("query").to_numpy(),
        user_P=both.column("user_id"),
        rank_a_P=both.column("rank").to_numpy(),
        rank_b_P=b.table.column("rank").to_numpy()[row_b_P],
        slices_P={name: inside_P[row_a_P] for name, inside_P in a.slices_P.items()},
        only_a={task: count - counts[2].get(task, 0) for task, count in counts[0].items()},
        only_b={task: count - counts[2].get(task, 0) for task, count in counts[1].items()},
    )


def _joined(a: pa.Table, b: pa.Table) -> tuple[Int64Array, Int64Array]:
    """Return the rows of both tables that have the same task, user and item, in the order of the first."""
    sides = []
    for name, table in (("a", a), ("b", b)):
        columns = {key: table.column(key) for key in _KEYS}
        if any(a.schema.field(key).type != b.schema.field(key).type for key in _KEYS):
            # One log may be read with numbers as ids and with texts.
            columns = {key: column.cast(pa.string()) for key, column in columns.items()}
        sides.append(pa.table({**columns, name: pa.array(np.arange(len(table)))}))
    joined = sides[0].join(sides[1], keys=list(_KEYS), join_type="inner").sort_by("a")
    return joined.column("a").to_numpy(), joined.column("b").to_numpy()


def _counts(table: pa.Table) -> dict[str, int]:
    return {one["values"]: one["counts"] for one in pc.value_counts(table.column("task")).to_pylist()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """M metrics of two variants on a slice of a task.

    Attributes:
        found: The metrics, in the order asked for; `a` is the first variant.
        places: Which of the seeds have a pair in the slice, as positions.
        users: Different users over all seeds.
        pairs: Held-out pairs over all seeds.
    """

    found: SeededDifference
    places: list[int]
    users: int
    pairs: int


def compare(
    by_seed: Sequence[Paired], *, task: str, slice_name: str, metrics: Sequence[str], n_boot: int, seed: int
) -> Compared | None:
    """Compare two variants on a slice of a task; None if no seed has a pair in it.

    Args:
        by_seed: Their runs side by side, one entry a seed.
        task: Such as "conversion".
        slice_name: Such as "all".
        metrics: Such as "recall@100".
        n_boot: Resamples of users and seeds.
        seed: Of the resamples.
    """
    inside = [(place, paired, (paired.task_P == task) & paired.slices_P[slice_name])
              for place, paired in enumerate(by_seed) if slice_name in paired.slices_P]  # fmt: skip
    inside = [one for one in inside if one[2].any()]
    if not inside:
        return None
    user_of = pa.chunked_array([
        chunk for _, paired, inside_P in inside for chunk in paired.user_P.filter(pa.array(inside_P)).chunks
    ]).combine_chunks().dictionary_encode()  # fmt: skip
    code = user_of.indices.to_numpy().astype(np.int64)
    users = len(user_of.dictionary)
    sums, start = [], 0
    for _, paired, inside_P in inside:
        user_P = code[start : start + int(inside_P.sum())]
        start += len(user_P)
        sums.append(_sums(paired, inside_P, user_P, users, metrics))
    a_SUM, b_SUM, weight_SUM = (np.stack(part) for part in zip(*sums, strict=True))
    found = seeded_difference(a_SUM, b_SUM, weight_SUM, n_boot=n_boot, generator=np.random.default_rng(seed))
    return Compared(found=found, places=[place for place, _, _ in inside], users=users, pairs=start)


def _sums(
    paired: Paired, inside_P: BoolArray, user_P: Int64Array, users: int, metrics: Sequence[str]
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return each user's sums over its queries under both runs, and what it counts: [U, M] each.

    Args:
        paired: The pairs.
        inside_P: Which of them count.
        user_P: The user, by number, of each that counts.
        users: How many users there are.
        metrics: The columns.
    """
    query_P = paired.query_P[inside_P]
    first_Q = np.flatnonzero(np.diff(query_P, prepend=query_P[0] - 1))
    offsets_Q1 = np.append(first_Q, len(query_P)).astype(np.int64)
    user_Q = user_P[first_Q]
    relevant_Q = relevant_items(offsets_Q1).astype(np.float64)

    def of_users(value_Q: Float64Array) -> Float64Array:
        return np.bincount(user_Q, weights=value_Q, minlength=users).astype(np.float64)

    columns: list[tuple[Float64Array, Float64Array, Float64Array]] = []
    for metric in metrics:
        name, _, length = metric.partition("@")
        of_name, k = RANK_METRICS.get(name, recall), int(length)
        weight_Q = relevant_Q if name == MICRO_RECALL else np.ones(len(user_Q))
        a_Q, b_Q = (of_name(rank_P[inside_P], offsets_Q1, k) for rank_P in (paired.rank_a_P, paired.rank_b_P))
        columns.append((of_users(a_Q * weight_Q), of_users(b_Q * weight_Q), of_users(weight_Q)))
    a_UM, b_UM, weight_UM = (np.stack(part, axis=1) for part in zip(*columns, strict=True))
    return a_UM, b_UM, weight_UM
