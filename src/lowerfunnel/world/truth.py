"""What is true in a world and no log can tell: the chance of everything, for any user, item, surface and moment.

Shape letters: N triples of user, item and moment (rows of the population, days after the start of the log), Q queries,
I items, K leaf categories.
"""

import numpy as np
from numpy.typing import ArrayLike

from lowerfunnel.world.categories import Float32s
from lowerfunnel.world.intent import Missions
from lowerfunnel.world.journeys import TWO_PIECES
from lowerfunnel.world.organic import OrganicConfig, organic_looks
from lowerfunnel.world.policy import Floats, Ints
from lowerfunnel.world.population import Population
from lowerfunnel.world.response import Response, sigmoid
from lowerfunnel.world.traffic import on_surface

_BLOCK = 256


class WorldTruth:
    """The probabilities of one world. Rows broadcast against each other; a bot's are those of a person."""

    def __init__(
        self, population: Population, response: Response, organic: OrganicConfig, *, organic_share: float
    ) -> None:
        self._population = population
        self._response = response
        self._organic = organic
        self._organic_share = organic_share

    def affinity(
        self,
        user: ArrayLike,
        item: ArrayLike,
        day: ArrayLike,
        *,
        context_item: ArrayLike | None = None,
        query: ArrayLike | None = None,
    ) -> Float32s:
        """Return the match of taste, a cosine, of what a user wants at a moment (and beside an item, or in a search)."""
        intents = self._population.intents
        user, item, day = np.broadcast_arrays(user, item, np.asarray(day, np.float64))
        none = np.full(user.shape, -1, np.int64)
        latent = on_surface(
            self._population,
            intents.latent(user, day, intents.missions(user, day)),
            context_R=none if context_item is None else np.broadcast_to(context_item, user.shape),
            query_R=none if query is None else np.broadcast_to(query, user.shape),
        )
        return self._response.affinity(latent, item)

    def click_probability(
        self,
        user: ArrayLike,
        item: ArrayLike,
        surface: ArrayLike,
        day: ArrayLike,
        *,
        position: ArrayLike = 1,
        context_item: ArrayLike | None = None,
        query: ArrayLike | None = None,
    ) -> Floats:
        """Return the chance that an ad is clicked when it is shown, by accident or on purpose.

        Args:
            user: Rows of users [N].
            item: Rows of items [N].
            surface: Positions in `SURFACES` [N].
            day: Days after the start of the log [N].
            position: From 1.
            context_item: Row of the item on screen, -1 without one.
            query: Leaf category that is searched for, -1 without a search.
        """
        meant = self._meant(user, item, surface, day, position=position, context_item=context_item, query=query)
        return np.asarray(meant + self._response.config.accidental_click_rate, np.float64)

    def conversion_probability(
        self, user: ArrayLike, item: ArrayLike, day: ArrayLike, **where: ArrayLike | None
    ) -> Floats:
        """Return the chance of a purchase, some day, after a click on purpose; arguments as in `affinity`."""
        affinity = self.affinity(user, item, day, **where)
        stays = 1.0 - self._response.bounce(affinity, np.broadcast_to(item, affinity.shape))
        return np.asarray(stays * self._bought(user, item, day, affinity), np.float64)

    def view_through_probability(
        self, user: ArrayLike, item: ArrayLike, day: ArrayLike, *, position: ArrayLike = 1, **where: ArrayLike | None
    ) -> Floats:
        """Return the chance of a purchase after an ad that is seen and not clicked (given that it is not clicked)."""
        affinity = self.affinity(user, item, day, **where)
        looks = (
            self._response.look(np.broadcast_to(position, affinity.shape)) * self._response.config.view_through_share
        )
        return np.asarray(looks * self._bought(user, item, day, affinity), np.float64)

    def expected_value(
        self,
        user: ArrayLike,
        item: ArrayLike,
        surface: ArrayLike,
        day: ArrayLike,
        *,
        position: ArrayLike = 1,
        context_item: ArrayLike | None = None,
        query: ArrayLike | None = None,
    ) -> Floats:
        """Return the expected order value, USD, that an impression brings and the advertiser keeps."""
        where = {"context_item": context_item, "query": query}
        meant = self._meant(user, item, surface, day, position=position, **where)
        clicked = meant + self._response.config.accidental_click_rate
        buys = meant * self.conversion_probability(user, item, day, **where)
        buys = buys + (1.0 - clicked) * self.view_through_probability(user, item, day, position=position, **where)
        item = np.broadcast_to(item, buys.shape)
        kept = 1.0 - self._response.give_back(item)
        return np.asarray(buys * self._population.items.price_I[item] * (1.0 + TWO_PIECES) * kept, np.float64)

    def organic_rate(self, user_Q: Ints, day_Q: Floats) -> Floats:
        """Return how many purchases a day of every item a user starts without an ad, at a moment [Q, I].

        Of an ordinary day outside a sale's surge of visits; the end of a mission is not in it (see `demand_QI`).
        """
        parts = [
            self._organic_rate(user_Q[start : start + _BLOCK], day_Q[start : start + _BLOCK])
            for start in range(0, len(user_Q), _BLOCK)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, len(self._population.items)))

    def demand_QI(self, user_Q: Ints, from_day_Q: Floats, days: int) -> Floats:
        """Return how many purchases without an ad of every item a user starts in the days after a moment [Q, I].

        That is the order in which a perfect retriever lists the items: it knows tastes, missions and their ends, and
        only the draws are hidden from it. What ads add on top depends on the policy and is left out.

        Args:
            user_Q: Rows of users.
            from_day_Q: Days after the start of the log.
            days: Length of the window.
        """
        items = self._population.items
        demand_QI = np.zeros((len(user_Q), len(items)))
        for day in range(days):
            demand_QI += self.organic_rate(user_Q, from_day_Q + day + 0.5)
            self._add_mission_ends(demand_QI, user_Q, from_day_Q + day)
        return demand_QI

    def _meant(
        self,
        user: ArrayLike,
        item: ArrayLike,
        surface: ArrayLike,
        day: ArrayLike,
        *,
        position: ArrayLike,
        context_item: ArrayLike | None,
        query: ArrayLike | None,
    ) -> Float32s:
        affinity = self.affinity(user, item, day, context_item=context_item, query=query)
        item, surface = np.broadcast_to(item, affinity.shape), np.broadcast_to(surface, affinity.shape)
        look = self._response.look(np.broadcast_to(position, affinity.shape))
        return look * sigmoid(self._response.click_logit(affinity, item, surface.astype(np.int8)))

    def _bought(self, user: ArrayLike, item: ArrayLike, day: ArrayLike, affinity: Float32s) -> Float32s:
        """Return the chance that a look at the product ends in a purchase."""
        user, item = np.broadcast_to(user, affinity.shape), np.broadcast_to(item, affinity.shape)
        day = np.broadcast_to(np.asarray(day, np.float64), affinity.shape)
        missions = self._population.intents.missions(user, day)
        cart = self._response.cart(affinity, user, item, missions=missions, day_N=day)
        return cart * self._response.checkout(affinity, user, item)

    def _organic_rate(self, user_Q: Ints, day_Q: Floats) -> Floats:
        items = self._population.items
        looks_QK, missions = organic_looks(
            self._organic, self._population, user_N=user_Q, day_N=day_Q, visits_share=self._organic_share
        )
        share_QI, affinity_QI = self._choice(user_Q, day_Q, missions)
        pair_user, pair_item = np.repeat(user_Q, len(items)), np.tile(np.arange(len(items)), len(user_Q))
        bought_N = self._bought(pair_user, pair_item, np.repeat(day_Q, len(items)), affinity_QI.ravel())
        return looks_QK[:, items.category_I] * share_QI * bought_N.reshape(share_QI.shape)

    def _choice(self, user_Q: Ints, day_Q: Floats, missions: Missions) -> tuple[Floats, Float32s]:
        """Return each item's share of the looks within its category, and the affinities [Q, I]."""
        items = self._population.items
        latent_QD = self._population.intents.latent(user_Q, day_Q, missions)
        affinity_QI = latent_QD @ items.latent_ID.T
        weight_QI = items.appeal_I * np.exp(self._organic.choice_weight * (affinity_QI.astype(np.float64) - 1.0))
        # The day's shelf holds what is on sale when the day begins.
        weight_QI *= (items.born_day_I <= np.floor(day_Q)[:, None]) & (np.floor(day_Q)[:, None] < items.dies_day_I)
        of_category_IK = np.zeros((len(items), len(self._population.categories)))
        of_category_IK[np.arange(len(items)), items.category_I] = 1.0
        total_QK = weight_QI @ of_category_IK
        share_QI = weight_QI / np.maximum(total_QK[:, items.category_I], np.finfo(np.float64).tiny)
        return share_QI, affinity_QI

    def _add_mission_ends(self, demand_QI: Floats, user_Q: Ints, day_Q: Floats) -> None:
        """Add the purchases at the ends of missions in the day after each moment."""
        items, intents = self._population.items, self._population.intents
        for offset in (0, 1):
            # A mission's end is looked up by whole days; the window of a moment within a day touches two of them.
            whole_Q = np.floor(day_Q).astype(np.int64) + offset
            for day in np.unique(whole_Q):
                rows_Q = np.flatnonzero(whole_Q == day)
                user_M, inverse = np.unique(user_Q[rows_Q], return_inverse=True)
                ends = intents.ends(user_M, int(day))
                if not len(ends.user_M):
                    continue
                share_MI, _ = self._choice(ends.user_M, ends.day_M, intents.missions(ends.user_M, ends.day_M))
                share_MI *= items.category_I == ends.category_M[:, None]
                row_of_user = np.searchsorted(user_M, ends.user_M)
                for m, user_row in enumerate(row_of_user):
                    asked_Q = rows_Q[inverse == user_row]
                    inside_Q = asked_Q[(day_Q[asked_Q] <= ends.day_M[m]) & (ends.day_M[m] < day_Q[asked_Q] + 1)]
                    demand_QI[inside_Q] += share_MI[m]
