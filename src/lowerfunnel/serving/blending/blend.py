"""Several generators in one answer.

Sources take turns by their quotas (see `turns`), and at its turn a source brings in its best item that is not in the answer
and whose advertiser is below the cap. An item that several sources hold comes in, and counts, at the turn of the source that
reaches it first; the others then pass over it and still use their turns. So a source whose turns are over when it comes to
such an item leaves it to another one that still has a turn, at that one's cost. A source that runs out gives its turns
to the others: they begin anew among themselves, by their own quotas.

Nothing depends on how long an answer is asked for, so a longer answer begins with the shorter one.

Shape letters: S sources, N items of all lists one after another, G distinct items, K items of the answer.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np

from lowerfunnel.index.ranking import Float32Array, Int32Array, Int64Array
from lowerfunnel.serving.blending.capped import AdvertiserOf
from lowerfunnel.serving.blending.source_list import SourceList
from lowerfunnel.serving.blending.turns import turns

_SOURCE_BITS = 5
_MOST_SOURCES = 31
"""A source and the set of sources that hold an item are packed into one int64: 5 bits and 31 bits."""

_BLOCK = 256
_REPEATED = "a list holds an item twice; each source must give distinct items"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Blended:
    """An answer, best first.

    Attributes:
        place_K: Distinct items.
        score_K: Score of each in the list of the source that brought it in.
        sources: The sources that hold each item: the one that brought it in, then the others by order of the quotas.
    """

    place_K: Int64Array
    score_K: Float32Array
    sources: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.place_K)


def blend(
    lists: Mapping[str, SourceList],
    quotas: Mapping[str, float],
    k: int,
    *,
    most_per_advertiser: int | None,
    advertiser_of: AdvertiserOf,
) -> Blended:
    """Return up to `k` items of several lists, fewer only where the lists hold fewer under the cap.

    Args:
        lists: What each source found; a source that did not answer is absent.
        quotas: Each source's weight, positive, in the order that decides ties. Shares are taken among the sources that
            found something.
        k: Items wanted.
        most_per_advertiser: Cap over the whole answer; None for none. Items without an advertiser are not limited.
        advertiser_of: Gives the code of each item's advertiser, -1 for none. Called once, and only for a cap.

    Raises:
        ValueError: If a list has no quota, a quota is not positive, a list repeats an item, or `k` or the cap is
            less than 1.
    """
    _require_usable(lists, quotas, k, most_per_advertiser)
    names = [name for name in quotas if name in lists and len(lists[name])]
    if not names:
        return Blended(place_K=np.zeros(0, np.int64), score_K=np.zeros(0, np.float32), sources=())
    if len(names) == 1 and most_per_advertiser is None:
        return _alone(names[0], lists[names[0]], k)
    place_N = np.concatenate([lists[name].place_N for name in names])
    length_S = [len(lists[name]) for name in names]
    source_N = np.repeat(np.arange(len(names)), length_S)
    item_N, held_G = _items_of(place_N, source_N)
    advertiser_N = None if most_per_advertiser is None else advertiser_of(place_N)
    rows = _Rows(item_N, advertiser_N, np.cumsum([0, *length_S]).tolist())
    row_K = rows.taken_in_turn([quotas[name] for name in names], most_per_advertiser, k)
    score_N = np.concatenate([lists[name].score_N for name in names])
    return Blended(
        place_K=place_N[row_K],
        score_K=score_N[row_K],
        sources=_sources_of(names, source_N[row_K], held_G[item_N[row_K]]),
    )


def _alone(name: str, found: SourceList, k: int) -> Blended:
    """Return the answer of one source without a cap: its list."""
    sorted_N = np.sort(found.place_N)
    if bool((sorted_N[1:] == sorted_N[:-1]).any()):
        raise ValueError(_REPEATED)
    place_K = found.place_N[:k].astype(np.int64, copy=False)
    return Blended(place_K=place_K, score_K=found.score_N[:k], sources=((name,),) * len(place_K))


class _Rows:
    """The rows of all lists one after another, handed out list by list."""

    def __init__(self, item_N: Int64Array, advertiser_N: Int32Array | None, offsets: list[int]) -> None:
        self._item_N = item_N
        self._advertiser_N = np.full(len(item_N), -1, np.int32) if advertiser_N is None else advertiser_N
        self._offsets = offsets

    def of_source(self, source: int) -> Iterator[tuple[int, int, int]]:
        """Give (row, item, advertiser) from the best on."""
        return chain.from_iterable(self._blocks(self._offsets[source], self._offsets[source + 1]))

    def _blocks(self, start: int, stop: int) -> Iterator[Iterator[tuple[int, int, int]]]:
        """Give rows block by block, as most of them are never reached."""
        for low in range(start, stop, _BLOCK):
            high = min(low + _BLOCK, stop)
            yield zip(range(low, high), self._item_N[low:high].tolist(), self._advertiser_N[low:high].tolist())  # noqa: B905

    def taken_in_turn(self, weight_S: list[float], most: int | None, k: int) -> Int64Array:
        """Return which rows make up the answer, in its order."""
        left = [self.of_source(source) for source in range(len(weight_S))]
        active = list(range(len(weight_S)))
        passed = bytearray(len(self._item_N))
        room_by_advertiser: dict[int, int] = {}
        taken: list[int] = []
        while active and len(taken) < k:
            for turn in turns(tuple(weight_S[source] for source in active), k - len(taken)):
                for row, item, advertiser in left[active[turn]]:
                    if passed[item]:
                        continue
                    passed[item] = 1
                    if most is not None and advertiser >= 0:
                        room = room_by_advertiser.get(advertiser, most)
                        if not room:
                            continue
                        room_by_advertiser[advertiser] = room - 1
                    taken.append(row)
                    break
                else:
                    del active[turn]
                    break
                if len(taken) == k:
                    break
        return np.array(taken, np.int64)


def _items_of(place_N: Int64Array, source_N: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Number the distinct items; return the number of each row's item, and the sources that hold each item as bits."""
    order_N = np.argsort(place_N)
    sorted_N = place_N[order_N]
    begins_N = np.empty(len(sorted_N), np.bool_)
    begins_N[0] = True
    np.not_equal(sorted_N[1:], sorted_N[:-1], out=begins_N[1:])
    item_N = np.empty(len(sorted_N), np.int64)
    item_N[order_N] = np.cumsum(begins_N) - 1
    bit_N = np.int64(1) << source_N[order_N]
    start_G = np.flatnonzero(begins_N)
    held_G: Int64Array = np.bitwise_or.reduceat(bit_N, start_G)
    if not np.array_equal(np.add.reduceat(bit_N, start_G), held_G):
        raise ValueError(_REPEATED)
    return item_N, held_G


def _sources_of(names: list[str], source_K: Int64Array, held_K: Int64Array) -> tuple[tuple[str, ...], ...]:
    keys = (source_K | held_K << _SOURCE_BITS).tolist()
    named: dict[int, tuple[str, ...]] = {}
    for key in set(keys):
        first, held = key & _MOST_SOURCES, key >> _SOURCE_BITS
        others = [name for source, name in enumerate(names) if source != first and held >> source & 1]
        named[key] = (names[first], *others)
    return tuple([named[key] for key in keys])


def _require_usable(
    lists: Mapping[str, SourceList], quotas: Mapping[str, float], k: int, most_per_advertiser: int | None
) -> None:
    if k < 1 or (most_per_advertiser is not None and most_per_advertiser < 1):
        raise ValueError(f"k and most_per_advertiser must be at least 1, got {k} and {most_per_advertiser}")
    if len(lists) > _MOST_SOURCES:
        raise ValueError(f"at most {_MOST_SOURCES} sources can be blended, got {len(lists)}; ask fewer")
    for name in lists:
        if name not in quotas:
            raise ValueError(f"source {name!r} has no quota; give it one or do not ask it")
        if not (quotas[name] > 0 and math.isfinite(quotas[name])):
            raise ValueError(
                f"the quota of {name!r} must be positive, got {quotas[name]}; leave out what is not wanted"
            )
