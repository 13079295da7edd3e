import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.errors import DataError
from lowerfunnel.serving import source_ids
from lowerfunnel.serving.source_ids import SourceIds

NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 5)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
ANYTHING = NUMBERS | TEXTS | st.integers(2**63, 2**70) | st.just("\ud800")


@given(
    st.lists(NUMBERS, unique=True, max_size=30).map(lambda ids: pa.array(ids, pa.int64()))
    | st.lists(TEXTS, unique=True, max_size=30).map(lambda ids: pa.array(ids, pa.string())),
    st.lists(ANYTHING, max_size=20),
)
def test_look_ups_agree_with_a_dict(ids: pa.Array, others: list[int | str]) -> None:
    held = SourceIds(ids)
    by_id = {source_id: place for place, source_id in enumerate(ids.to_pylist())}
    asked = [*others, *by_id, *list(by_id)[:3]]
    wanted = [by_id.get(source_id, -1) for source_id in asked]
    assert held.places(asked).tolist() == wanted
    assert [held.place(source_id) for source_id in asked] == wanted
    assert held.at(np.arange(len(ids))) == ids.to_pylist()


def test_integers_and_strings_and_truth_values_are_different_ids() -> None:
    numbers, texts = SourceIds(pa.array([0, 1, 7])), SourceIds(pa.array(["7", "True"]))
    assert numbers.places([7, "7", True, 1]).tolist() == [2, -1, -1, 1]
    assert texts.places(["7", 7, True, hash("7")]).tolist() == [0, -1, -1, -1]


def test_an_id_of_the_other_type_is_refused_where_ids_of_one_type_are_asked_for() -> None:
    numbers, texts = SourceIds(pa.array([-(2**63), 7, 2**63 - 1])), SourceIds(pa.array(["7"]))
    assert [numbers.place_of_own_type(each) for each in (7, 2**63 - 1, 2**63, 8)] == [1, 2, -1, -1]
    assert [texts.place_of_own_type(each) for each in ("7", "")] == [0, -1]
    with pytest.raises(DataError, match=r"are integers, got '7' \(str\)"):
        numbers.place_of_own_type("7")
    with pytest.raises(DataError, match=r"are strings, got 7 \(int\)"):
        texts.place_of_own_type(7)
    with pytest.raises(DataError, match=r"are integers, got True \(bool\)"):
        numbers.place_of_own_type(True)


def test_ids_of_one_hash_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    # All hashes fall together, as they will for two strings among very many.
    monkeypatch.setattr(source_ids, "hash", len, raising=False)
    names = ["aa", "b", "ba", "c", "ab", "cc", "a"]
    held = SourceIds(pa.array(names))
    assert held.places([*reversed(names), "zz", "z", "zzz"]).tolist() == [6, 5, 4, 3, 2, 1, 0, -1, -1, -1]
    assert [held.place(name) for name in [*names, "zz"]] == [0, 1, 2, 3, 4, 5, 6, -1]
    with pytest.raises(DataError, match="item_id must be distinct, and 'aa' comes twice"):
        SourceIds(pa.array([*names, "aa"]))


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        (pa.array([1, 2, 1]), "item_id must be distinct, and 1 comes twice"),
        (pa.array(["x", "y", "x"]), "item_id must be distinct, and 'x' comes twice"),
        (pa.array([1, None]), "item_id must not be null, got 1 nulls among 2"),
        (pa.array([1.0]), "item_id must be 64-bit integers or strings, got double"),
    ],
)
def test_ids_that_cannot_name_items_are_refused(ids: pa.Array, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        SourceIds(ids)


def test_many_ids_take_about_12_bytes_beside_themselves() -> None:
    ids = pa.array([f"item-{number}" for number in range(10_000)])
    assert SourceIds(ids).nbytes - ids.nbytes == 12 * 10_000
    assert SourceIds(pa.array(range(10_000))).nbytes == 8 * 10_000
