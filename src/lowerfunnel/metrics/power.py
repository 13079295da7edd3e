"""What an ordinary A/B test would see of a difference: two groups of users, each under one treatment.

Shape letters: U users, C columns of sums, M metrics.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Power:
    """How hard M differences are to see; NaN where a metric's denominator is 0.

    Attributes:
        paired_error_M: Standard error of the difference, all U users under both treatments.
        unpaired_error_M: The same of an ordinary test that gives each treatment U / 2 of the users.
        detectable_M: Smallest true difference that the ordinary test finds with the power asked for.
        users_per_group_M: Users that each group of an ordinary test needs to find the difference observed here; infinite
            where there is none.
        saved_M: Share of the variance that is gone because both treatments share users and luck: 1 minus the variance of
            the paired difference by that of U other users in each group. NaN where nothing varies.
    """

    paired_error_M: FloatArray
    unpaired_error_M: FloatArray
    detectable_M: FloatArray
    users_per_group_M: FloatArray
    saved_M: FloatArray


def power_of_ratios(
    a_UC: FloatArray,
    b_UC: FloatArray,
    *,
    numerator_M: IntArray,
    denominator_M: IntArray,
    power: float = 0.8,
    significance: float = 0.05,
) -> Power:
    """Estimate the power of an ordinary, two-sided A/B test from users who were given both treatments.

    Args:
        a_UC: Sums of each user under the first treatment.
        b_UC: The same under the second.
        numerator_M: Column that a metric adds up.
        denominator_M: Column that it is divided by; one of 1 / U makes the metric a total.
        power: Chance of finding a true difference.
        significance: Chance of finding one that is not there.

    Raises:
        ValueError: If there are fewer than 2 users: a spread needs two.

    References:
        Deng, Knoblich and Lu, Applying the Delta Method in Metric Analytics, KDD 2018, for the variance of ratios; the
        sample size is the textbook's for two means, (z_{1 - significance / 2} + z_power)^2 (var_a + var_b) / difference^2.
    """
    users = len(a_UC)
    if users < 2:
        raise ValueError(f"a spread needs at least 2 users, got {users}")
    effect_a_UM, a_M = ratio_effects(a_UC, numerator_M, denominator_M)
    effect_b_UM, b_M = ratio_effects(b_UC, numerator_M, denominator_M)
    apart_M = effect_a_UM.var(axis=0, ddof=1) + effect_b_UM.var(axis=0, ddof=1)
    paired_M = (effect_b_UM - effect_a_UM).var(axis=0, ddof=1)
    normal = NormalDist()
    reach = normal.inv_cdf(1 - significance / 2) + normal.inv_cdf(power)
    unpaired_error_M = np.sqrt(2 * apart_M / users)
    with np.errstate(divide="ignore", invalid="ignore"):  # no difference needs infinitely many users
        users_per_group_M = np.where(a_M == b_M, np.inf, reach**2 * apart_M / (b_M - a_M) ** 2)
        saved_M = 1 - paired_M / np.where(apart_M > 0, apart_M, np.nan)
    return Power(
        paired_error_M=np.sqrt(paired_M / users),
        unpaired_error_M=unpaired_error_M,
        detectable_M=reach * unpaired_error_M,
        users_per_group_M=users_per_group_M,
        saved_M=saved_M,
    )


def ratio_effects(
    column_UC: FloatArray, numerator_M: IntArray, denominator_M: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Return what each user adds to M ratios of sums, and the ratios.

    ``effect_u = (n_u - R d_u) / mean(d)`` with ``R = sum(n) / sum(d)``. Effects have mean 0, and the variance of the
    ratio among samples of U users is close to ``var(effect) / U``.

    Example:
        >>> effect_U1, ratio_1 = ratio_effects(np.array([[1.0, 2.0], [0.0, 2.0]]), np.array([0]), np.array([1]))
        >>> effect_U1.ravel().tolist(), ratio_1.tolist()
        ([0.25, -0.25], [0.25])
    """
    sum_C = column_UC.sum(axis=0)
    below_M = np.where(sum_C[denominator_M] == 0, np.nan, sum_C[denominator_M])
    ratio_M = sum_C[numerator_M] / below_M
    mean_M = below_M / len(column_UC)
    effect_UM: FloatArray = (column_UC[:, numerator_M] - ratio_M * column_UC[:, denominator_M]) / mean_M
    return effect_UM, ratio_M
