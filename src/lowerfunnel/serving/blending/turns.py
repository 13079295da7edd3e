"""Whose turn it is: an order of sources in which each gets its share of every beginning, to within one turn.

Smooth round robin by largest deficit lets a source among many fall more than one turn behind its share. Here a source's
n-th turn is free to come once its share of the turns so far calls for it, and due when its share reaches n; of those free to
come, the one due first has the turn. That is earliest-deadline scheduling of unit jobs whose shares sum to one, which
misses no deadline.

References:
    Balinski and Young, The Quota Method of Apportionment, 1975; Baruah et al., Proportionate Progress, 1996.
"""

from functools import lru_cache

_ROUNDED_UP_TO = 1_024


def turns(weights: tuple[float, ...], count: int) -> bytes:
    """Return at least `count` turns as positions in `weights`; asking for more turns never changes the first ones.

    After t turns each source has had more than t w - 1 and fewer than t w + 1, where w is its part of the weights. At a
    tie the earlier source comes first.

    Args:
        weights: Positive, of at most 255 sources; need not sum to one.
        count: Turns wanted.

    Example:
        >>> list(turns((0.5, 0.25, 0.25), 8)[:8])
        [0, 1, 0, 2, 0, 1, 0, 2]
    """
    return _turns(weights, -(-max(count, 1) // _ROUNDED_UP_TO) * _ROUNDED_UP_TO)


@lru_cache(maxsize=128)
def _turns(weights: tuple[float, ...], count: int) -> bytes:
    total = sum(weights)
    share = [weight / total for weight in weights]
    had = [0] * len(weights)
    order = bytearray(count)
    for turn in range(1, count + 1):
        free = [source for source in range(len(share)) if had[source] < share[source] * turn]
        # Rounding may leave nobody free where shares sum to a hair less than one.
        chosen = min(free or range(len(share)), key=lambda source: (had[source] + 1) / share[source])
        had[chosen] += 1
        order[turn - 1] = chosen
    return bytes(order)
