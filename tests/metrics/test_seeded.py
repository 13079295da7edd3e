"""Differences over users and seeds: laws, a bootstrap written out loop by loop, and their coverage of a known truth."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lowerfunnel.metrics.seeded import SeededDifference, seeded_difference

shapes = st.tuples(st.integers(1, 4), st.integers(1, 12), st.integers(1, 3))
samples = shapes.flatmap(
    lambda shape: st.tuples(
        *(arrays(np.float64, shape, elements=st.integers(0, 8).map(lambda eighths: eighths / 8)) for _ in range(2)),
        arrays(np.float64, shape, elements=st.integers(0, 3).map(float)),
    )
)


def compared(
    a_SUM: np.ndarray, b_SUM: np.ndarray, weight_SUM: np.ndarray, n_boot: int = 50, level: float = 0.95
) -> SeededDifference:
    return seeded_difference(a_SUM, b_SUM, weight_SUM, n_boot=n_boot, generator=np.random.default_rng(0), level=level)


def drawn(seeds: int, *, users: float, of_seeds: float, of_both: float, draw: int, lift: float = 0.1) -> tuple:
    """A first model and a second one that is better by `lift`, with chance of users, of seeds and of both together."""
    rng, count = np.random.default_rng(draw), 150
    a_SU = rng.normal(1, 0.3, count)[None] + rng.normal(0, 0.1, (seeds, count))
    chance_SU = rng.normal(0, users, count)[None] + rng.normal(0, of_both, (seeds, count))
    b_SU = a_SU + lift + chance_SU * math.sqrt(count) + rng.normal(0, of_seeds, seeds)[:, None]
    return a_SU[:, :, None], b_SU[:, :, None], np.ones((seeds, count, 1))


@given(samples)
def test_a_model_beside_itself_differs_by_exactly_nothing(sample: tuple) -> None:
    a_SUM, _, weight_SUM = sample
    found = compared(a_SUM * math.pi, a_SUM * math.pi, weight_SUM)
    known_M = np.isfinite(found.a_M3[:, 0])
    assert (found.difference_M3[known_M] == 0).all()
    assert (found.relative_M3[known_M & (found.a_M3[:, 0] != 0), 0] == 0).all()
    assert np.array_equal(found.a_M3, found.b_M3, equal_nan=True)


@given(samples)
def test_values_are_means_over_seeds_of_means_over_users(sample: tuple) -> None:
    a_SUM, b_SUM, weight_SUM = sample
    found = compared(a_SUM, b_SUM, weight_SUM)
    with np.errstate(invalid="ignore", divide="ignore"):
        a_SM, b_SM = (sums.sum(axis=1) / weight_SUM.sum(axis=1) for sums in (a_SUM, b_SUM))
    known_M = np.isfinite(a_SM).all(axis=0) & (weight_SUM.sum(axis=1) > 0).all(axis=0)
    assert found.a_M3[known_M, 0] == pytest.approx(a_SM[:, known_M].mean(axis=0))
    assert found.difference_M3[known_M, 0] == pytest.approx(
        (b_SM[:, known_M] - a_SM[:, known_M]).mean(axis=0), abs=1e-12
    )
    assert np.isnan(found.difference_M3[~known_M]).all()


@given(samples)
def test_exchanging_the_models_turns_the_difference_round(sample: tuple) -> None:
    a_SUM, b_SUM, weight_SUM = sample
    one, other = compared(a_SUM, b_SUM, weight_SUM), compared(b_SUM, a_SUM, weight_SUM)
    assert np.allclose(one.difference_M3[:, 0], -other.difference_M3[:, 0], equal_nan=True)
    assert np.allclose(one.difference_M3[:, 1:], -other.difference_M3[:, :0:-1], equal_nan=True)


@given(samples)
def test_users_whom_no_seed_measures_change_no_value(sample: tuple) -> None:
    a_SUM, b_SUM, weight_SUM = sample
    there_SUM = weight_SUM > 0
    a_SUM, b_SUM = a_SUM * there_SUM, b_SUM * there_SUM
    idle_SUM = np.zeros_like(a_SUM)
    longer = (np.concatenate([sums, idle_SUM], axis=1) for sums in (a_SUM, b_SUM, weight_SUM))
    one, other = compared(a_SUM, b_SUM, weight_SUM), compared(*longer)
    assert np.allclose(one.difference_M3[:, 0], other.difference_M3[:, 0], equal_nan=True)


def test_values_by_hand() -> None:
    a_SUM = np.array([[1.0, 0.0], [0.5, 0.5]])[:, :, None]
    b_SUM = np.array([[1.0, 1.0], [0.5, 1.0]])[:, :, None]
    found = compared(a_SUM, b_SUM, np.ones((2, 2, 1)))
    assert found.a_SM[:, 0].tolist() == [0.5, 0.5]
    assert found.b_SM[:, 0].tolist() == [1.0, 0.75]
    assert found.a_M3[0, 0] == 0.5
    assert found.difference_M3[0, 0] == 0.375
    assert found.relative_M3[0, 0] == 0.75


def test_one_seed_s_interval_is_the_bootstrap_over_users() -> None:
    stats = pytest.importorskip("scipy.stats")
    a_SUM, b_SUM, weight_SUM = drawn(1, users=0.02, of_seeds=0, of_both=0, draw=1)
    theirs = stats.bootstrap(
        ((b_SUM - a_SUM)[0, :, 0],), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(5)
    ).confidence_interval
    ours = compared(a_SUM, b_SUM, weight_SUM, n_boot=4000).difference_M3[0]
    assert ours[1] == pytest.approx(theirs.low, abs=0.06 * (theirs.high - theirs.low))
    assert ours[2] == pytest.approx(theirs.high, abs=0.06 * (theirs.high - theirs.low))


def test_it_agrees_with_the_same_written_out_draw_by_draw() -> None:
    a_SUM, b_SUM, weight_SUM = drawn(3, users=0.02, of_seeds=0.02, of_both=0.02, draw=2)
    rng, more_SU = np.random.default_rng(7), (b_SUM - a_SUM)[:, :, 0]
    by_seed = [more_SU[:, rng.integers(0, 150, 150)].mean(axis=1) for _ in range(4000)]
    explained = sum(np.var([one[seed] - one.mean() for one in by_seed]) for seed in range(3)) / 2
    between = float(more_SU.mean(axis=1).var(ddof=1))
    scale = math.sqrt(3 / 2) * math.sqrt(between / (between + explained))
    means = [one.mean() + scale * (one[rng.integers(0, 3, 3)].mean() - one.mean()) for one in by_seed]
    low, high = np.quantile(means, [0.025, 0.975])
    ours = compared(a_SUM, b_SUM, weight_SUM, n_boot=4000).difference_M3[0]
    assert ours[1] == pytest.approx(low, abs=0.06 * (high - low))
    assert ours[2] == pytest.approx(high, abs=0.06 * (high - low))


@pytest.mark.parametrize(
    ("seeds", "users", "of_seeds", "of_both", "least"),
    [
        (1, 0.02, 0.0, 0.0, 0.90),
        (3, 0.02, 0.0, 0.0, 0.90),
        (3, 0.02, 0.02, 0.02, 0.90),
        (3, 0.0, 0.0, 0.02, 0.93),
        (5, 0.02, 0.02, 0.002, 0.87),
        (3, 0.0, 0.02, 0.002, 0.70),
    ],
)
def test_about_95_of_100_intervals_hold_the_true_difference_and_fewer_where_seeds_are_all(
    seeds: int, users: float, of_seeds: float, of_both: float, least: float
) -> None:
    held = 0
    for draw in range(200):
        sample = drawn(seeds, users=users, of_seeds=of_seeds, of_both=of_both, draw=draw)
        low, high = compared(*sample, n_boot=150).difference_M3[0, 1:]
        held += int(low <= 0.1 <= high)
    assert least <= held / 200 <= 0.995


def test_seeds_that_differ_widen_the_interval() -> None:
    calm = compared(*drawn(3, users=0.01, of_seeds=0.0, of_both=0.0, draw=3)).difference_M3[0]
    wild = compared(*drawn(3, users=0.01, of_seeds=0.05, of_both=0.0, draw=3)).difference_M3[0]
    assert wild[2] - wild[1] > 1.5 * (calm[2] - calm[1])


def test_no_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seed"):
        compared(np.zeros((0, 2, 1)), np.zeros((0, 2, 1)), np.zeros((0, 2, 1)))
