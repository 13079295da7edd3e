"""Paired differences: laws, an independent bootstrap, and their coverage of a known difference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lowerfunnel.metrics.paired import PairedRatios, paired_ratios, relative_change

TOTAL = np.array([0]), np.array([2])
RATE = np.array([0]), np.array([1])
BOTH = np.array([0, 0]), np.array([2, 1])

counts = arrays(np.float64, st.tuples(st.integers(2, 30), st.just(2)), elements=st.integers(0, 5).map(float))


def columns(count_U2: np.ndarray) -> np.ndarray:
    """Successes, tries (at least as many) and the column that makes totals."""
    return np.stack([count_U2[:, 0], count_U2.sum(axis=1), np.full(len(count_U2), 1 / len(count_U2))], axis=1)


def compared(a_UC: np.ndarray, b_UC: np.ndarray, of: tuple = BOTH, n_boot: int = 50, seed: int = 0) -> PairedRatios:
    return paired_ratios(
        a_UC, b_UC, numerator_M=of[0], denominator_M=of[1], n_boot=n_boot, generator=np.random.default_rng(seed)
    )


def drawn(users: int, seed: int, lift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Users whose tries are theirs and whose successes have two rates, with common luck."""
    rng = np.random.default_rng(seed)
    tries_U = rng.poisson(rng.gamma(1.0, 8.0, users)) + 1
    rate_U = rng.beta(2, 8, users)
    luck_U = rng.random((users, tries_U.max()))
    shown_U = np.arange(tries_U.max()) < tries_U[:, None]
    made = [((luck_U < rate) & shown_U).sum(axis=1) for rate in (rate_U[:, None], rate_U[:, None] * (1 + lift))]
    one_U = np.full(users, 1 / users)
    a_UC, b_UC = (np.stack([made_U, tries_U, one_U], axis=1).astype(float) for made_U in made)
    return a_UC, b_UC


@given(counts)
@settings(deadline=None)
def test_equal_treatments_differ_by_exactly_nothing(count_U2: np.ndarray) -> None:
    found = compared(columns(count_U2) * np.pi, columns(count_U2) * np.pi)
    known_M = np.isfinite(found.a_M3[:, 0])
    assert (found.difference_M3[known_M] == 0).all()
    assert (found.relative_M3[known_M & (found.a_M3[:, 0] != 0)] == 0).all()
    assert np.array_equal(found.a_M3, found.b_M3, equal_nan=True)


@given(counts, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_exchanging_the_treatments_turns_the_difference_round(count_U2: np.ndarray, random: object) -> None:
    a_UC = columns(count_U2)
    b_UC = columns(np.roll(count_U2, 1, axis=0))
    one, other = compared(a_UC, b_UC), compared(b_UC, a_UC)
    assert np.allclose(one.difference_M3[:, 0], -other.difference_M3[:, 0], equal_nan=True)
    assert np.allclose(one.difference_M3[:, 1:], -other.difference_M3[:, :0:-1], equal_nan=True)


@given(counts, st.floats(0.1, 10))
@settings(deadline=None)
def test_another_currency_changes_no_relative_difference(count_U2: np.ndarray, rate: float) -> None:
    a_UC, b_UC = columns(count_U2), columns(np.roll(count_U2, 1, axis=0))
    dear = np.array([rate, 1.0, 1.0])
    one, other = compared(a_UC, b_UC), compared(a_UC * dear, b_UC * dear)
    assert np.allclose(one.relative_M3, other.relative_M3, equal_nan=True)
    assert np.allclose(one.a_M3 * rate, other.a_M3, equal_nan=True)


def test_a_wider_level_holds_the_narrower() -> None:
    a_UC, b_UC = drawn(200, 0, lift=0.3)
    ends = [
        paired_ratios(
            a_UC,
            b_UC,
            numerator_M=RATE[0],
            denominator_M=RATE[1],
            n_boot=300,
            generator=np.random.default_rng(0),
            level=level,
        ).difference_M3[0, 1:]
        for level in (0.5, 0.9, 0.99)
    ]
    assert ends[0][0] > ends[1][0] > ends[2][0]
    assert ends[0][1] < ends[1][1] < ends[2][1]


def test_a_ratio_without_a_denominator_is_no_number() -> None:
    nothing_UC = np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5]])
    found = compared(nothing_UC, nothing_UC)
    assert np.isnan(found.a_M3[1]).all()
    assert np.isnan(found.relative_M3).all()
    assert found.a_M3[0].tolist() == [0.0, 0.0, 0.0]


def test_values_by_hand() -> None:
    a_UC = np.array([[1.0, 4.0, 0.5], [1.0, 4.0, 0.5]])
    b_UC = np.array([[3.0, 8.0, 0.5], [0.0, 4.0, 0.5]])
    found = compared(a_UC, b_UC)
    assert found.a_M3[:, 0].tolist() == [2.0, 2 / 8]
    assert found.b_M3[:, 0].tolist() == [3.0, 3 / 12]
    assert found.difference_M3[:, 0].tolist() == [1.0, 0.0]
    assert found.relative_M3[:, 0].tolist() == [0.5, 0.0]


def test_it_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    a_UC, b_UC = drawn(300, 1, lift=0.2)

    def relative(a_0: np.ndarray, a_1: np.ndarray, b_0: np.ndarray, b_1: np.ndarray, axis: int) -> np.ndarray:
        return (b_0.sum(axis=axis) / b_1.sum(axis=axis)) / (a_0.sum(axis=axis) / a_1.sum(axis=axis)) - 1

    theirs = stats.bootstrap(
        (a_UC[:, 0], a_UC[:, 1], b_UC[:, 0], b_UC[:, 1]),
        relative,
        paired=True,
        vectorized=True,
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(5),
    ).confidence_interval
    ours = compared(a_UC, b_UC, RATE, n_boot=4000).relative_M3[0]
    width = theirs.high - theirs.low
    assert ours[1] == pytest.approx(theirs.low, abs=0.06 * width)
    assert ours[2] == pytest.approx(theirs.high, abs=0.06 * width)


def test_about_95_of_100_intervals_hold_the_true_difference() -> None:
    lift, held = 0.25, 0
    for seed in range(200):
        a_UC, b_UC = drawn(250, seed, lift=lift)
        low, high = compared(a_UC, b_UC, TOTAL, n_boot=200, seed=seed).relative_M3[0, 1:]
        held += int(low <= lift <= high)
    assert 0.90 <= held / 200 <= 0.985


def test_the_quick_error_is_the_bootstrap_s() -> None:
    a_UC, b_UC = drawn(500, 3, lift=0.2)
    value, error = relative_change(a_UC[:, 0], b_UC[:, 0])
    found = compared(a_UC, b_UC, TOTAL, n_boot=3000).relative_M3[0]
    assert value == pytest.approx(found[0])
    assert 1.96 * error == pytest.approx((found[2] - found[1]) / 2, rel=0.08)


def test_users_without_anything_leave_the_quick_error_as_it_is() -> None:
    a_UC, b_UC = drawn(500, 3, lift=0.2)
    idle_U = np.zeros(500)
    one = relative_change(a_UC[:, 0], b_UC[:, 0])
    other = relative_change(np.append(a_UC[:, 0], idle_U), np.append(b_UC[:, 0], idle_U))
    assert other == pytest.approx(one, rel=2e-3)


def test_no_total_has_no_change() -> None:
    assert np.isnan(relative_change(np.zeros(3), np.ones(3))).all()
    assert relative_change(np.ones(3), np.ones(3)) == (0.0, 0.0)
