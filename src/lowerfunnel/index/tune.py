"""How wide an approximate search must be, measured on the queries that it will get.

Unfiltered, and through random filters: the best k items behind a filter lie as deep as the best k / share of all, and
that is what a search must be wide enough for. The smallest width of a geometric ladder that reaches the target is taken,
for every depth down to where the exact search of the allowed items is cheaper anyway.

Shape letters: Q queries, D width of the vectors, I items, K length of a list.
"""

import time
from dataclasses import dataclass

import numpy as np

from lowerfunnel.errors import RunError
from lowerfunnel.index.allowed import Allowed
from lowerfunnel.index.exact import ExactIndex
from lowerfunnel.index.faiss_index import FaissIndex
from lowerfunnel.index.plan import Widths
from lowerfunnel.index.ranking import Float32Array, Ranking

SHARES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
_STEP = 2**0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuned:
    """What was measured.

    Attributes:
        widths: The widths to search with.
        curve: One point per measured width: `share` of items that the filter passed, `width`, `recall` at k, `p50_ms` and
            `p99_ms` of single searches on one thread.
    """

    widths: Widths
    curve: tuple[dict[str, float], ...]


def tune(index: FaissIndex, query_QD: Float32Array, *, target_recall: float, k: int, seed: int = 0) -> Tuned:
    """Find the widths with which an index reaches a recall.

    Args:
        index: An approximate index.
        query_QD: Queries of the user tower, at least one; some hundreds make the recall certain to about .001.
        target_recall: Mean share, per query, of the exact best `k` items that must be found.
        k: Length of the lists.
        seed: For the random filters.

    Raises:
        RunError: If no width reaches the target.
        ValueError: If there is nothing to tune, or no query.
    """
    if index.method.strategy == "exact" or not len(query_QD):
        raise ValueError(f"only a search with a width can be tuned, on at least one query; got {index.kind}")
    exact = ExactIndex.over(index.method.row_IE[:, : index.width])
    generator = np.random.default_rng(seed)
    points: list[tuple[float, int]] = []
    curve: list[dict[str, float]] = []
    width = min(k, index.method.widest) if index.method.strategy == "graph" else 1  # a graph keeps k at least
    for share in SHARES:
        allowed = _random(generator, index.items, share)
        count = index.items if allowed is None else allowed.count
        if count < k and points:
            break
        truth = exact.search(query_QD, k, allowed=allowed)
        while True:
            point = _measured(index, query_QD, k, width, allowed, truth)
            curve.append({"share": share, **point})
            if point["recall"] >= target_recall:
                points.append((k * index.items / max(count, 1), width))
                break
            if width >= index.method.widest:
                break
            width = min(max(width + 1, int(width * _STEP)), index.method.widest)
        if not points:
            raise RunError(
                f"no search width reaches a recall of {target_recall} at {k} (the widest, {width}, finds "
                f"{curve[-1]['recall']:.4f}): ask for less, or build a finer index"
            )
        reached = points[-1][0] == k * index.items / max(count, 1)
        if not reached or (allowed is not None and index.exact_is_cheaper(width, count)):
            break
    return Tuned(widths=Widths(points=tuple(points), growth=index.method.growth), curve=tuple(curve))


def recall(found: Ranking, truth: Ranking) -> float:
    """Return the mean share of the true items that were found; queries without any count as 1."""
    shares = [
        len(set(found_K) & set(true_K[:length])) / length if length else 1.0
        for found_K, true_K, length in zip(
            found.item_QK.tolist(), truth.item_QK.tolist(), truth.lengths.tolist(), strict=True
        )
    ]
    return float(np.mean(shares))


def _random(generator: np.random.Generator, items: int, share: float) -> Allowed | None:
    return None if share == 1 else Allowed.of_mask(generator.random(items) < share)


def _measured(
    index: FaissIndex, query_QD: Float32Array, k: int, width: int, allowed: Allowed | None, truth: Ranking
) -> dict[str, float]:
    found = Ranking.empty(len(query_QD), k)
    taken_s = np.empty(len(query_QD))
    for query in range(len(query_QD)):
        began = time.perf_counter()
        one = index.search_with_width(query_QD[query : query + 1], k, width, allowed=allowed)
        taken_s[query] = time.perf_counter() - began
        found.item_QK[query], found.score_QK[query] = one.item_QK[0], one.score_QK[0]
    p50_ms, p99_ms = np.quantile(taken_s * 1e3, [0.5, 0.99]).tolist()
    return {"width": width, "recall": recall(found, truth), "p50_ms": round(p50_ms, 4), "p99_ms": round(p99_ms, 4)}
