"""Two treatments of the same users: how far their metrics are apart, and how sure that is.

A metric is a ratio of two sums over users, such as clicks by impressions. Its unit of randomness is the user, whose
impressions are anything but independent of each other, so users are resampled, each with all that is theirs under both
treatments.

Shape letters: U users, C columns of sums, M metrics, B resamples; in [M, 3] the value, and the ends of its interval.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lowerfunnel.metrics.bootstrap import divided, resampled_sums, with_interval

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedRatios:
    """M metrics under both treatments, each with its value and interval; NaN where a denominator is 0.

    Attributes:
        a_M3: Under the first treatment.
        b_M3: Under the second.
        difference_M3: Second minus first.
        relative_M3: The difference as a share of the first.
    """

    a_M3: FloatArray
    b_M3: FloatArray
    difference_M3: FloatArray
    relative_M3: FloatArray


def paired_ratios(
    a_UC: FloatArray,
    b_UC: FloatArray,
    *,
    numerator_M: IntArray,
    denominator_M: IntArray,
    n_boot: int,
    generator: np.random.Generator,
    level: float = 0.95,
) -> PairedRatios:
    """Return M ratios of sums under two treatments of the same users, with percentile intervals.

    Equal columns give differences of exactly 0, with intervals from 0 to 0. A resample in which a metric's denominator
    is 0 does not count for it.

    Args:
        a_UC: Sums of each user under the first treatment.
        b_UC: The same under the second.
        numerator_M: Column that a metric adds up.
        denominator_M: Column that it is divided by; one of 1 / U makes the metric a total.
        n_boot: Resamples of the users.
        generator: Source of the draws.
        level: Of confidence.

    Raises:
        ValueError: If there are no users or resamples, or the sums are not finite.

    References:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13; the user as the unit of randomness:
        Kohavi, Tang and Xu, Trustworthy Online Controlled Experiments, 2020, chapter 18.
    """
    # The second treatment is resampled as what it adds to the first: a matrix product may round equal columns apart.
    column_UC2 = np.concatenate([a_UC, b_UC - a_UC], axis=1)
    resampled_BC2 = resampled_sums(column_UC2, n_boot=n_boot, generator=generator)
    sum_BC2 = np.concatenate([column_UC2.sum(axis=0, keepdims=True), resampled_BC2])
    columns = a_UC.shape[1]
    sum_a_BC, sum_b_BC = sum_BC2[:, :columns], sum_BC2[:, :columns] + sum_BC2[:, columns:]
    a_BM = divided(sum_a_BC[:, numerator_M], sum_a_BC[:, denominator_M])
    b_BM = divided(sum_b_BC[:, numerator_M], sum_b_BC[:, denominator_M])
    return PairedRatios(
        a_M3=with_interval(a_BM, level),
        b_M3=with_interval(b_BM, level),
        difference_M3=with_interval(b_BM - a_BM, level),
        relative_M3=with_interval(divided(b_BM - a_BM, a_BM), level),
    )


def relative_change(a_U: FloatArray, b_U: FloatArray) -> tuple[float, float]:
    """Return by which share the total of `b_U` is above that of `a_U`, and the standard error of that share.

    By the delta method, over the same users: cheap enough to be asked for day by day. NaN where the first total is 0.

    Example:
        >>> value, error = relative_change(np.array([1.0, 3.0]), np.array([2.0, 3.0]))
        >>> round(value, 3), round(error, 3)
        (0.25, 0.375)
    """
    total_a = float(a_U.sum())
    if total_a == 0:
        return float("nan"), float("nan")
    ratio = float(b_U.sum()) / total_a
    rest_U = b_U - ratio * a_U
    users = len(a_U)
    spread = float(rest_U.var(ddof=1)) if users > 1 else float("nan")
    return ratio - 1, float(np.sqrt(users * spread)) / abs(total_a)
