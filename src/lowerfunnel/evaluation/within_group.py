"""Whether a model still tells the items of one advertiser apart: a loss that pulls them together may drown that.

Shape letters: Q queries, P held-out pairs sorted by query, I items, E width of the vectors, G items of a pair's group,
N comparisons (ragged over P).
"""

import numpy as np

from lowerfunnel.evaluation.evaluation_set import EvaluationSet
from lowerfunnel.evaluation.metrics_json import DataKind, MetricRow
from lowerfunnel.evaluation.pair_rank import rows_of
from lowerfunnel.events.timeline import Int32Array, Int64Array, ragged_index
from lowerfunnel.index.ranking import Float32Array
from lowerfunnel.metrics.bootstrap import bootstrap_interval
from lowerfunnel.retrieval.corpus import Corpus
from lowerfunnel.retrieval.encoder import Encoder

METRIC = "within_advertiser_auc"
_MOST_COMPARISONS = 2_000_000


def within_group_auc(
    query_QE: Float32Array,
    item_IE: Float32Array,
    *,
    pair_offsets: Int64Array,
    pair_item_P: Int32Array,
    group_I: Int32Array,
) -> Float32Array:
    """Return, per held-out pair, the share of its group's other items that score below it; a tie counts half.

    One half is chance, whatever the size of a group. NaN for a pair outside the catalogue, without a group, or alone in it.
    """
    by_group = np.argsort(group_I, kind="stable")
    start_G1 = np.searchsorted(group_I[by_group], np.arange(max(int(group_I.max(initial=-1)), 0) + 2))
    known_P = pair_item_P >= 0
    group_P = np.where(known_P, group_I[np.maximum(pair_item_P, 0)], -1)
    row_P = np.maximum(group_P, 0)
    size_P = np.where(group_P >= 0, start_G1[row_P + 1] - start_G1[row_P], 0)
    asked = np.flatnonzero(size_P > 1)
    query_P = rows_of(pair_offsets)
    auc_P = np.full(len(pair_item_P), np.nan, np.float32)
    done = np.cumsum(size_P[asked])
    for block in np.split(asked, np.flatnonzero(np.diff(done // _MOST_COMPARISONS)) + 1):
        if not len(block):
            continue
        place_N, offsets = ragged_index(start_G1[group_P[block]], start_G1[group_P[block] + 1])
        owner_N = np.repeat(block, np.diff(offsets))
        other_N = by_group[place_N]
        score_N = np.einsum("ne,ne->n", query_QE[query_P[owner_N]], item_IE[other_N])
        own = np.einsum("pe,pe->p", query_QE[query_P[block]], item_IE[pair_item_P[block]])
        own_N = np.repeat(own, np.diff(offsets))
        wins_N = (score_N < own_N) + 0.5 * (score_N == own_N)
        wins_N[other_N == pair_item_P[owner_N]] = 0.0
        auc_P[block] = np.add.reduceat(wins_N, offsets[:-1]) / (size_P[block] - 1)
    return auc_P


def within_group_rows(
    corpus: Corpus,
    encoder: Encoder,
    queries: EvaluationSet,
    group_I: Int32Array,
    *,
    n_boot: int,
    seed: int,
    data: DataKind,
) -> list[MetricRow]:
    """Return the figure of a model, as a list of one; nothing where no held-out pair has a group of others."""
    if not (group_I >= 0).any():
        return []
    query_QE = encoder.users(
        queries.user_Q,
        queries.at_us_Q,
        timelines=corpus.known,
        features=corpus.user_features,
        trained_U=corpus.trained_U,
    )
    auc_P = within_group_auc(
        query_QE,
        encoder.items(),
        pair_offsets=queries.pair_offsets,
        pair_item_P=queries.pair_item_P,
        group_I=group_I,
    )
    row = within_group_row(
        auc_P, queries.pair_offsets, task=queries.task, model="lowerfunnel", n_boot=n_boot, seed=seed, data=data
    )
    return [] if row is None else [row]


def within_group_row(
    auc_P: Float32Array, pair_offsets: Int64Array, *, task: str, model: str, n_boot: int, seed: int, data: DataKind
) -> MetricRow | None:
    """Return the mean over queries of their pairs' means, with its interval; None where no pair has a group of others."""
    known_P = ~np.isnan(auc_P)
    count_Q = np.add.reduceat(known_P.astype(np.int64), pair_offsets[:-1])
    sum_Q = np.add.reduceat(np.where(known_P, auc_P, 0.0).astype(np.float64), pair_offsets[:-1])
    asked_Q = count_Q > 0
    if not asked_Q.any():
        return None
    value_S = sum_Q[asked_Q] / count_Q[asked_Q]
    low_M, high_M = bootstrap_interval(value_S[:, None], n_boot=n_boot, generator=np.random.default_rng(seed))
    return MetricRow(
        metric=METRIC,
        task=task,
        slice="all",
        model=model,
        value=float(value_S.mean()),
        ci_low=float(low_M[0]),
        ci_high=float(high_M[0]),
        n=len(value_S),
        data=data,
    )
