"""Which items pass the filters of a request, whatever is eligible at the moment.

Most requests of one campaign or country ask for the same thing, so the answer to everything but the item lists, which
differ from user to user, is kept: 1 bit an item, and of few items their places too. The least recently asked for leaves
first.

Shape letters: I items, W words of 64 items, N places.
"""

from collections import OrderedDict
from threading import Lock

import numpy as np
import numpy.typing as npt

from lowerfunnel.index.allowed import Allowed, Words
from lowerfunnel.serving.catalogue.item_columns import ItemColumns, word_bits
from lowerfunnel.serving.catalogue.postings import Postings
from lowerfunnel.serving.requests import Choice, Filters

BoolArray = npt.NDArray[np.bool_]
Key = tuple[object, ...]

_PLACES_PER_BITS = 2
"""The places of a kept answer take at most so many times the room of its bits: a set of 3% of the items does."""
_PLACE_BYTES = 8
_MOST_VALUES_KEPT = 4_096
"""Filters that name more values than this are not kept: their key alone would outgrow what it leads to."""


class Matching:
    """Answers filters over one segment. Safe to call from many threads."""

    def __init__(self, columns: ItemColumns, *, cache_bytes: int = 64 << 20) -> None:
        """Prepare what all filters share.

        Args:
            columns: The items.
            cache_bytes: Room for kept answers; at least 16 and at most 4,096 are kept.
        """
        self._columns = columns
        self._anywhere_I = columns.sold_anywhere()
        self._everything = _frozen(Allowed.everything(columns.items))
        self._kept: OrderedDict[Key, Allowed] = OrderedDict()
        self._lock = Lock()
        answer_bytes = max((1 + _PLACES_PER_BITS) * self._everything.word_W.nbytes, 1)
        self._most_kept = min(max(cache_bytes // answer_bytes, 16), 4_096)

    @property
    def kept(self) -> int:
        """How many answers are kept."""
        return len(self._kept)

    def matching(self, filters: Filters) -> Allowed:
        """Return the items that pass country, advertisers, categories, items, attributes and price.

        `exclude_purchased` and `most_per_advertiser` need the user and the answer, and are not looked at. The set is
        shared with other callers and cannot be written to.
        """
        shared = self.without_items(filters)
        if filters.items.allow is None and not filters.items.deny:
            return shared
        word_W = shared.word_W.copy()
        self.keep_listed(word_W, filters.items)
        return Allowed.of_words(word_W, items=self._columns.items)

    def without_items(self, filters: Filters) -> Allowed:
        """Return the items that pass all but the lists of items; kept for the next request that asks the same."""
        key = _key(filters)
        if key == _NO_FILTER:
            return self._everything
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
        found = _frozen(_with_places(Allowed.of_mask(self._mask(filters))))
        if _values_named(filters) <= _MOST_VALUES_KEPT:
            with self._lock:
                self._kept[key] = found
                if len(self._kept) > self._most_kept:
                    self._kept.popitem(last=False)
        return found

    def keep_listed(self, word_W: Words, choice: Choice) -> None:
        """Take out of a set, in place, the items that a list does not allow or denies; linear in the list."""
        if choice.allow is not None:
            place_N = self._columns.ids.places(choice.allow)
            word_N, bit_N = word_bits(place_N[place_N >= 0])
            listed_W = np.zeros_like(word_W)
            np.bitwise_or.at(listed_W, word_N, bit_N)
            word_W &= listed_W
        if choice.deny:
            place_N = self._columns.ids.places(choice.deny)
            word_N, bit_N = word_bits(place_N[place_N >= 0])
            np.bitwise_and.at(word_W, word_N, ~bit_N)

    def _mask(self, filters: Filters) -> BoolArray:
        columns = self._columns
        if filters.country is None:
            passes_I = np.ones(columns.items, np.bool_)
        else:
            passes_I = self._anywhere_I.copy()
            codes = np.array(columns.country_codes.get(filters.country.lower(), []), np.int64)
            for place_N in columns.attributes.of_codes(codes):
                passes_I[place_N] = True
        _choose(passes_I, columns.advertisers, filters.advertisers)
        _choose(passes_I, columns.categories, filters.categories)
        for attribute in filters.attributes_all:
            _keep_only(passes_I, columns.attributes, frozenset([attribute]))
        if filters.attributes_any is not None:
            _keep_only(passes_I, columns.attributes, filters.attributes_any)
        columns.attributes.put(passes_I, filters.attributes_none, to=False)
        # A missing price is NaN, and no comparison with NaN holds.
        if filters.least_price is not None:
            passes_I &= columns.price_I >= filters.least_price
        if filters.most_price is not None:
            passes_I &= columns.price_I <= filters.most_price
        return passes_I


def _choose(passes_I: BoolArray, postings: Postings, choice: Choice) -> None:
    if choice.allow is not None:
        _keep_only(passes_I, postings, choice.allow)
    postings.put(passes_I, choice.deny, to=False)


def _keep_only(passes_I: BoolArray, postings: Postings, values: frozenset[int | str] | frozenset[str]) -> None:
    listed_I = np.zeros(len(passes_I), np.bool_)
    postings.put(listed_I, values, to=True)
    passes_I &= listed_I


def _key(filters: Filters) -> Key:
    return (
        None if filters.country is None else filters.country.lower(),
        filters.advertisers.allow,
        filters.advertisers.deny,
        filters.categories.allow,
        filters.categories.deny,
        filters.attributes_all,
        filters.attributes_any,
        filters.attributes_none,
        filters.least_price,
        filters.most_price,
    )


_NO_FILTER = _key(Filters())


def _values_named(filters: Filters) -> int:
    named = (
        filters.advertisers.allow, filters.advertisers.deny, filters.categories.allow, filters.categories.deny,
        filters.attributes_all, filters.attributes_any, filters.attributes_none,
    )  # fmt: skip
    return sum(len(values) for values in named if values is not None)


def _with_places(allowed: Allowed) -> Allowed:
    """Return a set that knows its items, where they take little room beside its bits."""
    if allowed.count * _PLACE_BYTES > _PLACES_PER_BITS * allowed.word_W.nbytes:
        return allowed
    return Allowed.of_words(allowed.word_W, items=allowed.items, within_S=allowed.places())


def _frozen(allowed: Allowed) -> Allowed:
    allowed.word_W.flags.writeable = False
    if allowed.within_S is not None:
        allowed.within_S.flags.writeable = False
    return allowed
