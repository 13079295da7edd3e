"""Figures of all models from the ranks of the held-out pairs.

Shape letters: Q queries of a slice, P held-out pairs, M columns (a metric of a model each).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lowerfunnel.evaluation.evaluation_set import BoolArray, EvaluationSet
from lowerfunnel.evaluation.metrics_json import DataKind, MetricRow
from lowerfunnel.evaluation.slices import restrict
from lowerfunnel.events.timeline import Int32Array, Int64Array
from lowerfunnel.metrics.bootstrap import bootstrap_interval, percentile_interval, resampled_sums
from lowerfunnel.metrics.ranking import RANK_METRICS, recall, relevant_items, weighted_mean

Float64Array = npt.NDArray[np.float64]

MICRO_RECALL = "micro_recall"
_MOST_VALUES = 20_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """By how much one model is above another, on the same queries.

    Attributes:
        value: Mean of the differences.
        ci_low: Lower end of the 95% interval.
        ci_high: Upper end.
        n: Queries.
    """

    value: float
    ci_low: float
    ci_high: float
    n: int

    @property
    def above(self) -> bool:
        """Whether the first model is above the second, outside the interval."""
        return self.ci_low > 0

    @property
    def below(self) -> bool:
        """Whether the first model is below the second, outside the interval."""
        return self.ci_high < 0


def measure(
    rank_by_model: dict[str, Int32Array],
    evaluation_set: EvaluationSet,
    *,
    ks: Sequence[int],
    n_boot: int,
    seed: int,
    data: DataKind,
) -> list[MetricRow]:
    """Return recall, hit rate, NDCG, MRR and micro recall at all `ks`, for every slice and model.

    All models see the same resamples of a slice's queries. A slice without pairs gives no rows.

    Args:
        rank_by_model: Ranks of all held-out pairs, by model.
        evaluation_set: Gives pairs and slices.
        ks: Lengths of the lists.
        n_boot: Resamples.
        seed: Of the resamples.
        data: "real" or "synthetic".
    """
    rows = []
    for name, inside_P in evaluation_set.slices_P.items():
        row_S, offsets_S1 = restrict(inside_P, evaluation_set.pair_offsets)
        queries = len(row_S)
        if queries == 0:
            continue
        metrics = [f"{metric}@{k}" for metric in (*RANK_METRICS, MICRO_RECALL) for k in ks]
        at_once = max(1, _MOST_VALUES // (queries * len(metrics)))
        models = list(rank_by_model)
        for start in range(0, len(models), at_once):
            group = models[start : start + at_once]
            value_M, low_M, high_M = _figures(
                [rank_by_model[model][inside_P] for model in group], offsets_S1, ks, n_boot, seed
            )
            rows += [
                MetricRow(
                    metric=metric,
                    task=evaluation_set.task,
                    slice=name,
                    model=model,
                    value=float(value_M[column]),
                    ci_low=float(low_M[column]),
                    ci_high=float(high_M[column]),
                    n=queries,
                    data=data,
                )
                for column, (model, metric) in enumerate((model, metric) for model in group for metric in metrics)
            ]
    return rows


def paired_difference(
    rank_a_P: Int32Array,
    rank_b_P: Int32Array,
    pair_offsets: Int64Array,
    *,
    metric: str,
    n_boot: int,
    seed: int,
    inside_P: BoolArray | None = None,
) -> Difference:
    """Return by how much model a is above model b in `metric`, such as "recall@100", with a paired interval.

    Both models answered the same queries, so their difference is resampled query by query: that is far narrower than
    what two separate intervals would say.

    Args:
        rank_a_P: Ranks of the held-out pairs by model a.
        rank_b_P: The same by model b.
        pair_offsets: Q + 1 offsets into the pairs.
        metric: Name and length of the list.
        n_boot: Resamples.
        seed: Of the resamples.
        inside_P: Pairs of a slice; None for all.

    Raises:
        ValueError: If the metric is unknown, or the slice is empty.
    """
    name, _, length = metric.partition("@")
    if (name not in RANK_METRICS and name != MICRO_RECALL) or not length.isdecimal():
        known = ", ".join((*RANK_METRICS, MICRO_RECALL))
        raise ValueError(f"a metric is one of {known}, an @ and the length of the list; got {metric!r}")
    if inside_P is None:
        inside_P = np.ones(len(rank_a_P), np.bool_)
    row_S, offsets_S1 = restrict(inside_P, pair_offsets)
    if not len(row_S):
        raise ValueError("no query has a held-out item in this slice, so there is nothing to compare")
    of_name, k = RANK_METRICS.get(name, recall), int(length)
    value_S = of_name(rank_a_P[inside_P], offsets_S1, k) - of_name(rank_b_P[inside_P], offsets_S1, k)
    weight_S = relevant_items(offsets_S1).astype(np.float64) if name == MICRO_RECALL else None
    low_M, high_M = bootstrap_interval(
        value_S[:, None],
        n_boot=n_boot,
        generator=np.random.default_rng(seed),
        weight_QM=None if weight_S is None else weight_S[:, None],
    )
    return Difference(
        value=weighted_mean(value_S, weight_S), ci_low=float(low_M[0]), ci_high=float(high_M[0]), n=len(row_S)
    )


def _figures(
    rank_of_models: list[Int32Array], offsets_Q1: Int64Array, ks: Sequence[int], n_boot: int, seed: int
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return values and ends of intervals, models outermost, then metrics, then `ks`."""
    models = len(rank_of_models)
    weight_Q = relevant_items(offsets_Q1).astype(np.float64)
    mean_QM = [
        of_name(rank_P, offsets_Q1, k) for rank_P in rank_of_models for of_name in RANK_METRICS.values() for k in ks
    ]
    hits_QM = [recall(rank_P, offsets_Q1, k) * weight_Q for rank_P in rank_of_models for k in ks]
    column_QM = np.stack([*mean_QM, *hits_QM, np.ones(len(weight_Q)), weight_Q], axis=1)

    def of_sums(sum_BM: Float64Array) -> Float64Array:
        """Divide by what each column is a mean over, and bring micro recall behind its model's other metrics."""
        mean_BM = sum_BM[:, : len(mean_QM)] / sum_BM[:, -2:-1]
        micro_BM = sum_BM[:, len(mean_QM) : -2] / sum_BM[:, -1:]
        parts = [part_BM.reshape(len(sum_BM), models, -1) for part_BM in (mean_BM, micro_BM)]
        return np.concatenate(parts, axis=2).reshape(len(sum_BM), -1)

    sum_BM = resampled_sums(column_QM, n_boot=n_boot, generator=np.random.default_rng(seed))
    return of_sums(column_QM.sum(axis=0, keepdims=True))[0], *percentile_interval(of_sums(sum_BM))
