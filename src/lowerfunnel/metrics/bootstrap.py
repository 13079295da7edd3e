"""How far a mean over queries would move with other queries: percentile bootstrap intervals.

Shape letters: Q queries, M metrics (columns), R resamples of a block, B resamples in all.
"""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_DRAWS_PER_BLOCK = 4_000_000


def bootstrap_interval(
    value_QM: FloatArray,
    *,
    n_boot: int,
    generator: np.random.Generator,
    weight_QM: FloatArray | None = None,
    level: float = 0.95,
) -> tuple[FloatArray, FloatArray]:
    """Return the lower and upper ends of the intervals of M weighted means.

    Queries are drawn with replacement, as many as there are; all metrics see the same draws, so the differences of
    columns are resampled in pairs.

    Args:
        value_QM: One finite value per query and metric.
        n_boot: Number of resamples.
        generator: Source of the draws; the same state gives the same intervals.
        weight_QM: Non-negative weights of the means, such as how many held-out items a query has; None for equal ones,
            one column for the same weights in all means. A resample whose weights add up to zero for a metric does not
            count for it.
        level: Of confidence.

    Returns:
        Two arrays of M. With a single query both ends are its value.

    Raises:
        ValueError: If there are no queries or no resamples, or the values are not finite.

    References:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentile intervals).
    """
    if weight_QM is None:
        weight_QM = np.ones((len(value_QM), 1))
    both = np.concatenate([value_QM * weight_QM, weight_QM], axis=1)
    sum_BM = resampled_sums(both, n_boot=n_boot, generator=generator)
    metrics = value_QM.shape[1]
    with np.errstate(invalid="ignore"):  # 0 / 0 is the resample that does not count
        return percentile_interval(sum_BM[:, :metrics] / sum_BM[:, metrics:], level=level)


def resampled_sums(value_QM: FloatArray, *, n_boot: int, generator: np.random.Generator) -> FloatArray:
    """Return the sums of M columns over each of `n_boot` resamples of the queries: a [B, M] matrix.

    A resample is kept as how often it drew each query, which makes all sums of a block of them one matrix product.

    Raises:
        ValueError: If there are no queries or no resamples, or the values are not finite.
    """
    queries, metrics = value_QM.shape
    if queries < 1 or n_boot < 1:
        raise ValueError(f"an interval needs queries and resamples, got {queries} and {n_boot}")
    if not np.isfinite(value_QM).all():
        raise ValueError(f"{int((~np.isfinite(value_QM)).sum())} of {value_QM.size} values are NaN or infinite")
    sum_BM = np.empty((n_boot, metrics))
    block = max(1, min(n_boot, _DRAWS_PER_BLOCK // queries))
    count_RQ = np.empty((block, queries))
    for start in range(0, n_boot, block):
        stop = min(start + block, n_boot)
        for row in range(stop - start):
            drawn_Q = generator.integers(0, queries, size=queries, dtype=np.uint32)
            count_RQ[row] = np.bincount(drawn_Q, minlength=queries)
        sum_BM[start:stop] = count_RQ[: stop - start] @ value_QM
    return sum_BM


def percentile_interval(mean_BM: FloatArray, *, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
    """Return the ends of the central `level` of each column; NaN does not count."""
    tail = (1 - level) / 2
    low_M, high_M = np.nanquantile(mean_BM, [tail, 1 - tail], axis=0)
    return low_M, high_M


def divided(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Return the quotients, NaN where the denominator is zero."""
    quotient = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator != 0)
    return quotient


def with_interval(value_BM: FloatArray, level: float) -> FloatArray:
    """Return value, lower and upper end of each column, [M, 3], NaN throughout where the value is NaN.

    The first row of `value_BM` is of no resample; the interval is that of the others.
    """
    found_M3 = np.full((value_BM.shape[1], 3), np.nan)
    known_M = np.isfinite(value_BM[0]) & np.isfinite(value_BM[1:]).any(axis=0)
    found_M3[known_M, 0] = value_BM[0, known_M]
    if known_M.any():
        found_M3[known_M, 1], found_M3[known_M, 2] = percentile_interval(value_BM[1:, known_M], level=level)
    return found_M3
