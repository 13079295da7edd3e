"""What is at hand: draws of items by appeal, from one category or from all, among those that may be shown.

Shape letters: N draws, I items, K leaf categories.
"""

import numpy as np

from lowerfunnel.world.policy import Bools, Floats, Ints


class Shelf:
    """The catalogue sorted by category, so that one binary search draws from a category or from all of it."""

    def __init__(self, category_I: Ints, appeal_I: Floats, categories: int) -> None:
        self._order_I = np.argsort(category_I, kind="stable")
        self._appeal_I = appeal_I[self._order_I]
        self._bounds_K1 = np.searchsorted(category_I[self._order_I], np.arange(categories + 1))
        self._stock(np.ones(len(category_I), np.bool_))

    def stock(self, available_I: Bools) -> None:
        """Put on the shelf what is available, and nothing else."""
        self._stock(available_I[self._order_I])

    def _stock(self, available_I: Bools) -> None:
        end_I = np.cumsum(np.where(available_I, self._appeal_I, 0.0))
        self._end_I = end_I
        self._mark_K1 = np.concatenate([[0.0], end_I])[self._bounds_K1]

    def draw(self, category_N: Ints, u_N: Floats) -> Ints:
        """Draw an item for each number in (0, 1), by appeal.

        Args:
            category_N: Where from; -1, and a category that has nothing, stand for all.
            u_N: What decides. Shapes broadcast.

        Returns:
            Rows of items.
        """
        low_N, high_N = self._mark_K1[category_N], self._mark_K1[category_N + 1]
        everything_N = (category_N < 0) | (high_N <= low_N)
        low_N = np.where(everything_N, 0.0, low_N)
        high_N = np.where(everything_N, self._end_I[-1], high_N)
        at_N = low_N + u_N * (high_N - low_N)
        # Rounding may put a draw on its upper mark, where the next item starts.
        at_N = np.minimum(at_N, np.nextafter(high_N, low_N))
        item_N: Ints = self._order_I[np.searchsorted(self._end_I, at_N, side="right")]
        return item_N

    def holds(self, category_N: Ints) -> Bools:
        """Return whether each category has anything on the shelf."""
        return self._mark_K1[category_N + 1] > self._mark_K1[category_N]
