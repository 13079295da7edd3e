"""Which items come into question: draws by appeal, from all of the catalogue or from one category.

Shape letters: N draws, M candidates per draw, I items.
"""

import numpy as np
from numpy.typing import NDArray

from lowerfunnel.world.population import Floats, Ints, Population
from lowerfunnel.world.truth import WorldTruth

POOL = 48


class Shelf:
    """The catalogue, sorted by category, so that one binary search draws from all of it or from one category."""

    def __init__(self, people: Population, truth: WorldTruth) -> None:
        self._truth = truth
        self._launched_us_I = people.item_launched_us_I
        self._order_I = np.argsort(people.item_category_I, kind="stable")
        self._end_I = np.cumsum(people.item_appeal_I[self._order_I])
        n_categories = int(people.user_taste_UT.max(initial=int(people.item_category_I.max()))) + 1
        bounds = np.searchsorted(people.item_category_I[self._order_I], np.arange(n_categories + 1))
        self._mark_K1 = np.concatenate([[0.0], self._end_I])[bounds]

    def draw(self, rng: np.random.Generator, category_NM: Ints) -> Ints:
        """Draw items by appeal from the given categories; -1, and a category without items, stand for all."""
        low_NM, high_NM = self._mark_K1[category_NM], self._mark_K1[category_NM + 1]
        everything_NM = (category_NM < 0) | (low_NM == high_NM)
        low_NM = np.where(everything_NM, 0.0, low_NM)
        high_NM = np.where(everything_NM, self._end_I[-1], high_NM)
        at_NM = low_NM + rng.random(category_NM.shape) * (high_NM - low_NM)
        place_NM = np.searchsorted(self._end_I, at_NM, side="right")
        item_NM: Ints = self._order_I[np.minimum(place_NM, len(self._order_I) - 1)]
        return item_NM

    def pick(
        self, rng: np.random.Generator, *, user_N: Ints, t_us_N: Ints, category_NM: Ints, count: int, taste: float
    ) -> tuple[Ints, NDArray[np.bool_]]:
        """Draw a pool per row and keep its `count` best by taste and chance, best first, without repeats.

        Returns:
            The items [N, count], and whether there is one: a pool may hold too few that are on sale by then.
        """
        pool_NM = np.sort(self.draw(rng, category_NM), axis=1)
        score_NM = taste * self._truth.affinity(user_N[:, None], pool_NM) + rng.gumbel(size=pool_NM.shape)
        score_NM[self._launched_us_I[pool_NM] > t_us_N[:, None]] = -np.inf
        score_NM[:, 1:][pool_NM[:, 1:] == pool_NM[:, :-1]] = -np.inf
        best = np.argsort(-score_NM, axis=1, kind="stable")[:, :count]
        return np.take_along_axis(pool_NM, best, axis=1), np.isfinite(np.take_along_axis(score_NM, best, axis=1))


def pool_categories(first_N: Ints, second_N: Ints) -> Ints:
    """Give each row a pool, half of it from one category and half from another; -1 stands for all."""
    pair_N2: Ints = np.stack([first_N, second_N], axis=1)
    return np.repeat(pair_N2, POOL // 2, axis=1)


def favourites(people: Population, rng: np.random.Generator, user_N: Ints) -> Ints:
    """Draw for each row a category that its user cares for, the dearer the more often."""
    share_NT: Floats = np.cumsum(people.user_taste_weight_UT[user_N], axis=1)
    pick_N = (rng.random(len(user_N))[:, None] > share_NT[:, :-1]).sum(axis=1)
    category_N: Ints = people.user_taste_UT[user_N, pick_N]
    return category_N
