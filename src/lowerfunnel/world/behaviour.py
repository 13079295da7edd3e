"""What people do: visits, requests, ads shown and clicked, then product views, carts and late checkouts.

Shape letters: V visits, R requests, S slots, N events. Times are microseconds after the start of the log.
"""

import numpy as np

from lowerfunnel.events.schema import ACTION_CODE
from lowerfunnel.world.population import DAY_US, Floats, Ints, Population
from lowerfunnel.world.rows import SURFACES, EventRows, concatenate, event_rows
from lowerfunnel.world.settings import WorldConfig
from lowerfunnel.world.shelf import Shelf, favourites, pool_categories
from lowerfunnel.world.truth import WorldTruth, sigmoid

SECOND_US = 1_000_000
HOUR_WEIGHT = np.array([2, 1, 1, 1, 1, 1, 2, 3, 4, 5, 5, 5, 6, 6, 5, 5, 5, 6, 7, 8, 9, 9, 7, 4], dtype=np.float64)
SURFACE_SHARE = (0.55, 0.25, 0.20)
SURFACE_LOGIT = np.array([0.0, 0.4, 0.8])  # a search shows intent
POSITION_DECAY = 0.25
SAVE_LOGIT = -6.6
HIDE_LOGIT = -6.5
RETURN_BEFORE_CHECKOUT = 0.6
RETURN_TO_ABANDONED_CART = 0.25


class Behaviour:
    """The people of one world in action; all chance comes from the generator given to each call."""

    def __init__(self, config: WorldConfig, people: Population, truth: WorldTruth) -> None:
        self.config = config
        self._people = people
        self._truth = truth
        self._shelf = Shelf(people, truth)
        self._end_us = config.days * DAY_US

    def live(self, rng: np.random.Generator, user_U: Ints, first_request: int) -> EventRows:
        """Let some users live through the whole log; events are sorted by time and none is after its end."""
        user_V, t_us_V = self._visits(rng, user_U)
        organic_V = rng.random(len(user_V)) < self.config.organic_share
        shown = self._requests(rng, user_V[~organic_V], t_us_V[~organic_V], first_request)
        engaged, landed = self._reactions(rng, shown)
        seen = concatenate([landed, self._organic_views(rng, user_V[organic_V], t_us_V[organic_V])])
        seen = concatenate([seen, self._further_views(rng, seen)])
        everything = concatenate([shown, engaged, seen, self._purchases(rng, seen)])
        everything = everything.take(everything.t_us_N < self._end_us)
        return everything.take(np.lexsort((everything.action_N, everything.user_N, everything.t_us_N)))

    def _visits(self, rng: np.random.Generator, user_U: Ints) -> tuple[Ints, Ints]:
        joins_us_U = self._people.user_joins_us_U[user_U]
        expected_U = self._people.user_visits_U[user_U] * (1.0 - joins_us_U / self._end_us)
        user_V = np.repeat(user_U, rng.poisson(expected_U))
        first_day_V = self._people.user_joins_us_U[user_V] // DAY_US
        day_V = rng.integers(first_day_V, self.config.days)
        hour_V = rng.choice(24, len(user_V), p=HOUR_WEIGHT / HOUR_WEIGHT.sum())
        t_us_V = day_V * DAY_US + hour_V * (DAY_US // 24) + rng.integers(0, DAY_US // 24, len(user_V))
        return user_V, np.maximum(t_us_V, self._people.user_joins_us_U[user_V])

    def _requests(self, rng: np.random.Generator, user_V: Ints, t_us_V: Ints, first_request: int) -> EventRows:
        """Show ads: the platform knows tastes a little, and what is popular, and offers a mixture."""
        config, people = self.config, self._people
        per_visit_V = 1 + rng.poisson(config.requests_per_visit - 1.0, len(user_V))
        user_R = np.repeat(user_V, per_visit_V)
        step_R = np.arange(len(user_R)) - np.repeat(np.cumsum(per_visit_V) - per_visit_V, per_visit_V)
        t_us_R = np.repeat(t_us_V, per_visit_V) + ((step_R * 90 + rng.uniform(0, 60, len(user_R))) * SECOND_US).astype(
            np.int64
        )
        surface_R = rng.choice(len(SURFACES), len(user_R), p=SURFACE_SHARE).astype(np.int8)
        related_R, search_R = surface_R == SURFACES.index("related"), surface_R == SURFACES.index("search")
        category_R = favourites(people, rng, user_R)
        on_screen, is_any = self._shelf.pick(
            rng,
            user_N=user_R,
            t_us_N=t_us_R,
            category_NM=pool_categories(category_R, category_R),
            count=1,
            taste=config.taste_weight,
        )
        related_R &= is_any[:, 0]
        context_R = np.where(related_R, on_screen[:, 0], -1)
        category_R = np.where(related_R, people.item_category_I[context_R], category_R)
        elsewhere_R = np.where(related_R | search_R, category_R, -1)  # half of a home feed is simply what is popular
        item_RS, is_any_RS = self._shelf.pick(
            rng,
            user_N=user_R,
            t_us_N=t_us_R,
            category_NM=pool_categories(category_R, elsewhere_R),
            count=config.slots,
            taste=0.5 * config.taste_weight,
        )
        request_N, slot_N = np.nonzero(is_any_RS)
        shown = event_rows("impression", t_us=t_us_R[request_N], user=user_R[request_N], item=item_RS[is_any_RS])
        shown.surface_N[:] = surface_R[request_N]
        return EventRows(
            t_us_N=shown.t_us_N,
            user_N=shown.user_N,
            item_N=shown.item_N,
            action_N=shown.action_N,
            surface_N=shown.surface_N,
            request_N=first_request + request_N,
            position_N=slot_N + 1,
            dwell_s_N=shown.dwell_s_N,
            value_N=shown.value_N,
            context_N=context_R[request_N],
            query_N=np.where(search_R, category_R, -1)[request_N],
        )

    def _reactions(self, rng: np.random.Generator, shown: EventRows) -> tuple[EventRows, EventRows]:
        """React to ads: clicks (some by accident), saves, hides; then the product page that a click leads to."""
        taste_N = self.config.taste_weight * self._truth.affinity(shown.user_N, shown.item_N)
        logit_N = self.config.click_logit + taste_N + SURFACE_LOGIT[shown.surface_N]
        read_N = shown.position_N**-POSITION_DECAY
        meant_N = rng.random(len(shown)) < sigmoid(logit_N) * read_N
        clicked_N = meant_N | (rng.random(len(shown)) < self.config.accidental_click_rate)
        saved_N = rng.random(len(shown)) < sigmoid(SAVE_LOGIT + taste_N) * read_N
        hidden_N = rng.random(len(shown)) < sigmoid(HIDE_LOGIT - taste_N) * read_N
        pause_us_N = (rng.uniform(1, 25, len(shown)) * SECOND_US).astype(np.int64)

        reactions = []
        for action, done_N in (("click", clicked_N), ("save", saved_N & ~hidden_N), ("hide", hidden_N & ~clicked_N)):
            rows = shown.take(done_N)
            rows.action_N[:] = ACTION_CODE[action]
            rows.t_us_N[:] += pause_us_N[done_N] + (SECOND_US if action == "save" else 0)
            reactions.append(rows)
        clicks = reactions[0]
        meant = meant_N[clicked_N]
        clicks.dwell_s_N[:] = np.where(
            meant, self._dwell_s(rng, clicks.user_N, clicks.item_N), rng.lognormal(np.log(1.2), 0.5, len(clicks))
        )
        arrived = clicks.take(meant)
        t_us = arrived.t_us_N + rng.integers(SECOND_US // 2, 5 * SECOND_US, len(arrived))
        return concatenate(reactions), self._views(rng, arrived.user_N, arrived.item_N, t_us)

    def _dwell_s(self, rng: np.random.Generator, user_N: Ints, item_N: Ints) -> Floats:
        """Draw seconds on a product page: the better the match, the longer."""
        match_N = self._truth.affinity(user_N, item_N)
        dwell_s_N: Floats = rng.lognormal(np.log(14.0) + 1.2 * match_N, 0.8)
        return dwell_s_N

    def _views(self, rng: np.random.Generator, user_N: Ints, item_N: Ints, t_us_N: Ints) -> EventRows:
        return event_rows("view", t_us=t_us_N, user=user_N, item=item_N, dwell_s=self._dwell_s(rng, user_N, item_N))

    def _organic_views(self, rng: np.random.Generator, user_V: Ints, t_us_V: Ints) -> EventRows:
        category_V = favourites(self._people, rng, user_V)
        item, is_any = self._shelf.pick(
            rng,
            user_N=user_V,
            t_us_N=t_us_V,
            category_NM=pool_categories(category_V, category_V),
            count=1,
            taste=self.config.taste_weight,
        )
        found_V = is_any[:, 0]
        return self._views(rng, user_V[found_V], item[found_V, 0], t_us_V[found_V])

    def _further_views(self, rng: np.random.Generator, seen: EventRows) -> EventRows:
        """Look around among similar products before leaving."""
        more_N = rng.poisson(0.7, len(seen))
        user, t_us = np.repeat(seen.user_N, more_N), np.repeat(seen.t_us_N, more_N)
        category = self._people.item_category_I[np.repeat(seen.item_N, more_N)]
        t_us = t_us + (rng.uniform(20, 600, len(t_us)) * SECOND_US).astype(np.int64)
        item, is_any = self._shelf.pick(
            rng,
            user_N=user,
            t_us_N=t_us,
            category_NM=pool_categories(category, category),
            count=1,
            taste=self.config.taste_weight,
        )
        found = is_any[:, 0]
        return self._views(rng, user[found], item[found, 0], t_us[found])

    def _purchases(self, rng: np.random.Generator, seen: EventRows) -> EventRows:
        """Put into the cart, and buy hours or days later, often after another look at the product."""
        carted = seen.take(rng.random(len(seen)) < self._truth.cart_probability(seen.user_N, seen.item_N))
        user_N, item_N = carted.user_N, carted.item_N
        cart_us_N = carted.t_us_N + (rng.lognormal(np.log(60.0), 0.7, len(carted)) * SECOND_US).astype(np.int64)
        bought_N = rng.random(len(carted)) < self._truth.checkout_probability(user_N, item_N)
        delay_h_N = rng.lognormal(np.log(self.config.checkout_delay_h), self.config.checkout_delay_spread, len(carted))
        checkout_us_N = cart_us_N + SECOND_US + (delay_h_N * 3600 * SECOND_US).astype(np.int64)
        pieces_N = np.where(rng.random(len(carted)) < 0.1, 2.0, 1.0)  # now and then two of a kind
        value_N = np.round(self._people.item_price_I[item_N] * pieces_N, 2)

        chance_N = rng.random(len(carted))
        early_us_N = (rng.uniform(0.02, 0.2, len(carted)) * delay_h_N * 3600 * SECOND_US).astype(np.int64)
        returned_N = np.where(bought_N, chance_N < RETURN_BEFORE_CHECKOUT, chance_N < RETURN_TO_ABANDONED_CART)
        returned_N &= delay_h_N > 0.5
        return concatenate(
            [
                event_rows("add_to_cart", t_us=cart_us_N, user=user_N, item=item_N),
                event_rows(
                    "checkout",
                    t_us=checkout_us_N[bought_N],
                    user=user_N[bought_N],
                    item=item_N[bought_N],
                    value=value_N[bought_N],
                ),
                self._views(rng, user_N[returned_N], item_N[returned_N], (checkout_us_N - early_us_N)[returned_N]),
            ]
        )
