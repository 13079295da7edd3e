"""A set of items: the same as a Python set, and the same bits that FAISS reads."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.index.allowed import Allowed

catalogues = st.integers(0, 200)


@st.composite
def sets(draw: st.DrawFn, items: int | None = None) -> tuple[int, set[int]]:
    items = draw(catalogues) if items is None else items
    return items, draw(st.sets(st.integers(0, items - 1))) if items else set()


def allowed_of(items: int, places: set[int]) -> Allowed:
    return Allowed.of_places(np.array(sorted(places), np.int64), items=items)


@given(sets())
def test_it_holds_what_it_was_made_of_in_every_form(of: tuple[int, set[int]]) -> None:
    items, places = of
    allowed = allowed_of(items, places)
    assert (allowed.items, allowed.count) == (items, len(places))
    assert allowed.places().tolist() == sorted(places)
    assert np.flatnonzero(allowed.mask()).tolist() == sorted(places)
    assert Allowed.of_mask(allowed.mask()).word_W.tolist() == allowed.word_W.tolist()
    asked = np.arange(-1, items, dtype=np.int32)
    assert allowed.contains(asked).tolist() == [item in places for item in range(-1, items)]


@given(st.data())
def test_intersection_and_difference_are_those_of_sets(data: st.DataObject) -> None:
    items, some = data.draw(sets())
    _, others = data.draw(sets(items))
    allowed = allowed_of(items, some)
    before = allowed.word_W.tolist()
    assert (allowed & allowed_of(items, others)).places().tolist() == sorted(some & others)
    gone = np.array([*others, *others], np.int32)
    assert allowed.without(gone).places().tolist() == sorted(some - others)
    assert allowed.word_W.tolist() == before, "a set was changed"


@given(st.data())
def test_a_set_that_knows_some_items_around_it_is_the_same_set(data: st.DataObject) -> None:
    items, some = data.draw(sets())
    _, others = data.draw(sets(items))
    plain = allowed_of(items, some)
    within_S = np.array(sorted(some | others), np.int64)
    knowing = Allowed.of_words(plain.word_W, items=items, within_S=within_S)
    assert knowing.places().tolist() == sorted(some)
    for one in (plain, allowed_of(items, others)):
        assert (knowing & one).places().tolist() == (one & knowing).places().tolist() == (plain & one).places().tolist()
    gone = np.array(sorted(others), np.int32)
    assert knowing.without(gone).places().tolist() == sorted(some - others)
    assert knowing.every(2).places().tolist() == plain.every(2).places().tolist()


@given(sets(), st.integers(1, 5))
def test_a_sample_is_what_lies_in_some_of_the_words(of: tuple[int, set[int]], step: int) -> None:
    sample = allowed_of(*of).every(step)
    assert sample.places().tolist() == sorted(item for item in of[1] if item // 64 % step == 0)


@given(catalogues)
def test_everything_is_every_item_and_nothing_past_the_last(items: int) -> None:
    everything = Allowed.everything(items)
    assert everything.word_W.tolist() == Allowed.of_mask(np.ones(items, np.bool_)).word_W.tolist()
    assert everything.count == items


def test_bits_are_where_faiss_looks_for_them() -> None:
    faiss = pytest.importorskip("faiss")
    allowed = allowed_of(130, {0, 63, 64, 65, 129})
    selector = faiss.IDSelectorBitmap(allowed.word_W.view(np.uint8))
    assert [item for item in range(130) if selector.is_member(item)] == [0, 63, 64, 65, 129]


def test_a_value_by_hand() -> None:
    assert allowed_of(66, {0, 2, 65}).word_W.tolist() == [0b101, 0b10]


@pytest.mark.parametrize("words", [0, 1, 3])
def test_words_that_do_not_fit_are_refused(words: int) -> None:
    with pytest.raises(ValueError, match="100 items need 2 words"):
        Allowed.of_words(np.zeros(words, np.uint64), items=100)


def test_sets_of_two_catalogues_are_not_intersected() -> None:
    with pytest.raises(ValueError, match="got 3 and 4 items"):
        Allowed.everything(3) & Allowed.everything(4)


def test_nothing_of_an_empty_catalogue_is_allowed() -> None:
    asked: npt.NDArray[np.int32] = np.array([-1, -1], np.int32)
    assert Allowed.everything(0).contains(asked).tolist() == [False, False]
