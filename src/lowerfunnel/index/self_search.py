"""Whether items are found by a search for themselves.

An item is asked for by a query that it should win: its own vector less the mean, whitened. For such queries an item's
own inner product is about the width of the vectors, another's about its square root. Where an item does come out on top
of what a search returned and yet is not among it, the search has lost it; no exact search is needed to tell.

Shape letters: I items, E width of the rows, N items of a block, F candidates, S sample.
"""

from collections.abc import Callable

import numpy as np

from lowerfunnel.index.ranking import Float32Array, Int32Array, Int64Array

_BLOCK = 8192
_SAMPLE = 100_000
_LEAST_VARIANCE = 1e-6
"""Of the largest: along directions in which the items hardly differ, whitening would blow up rounding errors."""
_SLACK = 1e-5


def lost_items(candidates: Callable[[Float32Array, Int64Array], Int64Array], row_IE: Float32Array) -> Int32Array:
    """List the items that a search for themselves does not bring back.

    Args:
        candidates: Given a query for each of some items, and the items, returns what is found for each; -1 where a row
            has ended.
        row_IE: The items' vectors.
    """
    items = len(row_IE)
    if not items:
        return np.zeros(0, np.int32)
    sample_SE = row_IE[:: max(1, items // _SAMPLE)].astype(np.float64)
    mean_E = sample_SE.mean(axis=0)
    value_E, vector_EE = np.linalg.eigh((sample_SE - mean_E).T @ (sample_SE - mean_E) / len(sample_SE))
    kept_E = value_E > _LEAST_VARIANCE * max(value_E.max(), np.finfo(np.float32).tiny)
    inverse_EE = (vector_EE[:, kept_E] / value_E[kept_E]) @ vector_EE[:, kept_E].T
    lost = []
    for start in range(0, items, _BLOCK):
        own_N = np.arange(start, min(start + _BLOCK, items))
        row_NE = row_IE[own_N]
        query_NE = (row_NE - mean_E) @ inverse_EE
        # Only the direction of a query counts; a length of 1 cannot overflow.
        query_NE /= np.maximum(np.linalg.norm(query_NE, axis=1, keepdims=True), np.finfo(np.float64).tiny)
        query_NE = query_NE.astype(np.float32)
        item_NF = candidates(query_NE, own_N)
        lost_N = ~(item_NF == own_N[:, None]).any(axis=1)
        if not lost_N.any():
            continue
        item_NF, query_NE, row_NE = item_NF[lost_N], query_NE[lost_N], row_NE[lost_N]
        score_NF = np.einsum("nfe,ne->nf", row_IE[np.maximum(item_NF, 0)], query_NE)
        least_N = np.where(item_NF < 0, -np.inf, score_NF).min(axis=1, initial=np.inf)
        own_score_N = np.einsum("ne,ne->n", row_NE, query_NE)
        lost.append(own_N[lost_N][own_score_N > least_N + _SLACK * np.abs(own_score_N)])
    return np.concatenate([np.zeros(0, np.int32), *lost]).astype(np.int32)
