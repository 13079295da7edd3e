"""The way from a look at a product to its cart, checkout and return: one journey per look, whatever led to it.

Shape letters: J journeys. Times are microseconds after the start of the log.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from lowerfunnel.world.categories import Float32s
from lowerfunnel.world.chance import Keys, normal, uniform
from lowerfunnel.world.intent import Missions
from lowerfunnel.world.policy import Bools, Floats, Ints
from lowerfunnel.world.population import Population
from lowerfunnel.world.response import DelayConfig, Response
from lowerfunnel.world.season import DAY_US, HOUR_US, SECOND_US

CAUSES = ("click", "view", "organic")
"""What led to a look at the product: an ad that was clicked, one that was only seen, or none."""
CLICK, VIEW, ORGANIC = range(3)
LOOKS_AGAIN = 0.6
"""Share of the buyers, and a quarter of that of those who leave a cart, who look at the product once more in between."""
TWO_PIECES = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Journeys:
    """J looks at products, and how far each one went. A time means something only where its step was taken."""

    user_J: Ints
    item_J: Ints
    cause_J: np.typing.NDArray[np.int8]
    """Position in `CAUSES`."""
    request_J: Ints
    """The ad's request, -1 without an ad."""
    key_J: Keys
    """Where the journey's chance comes from."""
    look_us_J: Ints
    carted_J: Bools
    cart_us_J: Ints
    looked_again_J: Bools
    again_us_J: Ints
    bought_J: Bools
    checkout_us_J: Ints
    order_value_J: Floats
    """USD paid at the checkout, 0 without one."""
    returned_J: Bools
    return_us_J: Ints

    def __len__(self) -> int:
        return len(self.user_J)

    @property
    def value_J(self) -> Floats:
        """USD that stay with the advertiser: 0 for an order that came back."""
        return np.where(self.returned_J, 0.0, self.order_value_J)

    def take(self, rows: Ints | Bools) -> "Journeys":
        """Return the journeys at these positions, or where a mask is true."""
        return Journeys(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def join(parts: Sequence[Journeys]) -> Journeys:
    """Put journeys one after the other."""
    return Journeys(
        **{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Journeys)}
    )


def walk(
    response: Response,
    delays: DelayConfig,
    population: Population,
    *,
    user: Ints,
    item: Ints,
    cause: int,
    request: Ints,
    key: Keys,
    look_us: Ints,
    affinity: Float32s,
    missions: Missions,
    sure: Bools | None = None,
) -> Journeys:
    """Let every look go its way; all chance comes from `key`.

    Args:
        response: The probabilities.
        delays: How long people take.
        population: Whose items have prices.
        user: Rows of users [J].
        item: Rows of items [J].
        cause: Position in `CAUSES`.
        request: The ad's request [J], -1 without an ad.
        key: One key for each journey [J].
        look_us: When the product is looked at [J].
        affinity: Match of taste at that moment [J].
        missions: The users' missions at that moment.
        sure: Where it is certain that the product is bought: at the end of a mission.
    """
    day = look_us / DAY_US
    carted = uniform(key, 10) < response.cart(affinity, user, item, missions=missions, day_N=day)
    bought = uniform(key, 11) < response.checkout(affinity, user, item)
    if sure is not None:
        carted, bought = carted | sure, bought | sure
    bought &= carted
    returned = bought & (uniform(key, 12) < response.give_back(item))
    longest_us = delays.longest_days * DAY_US

    def after(median_us: float, spread: float, draw: int) -> Ints:
        return np.minimum(median_us * np.exp(spread * normal(key, draw)), longest_us).astype(np.int64) + SECOND_US

    cart_us = look_us + after(delays.cart_s * SECOND_US, 0.7, 20)
    wait_us = after(delays.checkout_h * HOUR_US, delays.checkout_spread, 22)
    again = carted & (uniform(key, 13) < np.where(bought, LOOKS_AGAIN, LOOKS_AGAIN / 4)) & (wait_us > HOUR_US // 2)
    again_us = cart_us + (wait_us * (0.8 + 0.18 * uniform(key, 14))).astype(np.int64)
    pieces = np.where(uniform(key, 15) < TWO_PIECES, 2.0, 1.0)
    return Journeys(
        user_J=user,
        item_J=item,
        cause_J=np.full(len(user), cause, np.int8),
        request_J=request,
        key_J=key,
        look_us_J=look_us,
        carted_J=carted,
        cart_us_J=cart_us,
        looked_again_J=again,
        again_us_J=again_us,
        bought_J=bought,
        checkout_us_J=cart_us + wait_us,
        order_value_J=np.where(bought, np.round(population.items.price_I[item] * pieces, 2), 0.0),
        returned_J=returned,
        return_us_J=cart_us + wait_us + after(delays.return_days * DAY_US, 0.5, 24),
    )
