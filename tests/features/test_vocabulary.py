from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.errors import DataError
from lowerfunnel.features.vocabulary import Vocabulary

IDS = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(IDS, min_size=1, max_size=40))
def test_every_64_bit_id_survives_the_way_there_and_back(ids: list[int]) -> None:
    source = pa.array(ids, pa.int64())
    vocabulary = Vocabulary.of(source)
    assert vocabulary.decode(vocabulary.encode(source)).to_pylist() == ids


def test_ids_past_the_reach_of_floats_stay_apart() -> None:
    ids = [2**24, 2**24 + 1, 2**53, 2**53 + 1]
    assert Vocabulary.of(pa.array(ids)).encode(pa.array(ids)).tolist() == [0, 1, 2, 3]


def test_unknown_and_null_ids_are_minus_one_and_null() -> None:
    vocabulary = Vocabulary.of(pa.array(["b", "a", None, "b"]))
    dense = vocabulary.encode(pa.array(["a", "x", None, "b"]))
    assert dense.tolist() == [0, -1, -1, 1]
    assert vocabulary.decode(dense).to_pylist() == ["a", None, None, "b"]


def test_floats_are_no_ids() -> None:
    vocabulary = Vocabulary.of(pa.array([1, 2]))
    with pytest.raises(DataError, match="ids came as double"):
        vocabulary.encode(pa.array([1.0]))
    with pytest.raises(DataError, match="ids of this log are int64, got string"):
        vocabulary.encode(pa.array(["1a"]))
    assert vocabulary.encode(pa.array(["2"])).tolist() == [1]


def test_saving_keeps_ids_and_type(tmp_path: Path) -> None:
    for ids in (pa.array([3, 2**60]), pa.array(["a", "ü"])):
        Vocabulary.of(ids).save(tmp_path / "ids.parquet")
        assert Vocabulary.load(tmp_path / "ids.parquet").ids.equals(Vocabulary.of(ids).ids)


def test_an_empty_vocabulary_knows_nothing() -> None:
    assert Vocabulary.of(pa.array([], pa.string())).encode(pa.array(["a"])).tolist() == [-1]
    assert np.asarray(Vocabulary.of(pa.array([], pa.int64())).encode(pa.array([], pa.int64()))).dtype == np.int32
