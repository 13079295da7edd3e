"""Two models of several training seeds on the same users: how far their metrics are apart, and how sure that is.

Two things are drawn by chance: the users who are measured, and the seeds with which the models were trained. Both are
resampled at once, the users as one draw for both models and all seeds, the seeds in pairs.

Shape letters: S seeds, U users, M metrics, B resamples; in [M, 3] the value, and the ends of its interval.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lowerfunnel.metrics.bootstrap import divided, resampled_sums, with_interval

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class SeededDifference:
    """M metrics of both models, means over the seeds, each with its value and interval; NaN where there is none.

    Attributes:
        a_M3: Of the first model.
        b_M3: Of the second.
        difference_M3: Second minus first.
        relative_M3: The difference as a share of the first.
        a_SM: Of the first model, by seed.
        b_SM: Of the second, by seed.
    """

    a_M3: FloatArray
    b_M3: FloatArray
    difference_M3: FloatArray
    relative_M3: FloatArray
    a_SM: FloatArray
    b_SM: FloatArray


def seeded_difference(
    a_SUM: FloatArray,
    b_SUM: FloatArray,
    weight_SUM: FloatArray,
    *,
    n_boot: int,
    generator: np.random.Generator,
    level: float = 0.95,
) -> SeededDifference:
    r"""Return M means over users of two models, averaged over seeds, and how far they are apart.

    A metric of a seed is ``sum over users of a / sum over users of weight``. A resample draws U users and, apart from
    them, S seeds with replacement; equal models differ by exactly 0, with an interval from 0 to 0. With one seed the
    interval is over users alone. What the draw of the seeds adds is scaled, metric by metric, by

        sqrt(S / (S - 1)) * sqrt(s2 / (s2 + v))

    with ``s2`` the variance of the seeds' differences and ``v`` the part of it that the users' draw explains (chance of
    a user under one seed alone). The first factor is there because S draws of S seeds spread too little, much for few
    seeds; the second because drawing the users and the seeds would count ``v`` once more.

    In simulations the intervals hold the truth in 90 to 99 of 100 cases, for 2, 3 and 5 seeds, while users make at least
    as much of the difference as seeds do. Where it is the seeds alone, it is 69, 80 and 86 of 100: no resample goes
    further than the best and the worst of so few.

    Args:
        a_SUM: Sums of each user under the first model, such as its recall, by seed.
        b_SUM: The same under the second model.
        weight_SUM: What a user counts, such as its number of queries: 0 where a seed does not measure the user.
        n_boot: Resamples.
        generator: Source of the draws.
        level: Of confidence.

    Raises:
        ValueError: If there are no seeds, users or resamples, or the sums are not finite.

    References:
        Two crossed factors, and what their bootstrap counts twice: Owen, The pigeonhole bootstrap, Annals of Applied
        Statistics 1(2), 2007. The first factor: Rao and Wu, Resampling inference with complex survey data, JASA 83,
        1988. The second is ours.
    """
    seeds, users, metrics = a_SUM.shape
    if seeds < 1:
        raise ValueError("a comparison needs at least one seed")
    # The second model is resampled as what it adds to the first: a matrix product may round equal columns apart.
    column_US3M = np.concatenate([a_SUM, b_SUM - a_SUM, weight_SUM], axis=2).transpose(1, 0, 2).reshape(users, -1)
    resampled_BSM = resampled_sums(column_US3M, n_boot=n_boot, generator=generator)
    sum_BSM = np.concatenate([column_US3M.sum(axis=0, keepdims=True), resampled_BSM]).reshape(-1, seeds, 3 * metrics)
    weight_BSM = sum_BSM[:, :, 2 * metrics :]
    a_BSM = divided(sum_BSM[:, :, :metrics], weight_BSM)
    more_BSM = divided(sum_BSM[:, :, metrics : 2 * metrics], weight_BSM)
    drawn_BS = generator.integers(0, seeds, size=(n_boot, seeds))
    a_BM, more_BM = (_over_seeds(value_BSM, drawn_BS) for value_BSM in (a_BSM, more_BSM))
    return SeededDifference(
        a_M3=with_interval(a_BM, level),
        b_M3=with_interval(a_BM + more_BM, level),
        difference_M3=with_interval(more_BM, level),
        relative_M3=with_interval(divided(more_BM, a_BM), level),
        a_SM=a_BSM[0],
        b_SM=a_BSM[0] + more_BSM[0],
    )


def _over_seeds(value_BSM: FloatArray, drawn_BS: npt.NDArray[np.int64]) -> FloatArray:
    """Average over the seeds: over all of them in the first row, over those drawn in the others, stretched."""
    seeds = value_BSM.shape[1]
    mean_BM: FloatArray = value_BSM.mean(axis=1)
    if seeds == 1:
        return mean_BM
    drawn_BSM = np.take_along_axis(value_BSM[1:], drawn_BS[:, :, None], axis=1)
    known_B = np.isfinite(value_BSM[1:]).all(axis=(1, 2))
    apart_BSM = (value_BSM[1:] - mean_BM[1:, None])[known_B]
    by_users_M = apart_BSM.var(axis=0).sum(axis=0) / (seeds - 1) if known_B.any() else np.zeros(value_BSM.shape[2])
    by_seeds_M = value_BSM[0].var(axis=0, ddof=1)
    once_M = np.sqrt(divided(by_seeds_M, by_seeds_M + by_users_M))
    scale_M = math.sqrt(seeds / (seeds - 1)) * np.where(np.isfinite(once_M), once_M, 0.0)
    averaged_BM: FloatArray = np.concatenate(
        [mean_BM[:1], mean_BM[1:] + scale_M * (drawn_BSM.mean(axis=1) - mean_BM[1:])]
    )
    return averaged_BM
