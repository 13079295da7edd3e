import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.serving.blending.turns import turns

WEIGHTS = st.lists(st.floats(1e-3, 1e3) | st.sampled_from([1.0, 2.0, 0.1]), min_size=1, max_size=12).map(tuple)


@given(WEIGHTS)
def test_every_beginning_gives_each_source_its_share_to_within_one_turn(weights: tuple[float, ...]) -> None:
    had = [0] * len(weights)
    for turn, source in enumerate(turns(weights, 500)[:500], start=1):
        had[source] += 1
        for count, weight in zip(had, weights, strict=True):
            assert abs(count - weight / sum(weights) * turn) < 1 + 1e-9


def test_largest_deficit_would_fall_further_behind_than_these_turns() -> None:
    weights = tuple(map(float, (1, 8, 50, 1, 1, 8, 1, 1, 1, 8, 1, 50)))

    def furthest(order: list[int]) -> float:
        had, furthest = [0] * len(weights), 0.0
        for turn, source in enumerate(order, start=1):
            had[source] += 1
            furthest = max(furthest, *(abs(c - w * turn / sum(weights)) for c, w in zip(had, weights, strict=True)))
        return furthest

    by_deficit: list[int] = []
    for turn in range(1, 400):
        deficits = [w * turn / sum(weights) - by_deficit.count(source) for source, w in enumerate(weights)]
        by_deficit.append(deficits.index(max(deficits)))
    assert furthest(by_deficit) > 1.29
    assert furthest(list(turns(weights, 399)[:399])) < 1


@given(WEIGHTS, st.integers(1, 3_000), st.floats(0.01, 100))
def test_more_turns_begin_with_fewer(weights: tuple[float, ...], count: int, factor: float) -> None:
    assert len(turns(weights, count)) >= count
    assert turns(weights, 3_000).startswith(turns(weights, count)[:count])


@pytest.mark.parametrize(
    ("weights", "order"),
    [
        ((1.0,), [0, 0, 0]),
        ((1.0, 1.0), [0, 1, 0, 1]),
        ((3.0, 1.0), [0, 0, 0, 1, 0, 0, 0, 1]),
        ((0.25, 0.5, 0.25), [1, 0, 1, 2, 1, 0, 1, 2]),
    ],
)
def test_orders_by_hand(weights: tuple[float, ...], order: list[int]) -> None:
    assert list(turns(weights, len(order))[: len(order)]) == order
