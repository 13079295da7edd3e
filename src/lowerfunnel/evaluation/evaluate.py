"""Whole-catalogue evaluation of several models on one evaluation set, in blocks of queries.

Shape letters: Q queries, P held-out pairs, I items, K length of a list, V advertisers, R places of a list at which
scores are collected.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lowerfunnel.evaluation.evaluation_set import EvaluationSet, Retriever
from lowerfunnel.evaluation.measure import Difference, measure, paired_difference
from lowerfunnel.evaluation.metrics_json import DataKind, MetricRow
from lowerfunnel.evaluation.pair_rank import RankLookup, rows_of
from lowerfunnel.events.timeline import Int32Array, Int64Array
from lowerfunnel.index.ranking import Float32Array
from lowerfunnel.metrics.ranking import concentration

DEFAULT_KS = (10, 20, 50, 100, 500, 1000)
COVERAGE_K = 100
SCORE_RANKS = (1, 10, 100, 1000)
SCORE_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)

Progress = Callable[[str, int, int], None]
"""Called after each block with the model, the queries done and the queries in all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelLists:
    """What is kept of one model's lists.

    Attributes:
        rank_P: Rank of each held-out pair, 0 where not found.
        slots_I: In how many lists each item stood among the first `COVERAGE_K`.
        score_at_rank: `SCORE_QUANTILES` of the scores at each of `SCORE_RANKS` that the lists reach.
        score_held_out: The same of the held-out items that were found; None if none was.
    """

    rank_P: Int32Array
    slots_I: Int64Array
    score_at_rank: dict[int, list[float]]
    score_held_out: list[float] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Figures of all models, and what they were computed from.

    Attributes:
        rows: The figures.
        lists: What is kept of each model's lists, by model.
        evaluation_set: What was evaluated.
    """

    rows: list[MetricRow]
    lists: dict[str, ModelLists]
    evaluation_set: EvaluationSet

    def difference(
        self, model: str, other: str, metric: str, *, slice_name: str = "all", n_boot: int = 1000, seed: int = 0
    ) -> Difference:
        """Return by how much `model` is above `other`; see `paired_difference`."""
        return paired_difference(
            self.lists[model].rank_P,
            self.lists[other].rank_P,
            self.evaluation_set.pair_offsets,
            metric=metric,
            n_boot=n_boot,
            seed=seed,
            inside_P=self.evaluation_set.slices_P[slice_name],
        )


def evaluate(
    retrievers: dict[str, Retriever],
    evaluation_set: EvaluationSet,
    *,
    n_items: int,
    data: DataKind,
    advertiser_of_item: Int32Array | None = None,
    ks: Sequence[int] = DEFAULT_KS,
    n_boot: int = 1000,
    seed: int = 0,
    block_queries: int = 2048,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate models on all queries, over the whole catalogue.

    Args:
        retrievers: The models, by the name under which they are reported.
        evaluation_set: Queries, held-out pairs, slices.
        n_items: Size of the catalogue. A `ks` beyond it is measured on what the lists hold.
        data: "real" or "synthetic": a figure never goes without it.
        advertiser_of_item: Dense advertiser of each item, -1 for none; None for a catalogue without advertisers.
        ks: Lengths of the lists.
        n_boot: Resamples of the queries for the intervals.
        seed: Of the resamples.
        block_queries: Queries whose lists are held at a time.
        progress: Called after each block.

    Raises:
        ValueError: If there is nothing to evaluate.
        RuntimeError: If a model returns an item that its query excludes.
    """
    if not retrievers or evaluation_set.queries == 0 or n_items < 1 or not ks:
        raise ValueError(
            f"an evaluation needs models, queries, items and list lengths; got {len(retrievers)} models, "
            f"{evaluation_set.queries} queries, {n_items} items, lengths {tuple(ks)}"
        )
    k = min(max(*ks, COVERAGE_K), n_items)
    lists = {
        model: _lists_of(
            model, retriever, evaluation_set, k, n_items=n_items, block_queries=block_queries, progress=progress
        )
        for model, retriever in retrievers.items()
    }
    ranks = {model: kept.rank_P for model, kept in lists.items()}
    rows = measure(ranks, evaluation_set, ks=ks, n_boot=n_boot, seed=seed, data=data)
    for model, kept in lists.items():
        coverages = {f"coverage@{COVERAGE_K}": kept.slots_I}
        if advertiser_of_item is not None and (advertiser_of_item >= 0).any():
            coverages[f"advertiser_coverage@{COVERAGE_K}"] = _advertiser_slots(kept.slots_I, advertiser_of_item)
        rows += [
            MetricRow(
                metric=metric,
                task=evaluation_set.task,
                slice="all",
                model=model,
                value=concentration(slots),
                ci_low=None,
                ci_high=None,
                n=evaluation_set.queries,
                data=data,
            )
            for metric, slots in coverages.items()
            if slots.any()
        ]
    return Evaluation(rows=rows, lists=lists, evaluation_set=evaluation_set)


def _lists_of(
    model: str,
    retriever: Retriever,
    evaluation_set: EvaluationSet,
    k: int,
    *,
    n_items: int,
    block_queries: int,
    progress: Progress | None,
) -> ModelLists:
    """Ask one model for all lists, a block of queries at a time, and keep what is needed of them."""
    queries = evaluation_set.queries
    rank_P = np.zeros(len(evaluation_set.pair_item_P), np.int32)
    score_P = np.full(len(rank_P), -np.inf, np.float32)
    slots_I = np.zeros(n_items, np.int64)
    score_ranks = [rank for rank in SCORE_RANKS if rank <= k]
    score_QR = np.full((queries, len(score_ranks)), -np.inf, np.float32)
    for start in range(0, queries, block_queries):
        stop = min(start + block_queries, queries)
        block = evaluation_set.block(start, stop)
        ranking = retriever.retrieve(block, k)
        if ranking.item_QK.shape != (block.queries, k):
            raise RuntimeError(
                f"{model} was asked for lists of shape {(block.queries, k)} and returned {ranking.item_QK.shape}"
            )
        lookup = RankLookup(ranking)
        excluded_rank = lookup.ranks(rows_of(block.excluded_offsets), block.excluded_item)
        if excluded_rank.any():
            raise RuntimeError(
                f"{model} returned {int((excluded_rank > 0).sum())} excluded items, the first at rank "
                f"{int(excluded_rank[excluded_rank > 0][0])}: an excluded item must never come back"
            )
        pair = slice(int(evaluation_set.pair_offsets[start]), int(evaluation_set.pair_offsets[stop]))
        row_P = rows_of(block.pair_offsets)
        rank_P[pair] = lookup.ranks(row_P, block.pair_item_P)
        score_P[pair] = np.where(rank_P[pair] > 0, ranking.score_QK[row_P, rank_P[pair] - 1], -np.inf)
        shown = ranking.item_QK[:, :COVERAGE_K]
        slots_I += np.bincount(shown[shown >= 0], minlength=n_items)
        score_QR[start:stop] = ranking.score_QK[:, np.array(score_ranks) - 1]
        if progress is not None:
            progress(model, stop, queries)
    at_rank = {rank: _score_quantiles(score_QR[:, column]) for column, rank in enumerate(score_ranks)}
    return ModelLists(
        rank_P=rank_P,
        slots_I=slots_I,
        score_at_rank={rank: quantiles for rank, quantiles in at_rank.items() if quantiles is not None},
        score_held_out=_score_quantiles(score_P),
    )


def _score_quantiles(score_N: Float32Array) -> list[float] | None:
    """Return the quantiles of the scores that are there; None if none is."""
    there_N: npt.NDArray[np.float64] = score_N[np.isfinite(score_N)].astype(np.float64)
    return np.quantile(there_N, SCORE_QUANTILES).tolist() if len(there_N) else None


def _advertiser_slots(slots_I: Int64Array, advertiser_of_item: Int32Array) -> Int64Array:
    """Add up the slots of each advertiser that has an item; items without advertiser are left out."""
    known_I = advertiser_of_item >= 0
    slots_V = np.bincount(advertiser_of_item[known_I], weights=slots_I[known_I]).astype(np.int64)
    has_item_V = np.bincount(advertiser_of_item[known_I]) > 0
    return slots_V[has_item_V]
