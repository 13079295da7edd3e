"""Who comes on a day, and asks for ads where: requests that no policy can change.

Shape letters: V visits, R requests, D latent dimensions.
"""

from dataclasses import dataclass, fields

import numpy as np

from lowerfunnel.world.categories import Float32s
from lowerfunnel.world.chance import Stream, generator
from lowerfunnel.world.checks import require_at_least, require_shares
from lowerfunnel.world.intent import Missions, normalise
from lowerfunnel.world.people import UTC_OFFSET_H
from lowerfunnel.world.policy import SURFACES, Floats, Ints, Requests
from lowerfunnel.world.population import Population
from lowerfunnel.world.season import DAY_US, SECOND_US, draw_hours
from lowerfunnel.world.shelf import Shelf

REQUESTS_A_DAY = 1_000_000_000
"""Numbers set aside for the requests of one day."""
RELATED, SEARCH = SURFACES.index("related"), SURFACES.index("search")
SUBJECT_WEIGHT, QUERY_WEIGHT = 0.5, 0.7
"""Share of the item on screen, and of the words searched for, in what is wanted there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrafficConfig:
    """Requests for ads."""

    platform_share: float = 0.75
    """Share of the visits that go to the platform; the others go straight to advertisers' sites."""
    requests_per_visit: float = 2.2
    """Mean requests of a visit to the platform; at least 1."""
    slots: int = 8
    """Ads shown per request."""
    surface_share: tuple[float, float, float] = (0.55, 0.25, 0.20)
    """Share of the requests on the home feed, beside an item (related) and in a search."""

    def __post_init__(self) -> None:
        require_shares(self, ("platform_share",))
        require_at_least(self, 1, ("requests_per_visit", "slots"))
        if min(self.surface_share) < 0 or abs(sum(self.surface_share) - 1) > 1e-9:
            raise ValueError(f"surface_share should be three shares that add up to 1, got {list(self.surface_share)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """The R requests of the visits that begin on one day, in order of time, with what is hidden behind them."""

    request_R: Ints
    t_us_R: Ints
    """Microseconds after the start of the log."""
    user_R: Ints
    surface_R: np.typing.NDArray[np.int8]
    context_R: Ints
    """Row of the item on screen, -1 elsewhere."""
    query_R: Ints
    """Leaf category that is searched for, -1 elsewhere."""
    category_R: Ints
    """Leaf category that the user has in mind."""
    latent_RD: Float32s
    """What the user wants there and then, unit vectors."""
    missions: Missions

    def __len__(self) -> int:
        return len(self.request_R)

    @property
    def day_R(self) -> Floats:
        """Days after the start of the log."""
        return self.t_us_R / DAY_US

    def take(self, rows: Ints) -> "Traffic":
        """Return the requests at these positions."""
        missions = Missions(category_N=self.missions.category_N[rows], ripeness_N=self.missions.ripeness_N[rows])
        columns = {field.name: getattr(self, field.name)[rows] for field in fields(self) if field.name != "missions"}
        return Traffic(missions=missions, **columns)

    def seen(self, population: Population, part: slice, *, start_us: int) -> Requests:
        """Return what a policy may see of some requests."""
        context_R = self.context_R[part]
        return Requests(
            request_R=self.request_R[part],
            t_us_R=start_us + self.t_us_R[part],
            user_id_R=population.users.user_id_U[self.user_R[part]],
            surface_R=self.surface_R[part],
            context_item_id_R=np.where(context_R >= 0, population.items.item_id_I[context_R], -1),
            query_R=self.query_R[part],
        )


def draw_traffic(
    config: TrafficConfig, population: Population, day: int, *, visits_factor: float, seed: int
) -> Traffic:
    """Draw the requests of a day."""
    rng = generator(seed, Stream.TRAFFIC, day)
    users, items, intents = population.users, population.items, population.intents
    user_V = np.repeat(np.arange(len(users)), rng.poisson(users.activity_U * config.platform_share * visits_factor))
    t_us_V = day * DAY_US + draw_hours(rng, UTC_OFFSET_H[users.country_U[user_V]])
    here_V = t_us_V >= users.joins_day_U[user_V] * DAY_US
    user_V, t_us_V = user_V[here_V], t_us_V[here_V]
    per_visit_V = 1 + rng.poisson(config.requests_per_visit - 1.0, len(user_V))
    user_R = np.repeat(user_V, per_visit_V)
    step_R = np.arange(len(user_R)) - np.repeat(np.cumsum(per_visit_V) - per_visit_V, per_visit_V)
    t_us_R = np.repeat(t_us_V, per_visit_V) + ((step_R * 90 + rng.uniform(0, 60, len(user_R))) * SECOND_US).astype(
        np.int64
    )
    order_R = np.lexsort((user_R, t_us_R))
    user_R, t_us_R = user_R[order_R], t_us_R[order_R]
    day_R = t_us_R / DAY_US

    surface_R = rng.choice(len(SURFACES), len(user_R), p=config.surface_share).astype(np.int8)
    missions = intents.missions(user_R, day_R)
    category_R = intents.category(user_R, missions, rng.random(len(user_R)))
    latent_RD = intents.latent(user_R, day_R, missions)
    shelf = Shelf(items.category_I, items.appeal_I, len(population.categories))
    shelf.stock(items.on_sale(float(day)))
    on_screen_R = shelf.draw(category_R, rng.random(len(user_R)))
    related_R, search_R = surface_R == RELATED, surface_R == SEARCH
    # Where a category has nothing on sale, what is on screen is of another one.
    category_R = np.where(related_R, items.category_I[on_screen_R], category_R)
    context_R, query_R = np.where(related_R, on_screen_R, -1), np.where(search_R, category_R, -1)
    return Traffic(
        request_R=day * REQUESTS_A_DAY + np.arange(len(user_R)),
        t_us_R=t_us_R,
        user_R=user_R,
        surface_R=surface_R,
        context_R=context_R,
        query_R=query_R,
        category_R=category_R,
        latent_RD=on_surface(population, latent_RD, context_R=context_R, query_R=query_R),
        missions=missions,
    )


def on_surface(population: Population, latent_ND: Float32s, *, context_R: Ints, query_R: Ints) -> Float32s:
    """Draw what users want towards the item on screen, and towards what they search for; changes `latent_ND`.

    Args:
        population: Whose items and categories are meant.
        latent_ND: What the users want anyway, unit vectors [R, D].
        context_R: Row of the item on screen, -1 without one.
        query_R: Leaf category that is searched for, -1 without a search.
    """
    for weight, row_R, place_D in (
        (SUBJECT_WEIGHT, context_R, population.items.latent_ID),
        (QUERY_WEIGHT, query_R, population.categories.centre_KD),
    ):
        here_R = row_R >= 0
        latent_ND[here_R] = normalise(
            np.float32(1 - weight) * latent_ND[here_R] + np.float32(weight) * place_D[row_R[here_R]]
        )
    return latent_ND
