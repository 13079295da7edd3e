"""At most so many items of one advertiser: a search asks for more than it needs until enough remain.

Shape letters: N items of a list.
"""

from collections.abc import Callable

import numpy as np

from lowerfunnel.index.allowed import BoolArray
from lowerfunnel.index.ranking import Int32Array, Int64Array
from lowerfunnel.serving.blending.source_list import SourceList

AdvertiserOf = Callable[[Int64Array], Int32Array]
"""Gives the code of each item's advertiser, -1 for an item without one."""


def within_cap(advertiser_N: Int32Array, most: int) -> BoolArray:
    """Tell which items of a list stay if each advertiser keeps its first `most`; -1, no advertiser, is not limited.

    Example:
        >>> within_cap(np.array([7, 7, -1, 7, -1], np.int32), 2)
        array([ True,  True,  True, False,  True])
    """
    order_N = np.argsort(advertiser_N, kind="stable")
    sorted_N = advertiser_N[order_N]
    position_N = np.arange(len(sorted_N))
    begins_N = np.concatenate([[True], sorted_N[1:] != sorted_N[:-1]])[: len(sorted_N)]
    before_N = position_N - np.maximum.accumulate(np.where(begins_N, position_N, 0))
    stays_N = np.empty(len(sorted_N), np.bool_)
    stays_N[order_N] = (before_N < most) | (sorted_N < 0)
    return stays_N


def search_capped(search: Callable[[int], SourceList], k: int, most: int, advertiser_of: AdvertiserOf) -> SourceList:
    """Return the best `k` items with at most `most` of one advertiser, or all there are.

    A search that is asked for n items must return the n best, or fewer if there are no more. It is asked for 2 k, 4 k,
    ... until `k` remain under the cap or it has no more.

    Raises:
        ValueError: If `k` or `most` is less than 1.
    """
    if k < 1 or most < 1:
        raise ValueError(f"k and most must be at least 1, got {k} and {most}")
    # A cap of k or more cannot bind within k items.
    wanted = k if most >= k else 2 * k
    while True:
        found = search(wanted)
        kept_N = np.flatnonzero(within_cap(advertiser_of(found.place_N), most))
        if len(kept_N) >= k or len(found) < wanted:
            return SourceList(place_N=found.place_N[kept_N[:k]], score_N=found.score_N[kept_N[:k]])
        wanted *= 2
