"""What is on sale: advertisers with shops, budgets and trackers, and the items that they sell.

Shape letters: A advertisers, I items, K leaf categories, D latent dimensions, C content dimensions.
"""

from dataclasses import dataclass

import numpy as np

from lowerfunnel.world.categories import Categories, Float32s, noise, unit
from lowerfunnel.world.checks import require_at_least, require_positive, require_shares
from lowerfunnel.world.policy import Bools, Floats, Ints

FIRST_ITEM_ID = 500_000


@dataclass(frozen=True, kw_only=True, slots=True)
class AdvertiserConfig:
    """Advertisers: their size, their shops and what they pay."""

    size_exponent: float = 1.2
    """The r-th largest advertiser sells a share of the items that falls as r to this power."""
    fame_spread: float = 1.5
    """Standard deviation between advertisers of the log of the appeal that the brand gives its items."""
    trust_spread: float = 0.5
    """Standard deviation between advertisers of what trust in the brand adds to the logit of a purchase."""
    landing_spread: float = 0.5
    """Same of what the landing page adds to the logit of staying on it, and of a cart."""
    price_spread: float = 0.4
    """Same of the log of an advertiser's price level."""
    bid_median: float = 0.7
    """Median bid for a click, USD."""
    bid_spread: float = 0.4
    """Standard deviation of the log of the bids."""
    daily_budget_clicks: float = 40.0
    """Clicks a day that the budget of an advertiser with an average number of items pays for; it grows with the items."""

    def __post_init__(self) -> None:
        spreads = ("fame_spread", "trust_spread", "landing_spread", "price_spread", "bid_spread")
        require_at_least(self, 0, ("size_exponent", *spreads))
        require_positive(self, ("bid_median", "daily_budget_clicks"))


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemConfig:
    """Items: what is seen of them, and what is hidden."""

    content_dim: int = 32
    """Length of the visible content vector."""
    content_noise: float = 0.5
    """Noise in a content vector, relative to what it tells of the hidden vector."""
    visual_dim: int = 16
    """Length of the second visible vector."""
    visual_noise: float = 1.0
    """Noise in it."""
    spread: float = 0.7
    """How far an item lies from the centre of its category."""
    quality_spread: float = 0.5
    """Standard deviation between items of what quality adds to the logit of a click and of a purchase."""
    price_spread: float = 0.5
    """Standard deviation of the log of an item's price within its category and shop."""
    popularity_exponent: float = 0.25
    """Appeal of the r-th item falls as r to this power, before the fame of its brand; 0 leaves that alone."""
    category_exponent: float = 1.1
    """Demand for the r-th category falls as r to this power."""
    category_price_spread: float = 0.6
    """Standard deviation of the log of the categories' median prices."""
    late_share: float = 0.08
    """Share of the items launched in the last quarter of the log: cold items."""
    ending_share: float = 0.05
    """Share of the items taken off sale in the second half of the log."""

    def __post_init__(self) -> None:
        require_shares(self, ("late_share", "ending_share"))
        require_at_least(self, 1, ("content_dim", "visual_dim"))
        spreads = ("spread", "quality_spread", "price_spread", "category_price_spread")
        exponents = ("popularity_exponent", "category_exponent")
        require_at_least(self, 0, ("content_noise", "visual_noise", *spreads, *exponents))


@dataclass(frozen=True, kw_only=True, slots=True)
class Advertisers:
    """A advertisers in rows."""

    advertiser_id_A: list[str]
    trust_A: Float32s
    landing_A: Float32s
    bid_A: Floats
    """USD for a click."""
    daily_budget_A: Floats
    """USD a day."""

    def __len__(self) -> int:
        return len(self.advertiser_id_A)


@dataclass(frozen=True, kw_only=True, slots=True)
class Items:
    """I items in rows, ascending by id; ids are shuffled and tell nothing."""

    item_id_I: Ints
    latent_ID: Float32s
    """Unit vectors."""
    content_IC: Float32s
    visual_IC: Float32s
    advertiser_I: Ints
    category_I: Ints
    price_I: Floats
    """USD."""
    log_price_I: Float32s
    """Log of the price relative to the median of its category."""
    quality_I: Float32s
    appeal_I: Floats
    """Weight with which an item comes before people's eyes; heavy-tailed."""
    born_day_I: Floats
    """Days after the start of the log; 0 for those that were always there."""
    dies_day_I: Floats
    """Days after the start of the log; infinite for most."""

    def __len__(self) -> int:
        return len(self.item_id_I)

    def on_sale(self, day: float) -> Bools:
        """Return which items are on sale at a moment, in days after the start of the log."""
        return (self.born_day_I <= day) & (day < self.dies_day_I)


def draw_market(
    advertisers: AdvertiserConfig,
    items: ItemConfig,
    rng: np.random.Generator,
    categories: Categories,
    *,
    n_advertisers: int,
    n_items: int,
    days: int,
) -> tuple[Advertisers, Items]:
    """Draw advertisers and their items. Every advertiser sells something, from one to three categories."""
    advertiser_I = _sellers(advertisers, rng, n_advertisers, n_items)
    sold_A = np.bincount(advertiser_I, minlength=n_advertisers)
    bid_A = advertisers.bid_median * np.exp(rng.normal(0.0, advertisers.bid_spread, n_advertisers))
    clicks_A = advertisers.daily_budget_clicks * sold_A / sold_A.mean() * np.exp(rng.normal(0.0, 0.5, n_advertisers))
    made_A = Advertisers(
        advertiser_id_A=[f"advertiser {a + 1:04d}" for a in range(n_advertisers)],
        trust_A=rng.normal(0.0, advertisers.trust_spread, n_advertisers).astype(np.float32),
        landing_A=rng.normal(0.0, advertisers.landing_spread, n_advertisers).astype(np.float32),
        bid_A=bid_A,
        daily_budget_A=bid_A * clicks_A,
    )
    focus_A3 = rng.choice(len(categories), (n_advertisers, 3), p=categories.weight_K)
    breadth_A = rng.integers(1, 4, n_advertisers)
    category_I = focus_A3[advertiser_I, rng.integers(0, breadth_A[advertiser_I])]
    latent_ID = categories.centre_KD[category_I].astype(np.float64)
    latent_ID = unit(latent_ID + noise(rng, items.spread, latent_ID.shape))
    level_A = rng.normal(0.0, advertisers.price_spread, n_advertisers)
    log_price_I = level_A[advertiser_I] + rng.normal(0.0, items.price_spread, n_items)
    appeal_I = rng.permutation(np.arange(1, n_items + 1, dtype=np.float64) ** -items.popularity_exponent)
    appeal_I *= np.exp(rng.normal(0.0, advertisers.fame_spread, n_advertisers))[advertiser_I]
    late_I = rng.random(n_items) < items.late_share
    ending_I = rng.random(n_items) < items.ending_share
    made_I = Items(
        item_id_I=FIRST_ITEM_ID + np.sort(rng.permutation(4 * n_items)[:n_items]),
        latent_ID=latent_ID.astype(np.float32),
        content_IC=_seen(rng, latent_ID, items.content_dim, items.content_noise),
        visual_IC=_seen(rng, latent_ID, items.visual_dim, items.visual_noise),
        advertiser_I=advertiser_I,
        category_I=category_I,
        price_I=np.maximum(np.round(categories.price_K[category_I] * np.exp(log_price_I), 2), 0.5),
        log_price_I=log_price_I.astype(np.float32),
        quality_I=rng.normal(0.0, items.quality_spread, n_items).astype(np.float32),
        appeal_I=appeal_I / appeal_I.sum(),
        born_day_I=np.where(late_I, rng.uniform(0.75, 1.0, n_items) * days, 0.0),
        dies_day_I=np.where(ending_I & ~late_I, rng.uniform(0.5, 1.0, n_items) * days, np.inf),
    )
    return made_A, made_I


def _sellers(config: AdvertiserConfig, rng: np.random.Generator, n_advertisers: int, n_items: int) -> Ints:
    size_A = np.arange(1, n_advertisers + 1, dtype=np.float64) ** -config.size_exponent
    rest = rng.choice(n_advertisers, n_items - n_advertisers, p=size_A / size_A.sum())
    return rng.permutation(np.concatenate([np.arange(n_advertisers), rest]))


def _seen(rng: np.random.Generator, latent_ID: Floats, width: int, noise_share: float) -> Float32s:
    """Return a linear view of the hidden vectors, of unit deviation, plus noise."""
    view_IC = latent_ID @ rng.standard_normal((latent_ID.shape[1], width))
    view_IC /= view_IC.std()
    view_IC += noise_share * rng.standard_normal(view_IC.shape)
    return view_IC.astype(np.float32)
