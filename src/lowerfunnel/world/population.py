"""Who lives in the world: users with tastes, advertisers, and items whose content tells something of their nature.

Shape letters: U users, I items, A advertisers, K categories, D latent dimensions, C content dimensions,
T tastes per user.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lowerfunnel.world.settings import WorldConfig

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DAY_US = 86_400_000_000
TASTES_PER_USER = 3
FIRST_USER_ID = 100_000_000
FIRST_ITEM_ID = 500_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Population:
    """Users, advertisers and items as drawn, in rows; ids are shuffled, so that they tell nothing."""

    user_id_U: Ints
    user_latent_UD: Floats
    """Unit vectors."""
    user_taste_UT: Ints
    """The categories a user cares for."""
    user_taste_weight_UT: Floats
    """How much, adding up to 1."""
    user_log_price_U: Floats
    """Log of the price, relative to its category, that a user finds right."""
    user_visits_U: Floats
    """Expected visits over the whole log."""
    user_joins_us_U: Ints
    """Microseconds after the start of the log; 0 for those who were always there."""

    item_id_I: Ints
    item_latent_ID: Floats
    """Unit vectors."""
    item_content_IC: Floats
    item_advertiser_I: Ints
    item_category_I: Ints
    item_price_I: Floats
    item_log_price_I: Floats
    """Log of the price relative to its category."""
    item_appeal_I: Floats
    """Weight with which an item comes before people's eyes; heavy-tailed."""
    item_launched_us_I: Ints
    """Microseconds after the start of the log; 0 for those that were always there."""
    advertiser_logit_A: Floats
    """What an advertiser's shop adds to the logit of a purchase."""


def draw_population(config: WorldConfig, rng: np.random.Generator) -> Population:
    """Draw everybody and everything, from one generator in a fixed order."""
    centre_KD = _unit(rng.standard_normal((config.n_categories, config.latent_dim)))
    category_price_K = np.exp(rng.normal(3.3, 0.9, config.n_categories))  # medians around 27, from 5 to 160

    taste_UT = _distinct(rng, config.n_users, TASTES_PER_USER, config.n_categories)
    weight_UT = rng.dirichlet([1.5, 0.7, 0.4], config.n_users)[:, : taste_UT.shape[1]]
    weight_UT /= weight_UT.sum(axis=1, keepdims=True)
    mixed_UD = np.einsum("ut,utd->ud", weight_UT, centre_KD[taste_UT])
    user_latent_UD = _unit(mixed_UD + _noise(rng, 0.35, mixed_UD.shape))
    activity_U = np.exp(rng.normal(0.0, config.activity_spread, config.n_users))
    activity_U *= config.visits_per_user / activity_U.mean()

    advertiser_I = _advertisers_of_items(config, rng)
    sells_AT = _distinct(rng, config.n_advertisers, 3, config.n_categories)
    n_sells_A = rng.integers(1, sells_AT.shape[1] + 1, config.n_advertisers)
    category_I = sells_AT[advertiser_I, rng.integers(0, n_sells_A[advertiser_I])]
    item_latent_ID = _unit(centre_KD[category_I] + _noise(rng, 0.7, (config.n_items, config.latent_dim)))
    level_A = rng.normal(0.0, 0.4, config.n_advertisers)  # some shops are dearer than others
    log_price_I = level_A[advertiser_I] + rng.normal(0.0, 0.3, config.n_items)
    appeal_I = np.arange(1, config.n_items + 1, dtype=np.float64) ** -config.popularity_exponent
    view_DC = rng.standard_normal((config.latent_dim, config.content_dim)) / np.sqrt(config.latent_dim)
    content_IC = item_latent_ID @ view_DC
    content_IC /= content_IC.std()
    content_IC += _noise(rng, config.content_noise * np.sqrt(config.content_dim), content_IC.shape)

    return Population(
        user_id_U=FIRST_USER_ID + rng.permutation(config.n_users),
        user_latent_UD=user_latent_UD,
        user_taste_UT=taste_UT,
        user_taste_weight_UT=weight_UT,
        user_log_price_U=rng.normal(0.0, 0.5, config.n_users),
        user_visits_U=activity_U,
        user_joins_us_U=_late(rng, config.n_users, config.late_user_share, config.days),
        item_id_I=FIRST_ITEM_ID + rng.permutation(config.n_items),
        item_latent_ID=item_latent_ID,
        item_content_IC=content_IC,
        item_advertiser_I=advertiser_I,
        item_category_I=category_I,
        item_price_I=np.maximum(np.round(category_price_K[category_I] * np.exp(log_price_I), 2), 0.5),
        item_log_price_I=log_price_I,
        item_appeal_I=rng.permutation(appeal_I),
        item_launched_us_I=_late(rng, config.n_items, config.late_item_share, config.days),
        advertiser_logit_A=rng.normal(0.0, config.advertiser_spread, config.n_advertisers),
    )


def _unit(vectors_ND: Floats) -> Floats:
    length_N1: Floats = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return vectors_ND / length_N1


def _noise(rng: np.random.Generator, length: float, shape: tuple[int, ...]) -> Floats:
    """Draw vectors whose expected length is about `length`."""
    each: float = length / np.sqrt(shape[-1])
    return rng.standard_normal(shape) * each


def _distinct(rng: np.random.Generator, rows: int, picks: int, choices: int) -> Ints:
    """Draw `picks` different numbers below `choices` for each row, or all of them where there are fewer."""
    picked: Ints = np.argsort(rng.random((rows, choices)), axis=1)[:, : min(picks, choices)]
    return picked


def _advertisers_of_items(config: WorldConfig, rng: np.random.Generator) -> Ints:
    size_A = np.arange(1, config.n_advertisers + 1, dtype=np.float64) ** -0.9
    rest = rng.choice(config.n_advertisers, config.n_items - config.n_advertisers, p=size_A / size_A.sum())
    return rng.permutation(np.concatenate([np.arange(config.n_advertisers), rest]))


def _late(rng: np.random.Generator, count: int, share: float, days: int) -> Ints:
    """Draw when each is first there: from the start, or, for some, at a moment of the last quarter."""
    moment = rng.uniform(0.75, 1.0, count) * (days * DAY_US)
    return np.where(rng.random(count) < share, moment, 0.0).astype(np.int64)
