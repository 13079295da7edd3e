"""The file of ranks: what is written comes back, with source ids; what is damaged is said to be."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lowerfunnel.errors import RunError
from lowerfunnel.evaluation.evaluation_set import EvaluationSet
from lowerfunnel.evaluation.ranks_file import read_ranks, write_ranks


def set_of(task: str, held_out: list[int] | None, **slices: list[bool]) -> EvaluationSet:
    """Two queries, the first of two pairs."""
    return EvaluationSet(
        task=task,
        user_Q=np.array([0, 1], np.int32),
        at_us_Q=np.zeros(2, np.int64),
        pair_offsets=np.array([0, 2, 3]),
        pair_item_P=np.array([0, 1, -1], np.int32),
        excluded_offsets=np.zeros(3, np.int64),
        excluded_item=np.zeros(0, np.int32),
        slices_P={"all": np.ones(3, np.bool_)} | {name: np.array(inside) for name, inside in slices.items()},
        held_out_P=None if held_out is None else np.array(held_out),
    )


def write(path: Path, *ranked: tuple[EvaluationSet, np.ndarray]) -> None:
    users, items = pa.chunked_array([["b", "a"], ["a", "c"]]), pa.chunked_array([[7, 8], [9, 6]])
    write_ranks(path, ranked, user_ids=users, item_ids=items, length=50, data="synthetic")


def test_what_is_written_comes_back_with_source_ids(tmp_path: Path) -> None:
    first = set_of("conversion", [1, 2, 0], cold_items=[True, False, True])
    second = set_of("engagement", [3, 0, 1], new=[False, True, False])
    path = tmp_path / "ranks.parquet"
    write(path, (first, np.array([1, 0, 12], np.int32)), (second, np.array([3, 4, 50], np.int32)))
    found = read_ranks(path)
    assert found.table.to_pydict() == {
        "task": ["conversion"] * 3 + ["engagement"] * 3,
        "query": [0, 0, 1] * 2,
        "user_id": ["a", "a", "b", "c", "b", "a"],
        "item_id": [8, 9, 7, 6, 7, 8],
        "rank": [1, 0, 12, 3, 4, 50],
    }
    assert {name: inside.tolist() for name, inside in found.slices_P.items()} == {
        "all": [True] * 6,
        "cold_items": [True, False, True, False, False, False],
        "new": [False, False, False, False, True, False],
    }
    assert (found.length, found.data) == (50, "synthetic")


def test_equal_ranks_make_equal_files(tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path / name, (set_of("conversion", [1, 2, 0]), np.array([1, 0, 2], np.int32)))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_set_that_does_not_know_its_pairs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="which held-out pairs"):
        write(tmp_path / "ranks.parquet", (set_of("conversion", None), np.array([1, 0, 2], np.int32)))


@pytest.mark.parametrize("content", [None, b"", b"no parquet"])
def test_a_missing_or_damaged_file_is_one_sentence(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "ranks.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunError, match=r"evaluate the run"):
        read_ranks(path)
