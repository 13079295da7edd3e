"""Everybody and everything in a world, drawn once from its seed."""

from dataclasses import dataclass

from lowerfunnel.world.categories import Categories, draw_categories
from lowerfunnel.world.chance import Stream, generator
from lowerfunnel.world.intent import IntentConfig, Intents
from lowerfunnel.world.market import AdvertiserConfig, Advertisers, ItemConfig, Items, draw_market
from lowerfunnel.world.people import UserConfig, Users, draw_users


@dataclass(frozen=True, kw_only=True, slots=True)
class Population:
    """Users, advertisers, items, and what the users want."""

    categories: Categories
    users: Users
    advertisers: Advertisers
    items: Items
    intents: Intents


def draw_population(
    *,
    seed: int,
    days: int,
    latent_dim: int,
    n_users: int,
    n_items: int,
    n_advertisers: int,
    n_categories: int,
    users: UserConfig,
    items: ItemConfig,
    advertisers: AdvertiserConfig,
    intent: IntentConfig,
) -> Population:
    """Draw a population; each part has a generator of its own, so that changing one leaves the others as they are."""
    categories = draw_categories(
        generator(seed, Stream.POPULATION, 0),
        count=n_categories,
        latent_dim=latent_dim,
        exponent=items.category_exponent,
        price_spread=items.category_price_spread,
    )
    people = draw_users(users, generator(seed, Stream.POPULATION, 1), categories, count=n_users, days=days)
    sellers, goods = draw_market(
        advertisers,
        items,
        generator(seed, Stream.POPULATION, 2),
        categories,
        n_advertisers=n_advertisers,
        n_items=n_items,
        days=days,
    )
    return Population(
        categories=categories,
        users=people,
        advertisers=sellers,
        items=goods,
        intents=Intents(intent, people, categories, drift_days=users.drift_days, seed=seed),
    )
