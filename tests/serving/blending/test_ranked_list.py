import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.index.allowed import Allowed
from lowerfunnel.serving.blending.ranked_list import RankedList


@given(st.integers(1, 6_000), st.floats(0, 1), st.floats(0, 1), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_the_first_allowed_items_come_in_order_by_either_way(
    items: int, listed: float, share: float, k: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    order_N = rng.permutation(items)[: round(listed * items)].astype(np.int32)
    score_N = -np.sort(-rng.random(len(order_N))).astype(np.float32)
    ranked = RankedList(order_N, score_N, items=items)
    allowed_I = rng.random(items) < share
    allowed = Allowed.of_mask(allowed_I)
    wanted = np.flatnonzero(allowed_I[order_N])[:k]
    found = ranked.top(allowed, k)
    assert found.place_N.tolist() == order_N[wanted].tolist()
    assert found.score_N.tolist() == score_N[wanted].tolist()
    assert ranked._walk(allowed, k).tolist() == ranked._sort(allowed, k).tolist() == wanted.tolist()


def test_both_ways_are_taken() -> None:
    ranked = RankedList(np.arange(100_000), -np.arange(100_000, dtype=np.float32), items=100_000)
    assert ranked._walking_is_shorter(Allowed.everything(100_000), 100)
    assert not ranked._walking_is_shorter(Allowed.of_places(np.array([5, 99_999]), items=100_000), 100)


def test_a_list_by_hand() -> None:
    ranked = RankedList(np.array([3, 0, 2]), np.array([0.5, 0.3, 0.3], np.float32), items=5)
    assert ranked.top(Allowed.everything(5), 2).place_N.tolist() == [3, 0]
    assert ranked.top(Allowed.of_places(np.array([1, 2, 4]), items=5), 2).place_N.tolist() == [2]
    assert len(ranked.top(Allowed.of_places(np.array([1]), items=5), 2)) == 0
    assert len(RankedList(np.zeros(0, np.int64), np.zeros(0, np.float32), items=5).top(Allowed.everything(5), 2)) == 0


@pytest.mark.parametrize(
    ("places", "scores", "sentence"),
    [
        ([0, 0], [1.0, 1.0], "places must be distinct"),
        ([0, 3], [1.0, 1.0], r"places must lie in 0\.\.2, got 0\.\.3"),
        ([-1], [1.0], r"places must lie in 0\.\.2"),
        ([0, 1], [1.0, 2.0], "scores must never rise"),
        ([0], [float("nan")], "scores must never rise"),
        ([0, 1], [1.0], "one score per item"),
    ],
)
def test_what_is_no_order_is_refused(places: list[int], scores: list[float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        RankedList(np.array(places), np.array(scores, np.float32), items=3)


def test_a_set_of_another_segment_is_refused() -> None:
    ranked = RankedList(np.array([0]), np.array([1.0], np.float32), items=3)
    for allowed, k in ((Allowed.everything(4), 1), (Allowed.everything(3), 0)):
        with pytest.raises(ValueError, match="a set of 3 items and k of at least 1 are needed"):
            ranked.top(allowed, k)
