"""What may be served at this moment: stock, budget and removal, one bit each and one bit for all three.

Readers take no lock. They read one array, `eligible`, in which a bit says whether all of stock, budget and "not removed"
hold. A writer, one at a time, changes the bits of its own cause and then stores every word concerned anew, each computed
whole from the three causes. That is enough for the promise "once a write has returned, no reader that begins later sees
the old state", as:

- a word is stored by one aligned 64-bit store, so a reader finds the old word or the new one and nothing in between;
- words are stored only under the writers' lock and from all causes, so no write can undo another one's bit, and a
  cause that ends (back in stock) never brings in an item that another one keeps out;
- the words are stored before the lock is released and the call returns; a reader that begins after that, in whichever
  thread, reads memory that is at least as new.

A reader that runs beside a write may see it for some words and not for others: it began before the write returned.

Shape letters: W words of 64 items, N places.
"""

from collections.abc import Collection
from threading import Lock

import numpy as np

from lowerfunnel.index.allowed import Allowed, BoolArray, Words
from lowerfunnel.index.ranking import Int32Array, Int64Array
from lowerfunnel.serving.catalogue.item_columns import ItemColumns, word_bits
from lowerfunnel.serving.requests import Id


class Eligibility:
    """Which items of one segment may be served; all may at first. Every method may be called from many threads."""

    def __init__(self, columns: ItemColumns) -> None:
        self._columns = columns
        everything_W = Allowed.everything(columns.items).word_W
        self._in_stock_W = everything_W.copy()
        self._has_budget_W = everything_W.copy()
        self._present_W = everything_W.copy()
        self._eligible_W = everything_W.copy()
        self._writing = Lock()

    @property
    def items(self) -> int:
        """Size of the segment."""
        return self._columns.items

    def item_ids(self) -> list[Id]:
        """Return the ids of all items of the segment."""
        return self._columns.ids.at(np.arange(self._columns.items))

    def words(self) -> Words:
        """Return the eligible items as bits (see `Allowed`); a read-only view of the state as it goes on changing."""
        view_W = self._eligible_W.view()
        view_W.flags.writeable = False
        return view_W

    def set_stock(self, item_ids: Collection[Id], *, in_stock: bool) -> None:
        """Say that items are in stock or out of it; ids that are not in this segment are passed over."""
        place_N = self._columns.ids.places(item_ids)
        with self._writing:
            self._set(self._in_stock_W, place_N[place_N >= 0], to=in_stock)

    def set_budget(self, advertiser_ids: Collection[str], *, has_budget: bool) -> None:
        """Say that advertisers have budget or none, for all their items; unknown advertisers are passed over."""
        advertisers = self._columns.advertisers
        pieces = advertisers.of_codes(advertisers.codes(advertiser_ids))
        with self._writing:
            for place_N in pieces:
                self._set(self._has_budget_W, place_N, to=has_budget)

    def remove(self, place_N: Int32Array | Int64Array) -> None:
        """Take items out of this segment for good: deleted, or served from a later segment.

        Raises:
            ValueError: If a place is outside the segment.
        """
        if len(place_N) and not (int(place_N.min()) >= 0 and int(place_N.max()) < self._columns.items):
            raise ValueError(
                f"places must lie in 0..{self._columns.items - 1}, got {int(place_N.min())}..{int(place_N.max())}"
            )
        with self._writing:
            self._set(self._present_W, place_N, to=False)

    def in_stock(self, place_N: Int64Array) -> BoolArray:
        """Tell of some items whether they are in stock."""
        return _bits_at(self._in_stock_W, place_N)

    def has_budget(self, place_N: Int64Array) -> BoolArray:
        """Tell of some items whether their advertisers have budget."""
        return _bits_at(self._has_budget_W, place_N)

    def present(self, place_N: Int64Array) -> BoolArray:
        """Tell of some items whether they are still served from this segment."""
        return _bits_at(self._present_W, place_N)

    def _set(self, cause_W: Words, place_N: Int32Array | Int64Array, *, to: bool) -> None:
        word_N, bit_N = word_bits(place_N)
        if to:
            np.bitwise_or.at(cause_W, word_N, bit_N)
        else:
            np.bitwise_and.at(cause_W, word_N, ~bit_N)
        self._eligible_W[word_N] = self._in_stock_W[word_N] & self._has_budget_W[word_N] & self._present_W[word_N]


def _bits_at(word_W: Words, place_N: Int64Array) -> BoolArray:
    word_N, bit_N = word_bits(place_N)
    set_N: BoolArray = (word_W[word_N] & bit_N) != 0
    return set_N
