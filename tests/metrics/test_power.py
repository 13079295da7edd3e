"""Power of an ordinary A/B test: laws, and against tests that are really made."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lowerfunnel.metrics.power import Power, power_of_ratios, ratio_effects

counts = arrays(np.float64, st.tuples(st.integers(3, 30), st.just(2)), elements=st.integers(0, 5).map(float))


def columns(success_U: np.ndarray, tries_U: np.ndarray) -> np.ndarray:
    return np.stack([success_U, tries_U, np.full(len(tries_U), 1 / len(tries_U))], axis=1).astype(float)


def power(a_UC: np.ndarray, b_UC: np.ndarray) -> Power:
    """Of the total (first) and of the rate (second)."""
    return power_of_ratios(a_UC, b_UC, numerator_M=np.array([0, 0]), denominator_M=np.array([2, 1]))


def population(users: int, rate: float, seed: int, tries_seed: int = 99) -> np.ndarray:
    tries_U = np.random.default_rng(tries_seed).poisson(10, users) + 1
    rng = np.random.default_rng(seed)
    return columns(rng.binomial(tries_U, np.clip(rng.beta(2, 8, users) * rate / 0.2, 0, 1)), tries_U)


@given(counts)
@settings(deadline=None)
def test_effects_have_mean_zero(count_U2: np.ndarray) -> None:
    column_UC = columns(count_U2[:, 0], count_U2.sum(axis=1) + 1)
    effect_UM, ratio_M = ratio_effects(column_UC, np.array([0, 0]), np.array([2, 1]))
    assert np.allclose(effect_UM.mean(axis=0), 0, atol=1e-9 * max(1.0, len(count_U2)))
    assert ratio_M[0] == pytest.approx(count_U2[:, 0].sum())


def test_equal_treatments_need_infinitely_many_users_and_share_everything() -> None:
    a_UC = population(500, 0.2, 0)
    found = power(a_UC, a_UC)
    assert np.isinf(found.users_per_group_M).all()
    assert found.paired_error_M.tolist() == [0.0, 0.0]
    assert found.saved_M.tolist() == [1.0, 1.0]


def test_unrelated_treatments_share_nothing() -> None:
    rng = np.random.default_rng(0)
    made = [columns(rng.poisson(2, 20_000), np.ones(20_000)) for _ in range(2)]
    assert power(*made).saved_M == pytest.approx([0, 0], abs=0.03)


def test_four_times_the_users_find_half_the_difference() -> None:
    a_UC, b_UC = population(500, 0.2, 0), population(500, 0.22, 1)
    few = power(a_UC, b_UC)
    many = power(columns(*np.tile(a_UC[:, :2], (4, 1)).T), columns(*np.tile(b_UC[:, :2], (4, 1)).T))
    assert many.detectable_M[1] == pytest.approx(few.detectable_M[1] / 2, rel=1e-2)
    assert many.users_per_group_M == pytest.approx(few.users_per_group_M, rel=1e-2)


def test_the_users_needed_make_the_observed_difference_just_detectable() -> None:
    found = power(a_UC := population(800, 0.2, 0), b_UC := population(800, 0.26, 1))
    observed = b_UC[:, 0].sum() / b_UC[:, 1].sum() - a_UC[:, 0].sum() / a_UC[:, 1].sum()
    assert found.detectable_M[1] * np.sqrt(400 / found.users_per_group_M[1]) == pytest.approx(abs(observed))


def test_value_by_hand() -> None:
    # Totals of 2 and 4 over 4 users. Per user 1, 0, 1, 0 and 1, 1, 1, 1: variances 1/3 and 0, times U^2 = 16 for the total.
    found = power(columns(np.array([1, 0, 1, 0]), np.ones(4)), columns(np.ones(4), np.ones(4)))
    assert found.unpaired_error_M[0] == pytest.approx(np.sqrt(2 * (16 / 3) / 4))
    assert found.paired_error_M[0] == pytest.approx(np.sqrt((16 / 3) / 4))
    assert found.detectable_M[0] == pytest.approx((1.959964 + 0.841621) * np.sqrt(8 / 3), rel=1e-6)
    assert found.users_per_group_M[0] == pytest.approx((1.959964 + 0.841621) ** 2 * (16 / 3) / 4, rel=1e-6)
    assert found.saved_M[0] == pytest.approx(0)


def test_real_tests_scatter_as_foretold_and_find_the_detectable_difference_four_times_in_five() -> None:
    users, tests = 2000, 1500
    a_UC, b_UC = population(users, 0.2, 0), population(users, 0.22, 1)
    found = power(a_UC, b_UC)
    true = b_UC[:, 0].sum() / b_UC[:, 1].sum() - a_UC[:, 0].sum() / a_UC[:, 1].sum()
    rng = np.random.default_rng(2)
    seen = np.empty(tests)
    for test in range(tests):
        # Groups are drawn with replacement, as if from all users that there could be.
        in_a, in_b = rng.integers(0, users, (2, users // 2))
        seen[test] = b_UC[in_b, 0].sum() / b_UC[in_b, 1].sum() - a_UC[in_a, 0].sum() / a_UC[in_a, 1].sum()
    error = found.unpaired_error_M[1]
    assert seen.std() == pytest.approx(error, rel=0.06)
    shifted = seen - true + found.detectable_M[1]
    assert (shifted > 1.959964 * error).mean() == pytest.approx(0.8, abs=0.035)


def test_one_user_has_no_spread() -> None:
    with pytest.raises(ValueError, match="at least 2 users, got 1"):
        power(columns(np.ones(1), np.ones(1)), columns(np.ones(1), np.ones(1)))
