"""What each generator finds for one request: in the snapshot by its index, beside it exactly, in one list.

Shape letters: E width of the vectors, N fresh items, P places, K length of a list.
"""

from collections.abc import Callable

import numpy as np

from lowerfunnel.index.allowed import Allowed
from lowerfunnel.index.rank_key import best_keys, item_of_keys, rank_keys, score_of_keys
from lowerfunnel.serving.blending.source_list import SourceList
from lowerfunnel.serving.engine.live import LiveVersion
from lowerfunnel.serving.versions.loaded import Float32Array, LoadedGenerator

Search = Callable[[int], SourceList]
"""Finds the best so many items."""


def vector_search(
    live: LiveVersion, generator: LoadedGenerator, query_E: Float32Array, allowed: tuple[Allowed, Allowed]
) -> Search:
    """Return the search for the items of largest inner product; equal scores by the order of the places."""
    of_snapshot, of_fresh = allowed
    fresh_P = of_fresh.places()
    # One product for all lengths that may be asked for.
    fresh_score_P = live.fresh.vector_NE[generator.name][fresh_P] @ query_E if len(fresh_P) else np.zeros(0, np.float32)

    def search(k: int) -> SourceList:
        ranking = generator.index.search(query_E[None, :], min(k, live.snapshot_items), allowed=of_snapshot)
        found = SourceList.of_ranking(ranking)
        if not len(fresh_P):
            return found
        place_N = np.concatenate([found.place_N, fresh_P + live.snapshot_items])
        key_N = rank_keys(np.concatenate([found.score_N, fresh_score_P]), place_N)
        key_K = best_keys(key_N[None, :], k)[0]
        return SourceList(place_N=item_of_keys(key_K).astype(np.int64), score_N=score_of_keys(key_K))

    return search


def list_search(live: LiveVersion, name: str, allowed: tuple[Allowed, Allowed]) -> Search:
    """Return the search in a list that needs no query: "popular", or "fresh", where what came last comes first."""
    of_snapshot, of_fresh = allowed
    ranked = live.loaded.lists.get(name)
    new_P = np.zeros(0, np.int64)
    if name == "fresh" and of_fresh.count:
        # Latest last among themselves. What the snapshot knew before is not new because its price has changed.
        ids = live.fresh.catalogue.ids_of(of_fresh.places())
        known_P = live.loaded.catalogue.places_of(ids) >= 0
        new_P = of_fresh.places()[~known_P][::-1] + live.snapshot_items

    def search(k: int) -> SourceList:
        places, scores = [new_P[:k]], [np.zeros(min(k, len(new_P)), np.float32)]
        if ranked is not None and len(new_P) < k and of_snapshot.count:
            found = ranked.top(of_snapshot, k - len(new_P))
            places.append(found.place_N)
            scores.append(found.score_N)
        return SourceList(place_N=np.concatenate(places), score_N=np.concatenate(scores))

    return search
