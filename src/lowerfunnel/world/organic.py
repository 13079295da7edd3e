"""What people buy without any ad: visits straight to advertisers' sites, and the ends of missions.

Shape letters: V visits, N looks at products, M missions that end, I items.
"""

from dataclasses import dataclass

import numpy as np

from lowerfunnel.world.chance import Stream, generator, keyed
from lowerfunnel.world.checks import require_at_least, require_positive
from lowerfunnel.world.intent import Missions
from lowerfunnel.world.journeys import ORGANIC, Journeys, walk
from lowerfunnel.world.people import UTC_OFFSET_H
from lowerfunnel.world.policy import Floats, Ints
from lowerfunnel.world.population import Population
from lowerfunnel.world.response import DelayConfig, Response
from lowerfunnel.world.season import DAY_US, SECOND_US, draw_hours
from lowerfunnel.world.shelf import Shelf

LOOKS_A_DAY = 1_000_000_000
_MOST_TRIES = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class OrganicConfig:
    """Visits without an ad."""

    looks_per_visit: float = 8.0
    """Mean products looked at in such a visit; at least 1."""
    looks_shape: float = 0.5
    """How alike visits are in that (shape of the gamma distribution behind it): low means many visits of one look and a
    few very long ones."""
    pause_s: float = 110.0
    """Median seconds between two looks of a visit."""
    pause_spread: float = 1.4
    """Standard deviation of the log of that pause."""
    choice_weight: float = 4.0
    """How much a perfect match of taste adds to the log of the chance that a product of its category is looked at."""

    def __post_init__(self) -> None:
        require_at_least(self, 1, ("looks_per_visit",))
        require_at_least(self, 0, ("choice_weight", "pause_spread"))
        require_positive(self, ("looks_shape", "pause_s"))


def draw_organic(
    config: OrganicConfig,
    population: Population,
    response: Response,
    delays: DelayConfig,
    day: int,
    *,
    visits_share: float,
    visits_factor: float,
    seed: int,
) -> Journeys:
    """Draw the journeys that begin on a day without an ad; no policy changes them."""
    rng = generator(seed, Stream.ORGANIC, day)
    users, items, intents = population.users, population.items, population.intents
    rate_U = np.where(users.is_person_U, users.activity_U * visits_share * visits_factor, 0.0)
    user_V = np.repeat(np.arange(len(users)), rng.poisson(rate_U))
    t_us_V = day * DAY_US + draw_hours(rng, UTC_OFFSET_H[users.country_U[user_V]])
    here_V = t_us_V >= users.joins_day_U[user_V] * DAY_US
    user_V, t_us_V = user_V[here_V], t_us_V[here_V]
    more_V = rng.gamma(config.looks_shape, (config.looks_per_visit - 1.0) / config.looks_shape, len(user_V))
    looks_V = 1 + rng.poisson(more_V)
    category_V = intents.category(user_V, intents.missions(user_V, t_us_V / DAY_US), rng.random(len(user_V)))
    user_N, t_us_N = np.repeat(user_V, looks_V), np.repeat(t_us_V, looks_V)
    pause_s_N = config.pause_s * np.exp(config.pause_spread * rng.standard_normal(len(user_N)))
    since_N = np.cumsum(pause_s_N)
    since_N -= np.repeat(since_N[np.cumsum(looks_V) - looks_V], looks_V)
    t_us_N = t_us_N + (since_N * SECOND_US).astype(np.int64)

    ends = intents.ends(np.flatnonzero(users.is_person_U & (users.joins_day_U <= day)), day)
    # The purchase itself may take a while: the look that leads to it is the mission's last.
    user_N = np.concatenate([user_N, ends.user_M])
    t_us_N = np.concatenate([t_us_N, (ends.day_M * DAY_US).astype(np.int64)])
    category_N = np.concatenate([np.repeat(category_V, looks_V), ends.category_M])
    sure_N = np.arange(len(user_N)) >= len(user_N) - len(ends.user_M)

    shelf = Shelf(items.category_I, items.appeal_I, len(population.categories))
    shelf.stock(items.on_sale(float(day)))
    found_N = shelf.holds(category_N)
    user_N, t_us_N = user_N[found_N], t_us_N[found_N]
    category_N, sure_N = category_N[found_N], sure_N[found_N]
    moments = intents.missions(user_N, t_us_N / DAY_US)
    latent_ND = intents.latent(user_N, t_us_N / DAY_US, moments)
    item_N = _choose(rng, config.choice_weight, shelf, response, latent_ND, category_N)
    return walk(
        response,
        delays,
        population,
        user=user_N,
        item=item_N,
        cause=ORGANIC,
        request=np.full(len(user_N), -1, np.int64),
        key=keyed(seed, Stream.ORGANIC, day * LOOKS_A_DAY + np.arange(len(user_N))),
        look_us=t_us_N,
        affinity=response.affinity(latent_ND, item_N),
        missions=moments,
        sure=sure_N,
    )


def _choose(
    rng: np.random.Generator,
    weight: float,
    shelf: Shelf,
    response: Response,
    latent_ND: np.typing.NDArray[np.float32],
    category_N: Ints,
) -> Ints:
    """Choose an item of a category with chance in proportion to ``appeal * exp(weight * affinity)``.

    By rejection, which is exact: an item is proposed by appeal and kept with chance ``exp(weight * (affinity - 1))``.
    Whoever has kept nothing after many proposals takes the last one.
    """
    item_N = np.empty(len(category_N), np.int64)
    open_N = np.arange(len(category_N))
    for _ in range(_MOST_TRIES):
        if not len(open_N):
            break
        proposed = shelf.draw(category_N[open_N], rng.random(len(open_N)))
        item_N[open_N] = proposed
        kept = rng.random(len(open_N)) < np.exp(weight * (response.affinity(latent_ND[open_N], proposed) - 1.0))
        open_N = open_N[~kept]
    return item_N


def organic_looks(
    config: OrganicConfig,
    population: Population,
    *,
    user_N: Ints,
    day_N: Floats,
    visits_share: float,
) -> tuple[np.typing.NDArray[np.float64], Missions]:
    """Return the expected looks a day of users at moments by category [N, K], on an ordinary day, and their missions."""
    users, intents = population.users, population.intents
    missions = intents.missions(user_N, day_N)
    share_N = intents.mission_share(missions)
    category_NK = np.zeros((len(user_N), len(population.categories)))
    rows = np.arange(len(user_N))
    for t in range(users.taste_UT.shape[1]):
        weight_N = (1 - share_N) * users.taste_weight_UT[user_N, t]
        np.add.at(category_NK, (rows, users.taste_UT[user_N, t]), weight_N)
    on = missions.category_N >= 0
    np.add.at(category_NK, (rows[on], missions.category_N[on]), share_N[on])
    rate_N = np.where(users.is_person_U[user_N], users.activity_U[user_N] * visits_share, 0.0) * config.looks_per_visit
    return category_NK * rate_N[:, None], missions
