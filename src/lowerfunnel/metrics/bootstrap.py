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
    columns are resampled in pairs. A draw is kept as how often it took each query, which makes all means of a block of
    draws one matrix product.

    Args:
        value_QM: One finite value per query and metric.
        n_boot: Number of resamples.
        generator: Source of the draws; the same state gives the same intervals.
        weight_QM: Non-negative weights of the means, such as how many held-out items a query has; None for equal ones.
            A resample whose weights add up to zero for a metric does not count for it.
        level: Of confidence.

    Returns:
        Two arrays of M. With a single query both ends are its value.

    Raises:
        ValueError: If there are no queries or no resamples, or the values are not finite.

    References:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentile intervals).
    """
    queries, metrics = value_QM.shape
    if queries < 1 or n_boot < 1:
        raise ValueError(f"an interval needs queries and resamples, got {queries} and {n_boot}")
    if not np.isfinite(value_QM).all():
        raise ValueError(f"{int((~np.isfinite(value_QM)).sum())} of {value_QM.size} values are NaN or infinite")
    weighted_QM = value_QM if weight_QM is None else value_QM * weight_QM
    mean_BM = np.empty((n_boot, metrics))
    block = max(1, _DRAWS_PER_BLOCK // queries)
    for start in range(0, n_boot, block):
        stop = min(start + block, n_boot)
        count_RQ = _draw_counts(queries, stop - start, generator)
        total_RM = queries if weight_QM is None else count_RQ @ weight_QM
        with np.errstate(invalid="ignore"):  # 0 / 0 is the resample that does not count
            mean_BM[start:stop] = (count_RQ @ weighted_QM) / total_RM
    tail = (1 - level) / 2
    low_M, high_M = np.nanquantile(mean_BM, [tail, 1 - tail], axis=0)
    return low_M, high_M


def _draw_counts(queries: int, resamples: int, generator: np.random.Generator) -> FloatArray:
    """Draw `queries` queries `resamples` times; return how often each was drawn."""
    drawn = generator.integers(0, queries, size=(resamples, queries))
    drawn += np.arange(resamples)[:, None] * queries
    count = np.bincount(drawn.ravel(), minlength=resamples * queries)
    return count.reshape(resamples, queries).astype(np.float64)
