"""Who uses the platform: people with tastes, and a few bots.

Shape letters: U users, T tastes of a user, D latent dimensions.
"""

from dataclasses import dataclass

import numpy as np

from lowerfunnel.world.categories import Categories, Float32s, noise, unit
from lowerfunnel.world.checks import require_at_least, require_positive, require_shares
from lowerfunnel.world.policy import Bools, Floats, Ints

COUNTRIES = ("US", "DE", "GB", "BR", "JP")
COUNTRY_SHARE = (0.45, 0.2, 0.15, 0.12, 0.08)
UTC_OFFSET_H = np.array([-6, 1, 0, -3, 9])
"""Hours that each country's clocks are ahead of UTC."""
DEVICES = ("phone", "desktop", "tablet")
DEVICE_SHARE = (0.66, 0.26, 0.08)
AGES = ("18-24", "25-34", "35-44", "45-54", "55+")
AGE_SHARE = (0.22, 0.3, 0.21, 0.15, 0.12)
FIRST_USER_ID = 100_000_000
TASTES = 3
BOT_ACTIVITY = 10.0
"""Visits of a bot, relative to the mean of all users."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UserConfig:
    """People: how many come how often, and what they like."""

    visits_per_day: float = 0.2
    """Mean visits a day of a user, to the platform and straight to advertisers' sites together."""
    activity_spread: float = 1.0
    """Standard deviation of the log of a user's activity: few come often, most come seldom."""
    late_share: float = 0.1
    """Share of the users who join in the last quarter of the log."""
    taste_noise: float = 0.35
    """How far a user's taste lies from the categories that it is made of; 0 puts it right among them."""
    drift_days: float = 180.0
    """Days in which a taste has turned into another one of the same user."""
    price_spread: float = 0.5
    """Standard deviation of the log of the price, relative to its category, that a user finds right."""
    bot_share: float = 0.002
    """Share of the users that are bots: they come often, click often, read nothing and never buy."""

    def __post_init__(self) -> None:
        require_shares(self, ("late_share", "bot_share"))
        require_at_least(self, 0, ("visits_per_day", "activity_spread", "taste_noise", "price_spread"))
        require_positive(self, ("drift_days",))


@dataclass(frozen=True, kw_only=True, slots=True)
class Users:
    """U users in rows, ascending by id; ids are shuffled and tell nothing."""

    user_id_U: Ints
    latent_UD: Float32s
    """Taste at the start, unit vectors."""
    later_UD: Float32s
    """Taste that it drifts to, unit vectors."""
    taste_UT: Ints
    """Leaf categories that a user cares for, the first most; may repeat."""
    taste_weight_UT: Floats
    """How much, adding up to 1."""
    log_price_U: Float32s
    """Log of the price, relative to its category, that a user finds right."""
    activity_U: Floats
    """Expected visits a day."""
    joins_day_U: Floats
    """Days after the start of the log; 0 for those who were always there."""
    country_U: Ints
    device_U: Ints
    age_U: Ints
    is_person_U: Bools

    def __len__(self) -> int:
        return len(self.user_id_U)


def draw_users(config: UserConfig, rng: np.random.Generator, categories: Categories, *, count: int, days: int) -> Users:
    """Draw users. Two of a user's tastes in three lie in the department of the first."""
    first_U = rng.choice(len(categories), count, p=categories.weight_K)
    taste_UT = np.empty((count, TASTES), np.int64)
    taste_UT[:, 0] = first_U
    members = [np.flatnonzero(categories.department_K == d) for d in range(categories.department_K.max() + 1)]
    size_E = np.array([len(each) for each in members])
    start_E = np.cumsum(size_E) - size_E
    ordered_K = np.concatenate(members)
    department_U = categories.department_K[first_U]
    for t in range(1, TASTES):
        near_U = ordered_K[start_E[department_U] + (rng.random(count) * size_E[department_U]).astype(np.int64)]
        anywhere_U = rng.choice(len(categories), count, p=categories.weight_K)
        taste_UT[:, t] = np.where(rng.random(count) < 2 / 3, near_U, anywhere_U)
    weight_UT = rng.dirichlet([1.5, 0.7, 0.4], count)
    latent_UD = np.zeros((count, categories.centre_KD.shape[1]))
    for t in range(TASTES):
        latent_UD += weight_UT[:, t, None] * categories.centre_KD[taste_UT[:, t]]
    latent_UD = unit(latent_UD + noise(rng, config.taste_noise, latent_UD.shape))
    activity_U = np.exp(rng.normal(0.0, config.activity_spread, count))
    activity_U *= config.visits_per_day / activity_U.mean()
    is_person_U = rng.random(count) >= config.bot_share
    late_U = rng.random(count) < config.late_share
    return Users(
        user_id_U=FIRST_USER_ID + np.sort(rng.permutation(4 * count)[:count]),
        latent_UD=latent_UD.astype(np.float32),
        later_UD=unit(latent_UD + noise(rng, 0.7, latent_UD.shape)).astype(np.float32),
        taste_UT=taste_UT,
        taste_weight_UT=weight_UT,
        log_price_U=rng.normal(0.0, config.price_spread, count).astype(np.float32),
        activity_U=np.where(is_person_U, activity_U, BOT_ACTIVITY * config.visits_per_day),
        joins_day_U=np.where(late_U, rng.uniform(0.75, 1.0, count) * days, 0.0),
        country_U=rng.choice(len(COUNTRIES), count, p=COUNTRY_SHARE),
        device_U=rng.choice(len(DEVICES), count, p=DEVICE_SHARE),
        age_U=rng.choice(len(AGES), count, p=AGE_SHARE),
        is_person_U=is_person_U,
    )
