"""The settings of a synthetic ad world."""

import dataclasses
import datetime


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WorldConfig:
    """How large the world is and how its people behave. Equal settings give the same files, byte for byte."""

    seed: int = 0
    """Where the world's one random generator starts."""
    start: datetime.date = datetime.date(2026, 1, 5)
    """First day of the log, from midnight UTC."""
    days: int = 42
    """Days in the log. What would happen later is cut off, as in any log."""

    n_users: int = 4000
    """People who use the platform."""
    n_items: int = 3000
    """Products on sale; every advertiser has at least one."""
    n_advertisers: int = 120
    """Advertisers; few are large, most are small."""
    n_categories: int = 40
    """Kinds of products; an advertiser sells one to three of them."""
    late_user_share: float = 0.1
    """Share of the users who join in the last quarter of the log."""
    late_item_share: float = 0.08
    """Share of the items that are launched in the last quarter of the log."""

    latent_dim: int = 16
    """Length of the hidden taste and product vectors."""
    content_dim: int = 32
    """Length of the visible content vector of an item."""
    content_noise: float = 0.5
    """Noise in a content vector, relative to what it tells of the hidden vector."""
    popularity_exponent: float = 0.7
    """Appeal of the r-th item falls as r to this power; 0 makes all items equally popular."""
    activity_spread: float = 1.0
    """Standard deviation of the log of a user's activity."""

    visits_per_user: float = 9.0
    """Mean visits to the platform and to advertisers' sites of a user who is there throughout."""
    organic_share: float = 0.35
    """Share of the visits that go straight to an advertiser's site, without an ad."""
    requests_per_visit: float = 2.2
    """Mean requests of a visit to the platform; at least 1."""
    slots: int = 8
    """Ads shown per request."""
    taste_weight: float = 4.0
    """How much a perfect match of taste adds to the logit of a click, and of a purchase."""
    click_logit: float = -5.0
    """Logit of a click on the first ad of the home feed when taste neither helps nor hurts."""
    cart_logit: float = -4.4
    """Logit of a cart after a product view when neither taste nor price helps or hurts."""
    checkout_logit: float = -1.2
    """Same for the checkout of a cart."""
    advertiser_spread: float = 0.6
    """Standard deviation between advertisers in the logit of a purchase."""
    accidental_click_rate: float = 0.003
    """Chance of a click by accident on any ad shown; such a click is short and leads nowhere."""
    checkout_delay_h: float = 6.0
    """Median hours between cart and checkout."""
    checkout_delay_spread: float = 1.6
    """Standard deviation of the log of that delay; at 1.6, one in ten takes longer than 7.8 times the median."""

    def __post_init__(self) -> None:
        for name in (
            "days",
            "n_users",
            "n_items",
            "n_advertisers",
            "n_categories",
            "latent_dim",
            "content_dim",
            "slots",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} should be at least 1, got {getattr(self, name)}")
        for name in ("late_user_share", "late_item_share", "organic_share", "accidental_click_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} should be between 0 and 1, got {getattr(self, name)}")
        for name in (
            "seed",
            "content_noise",
            "popularity_exponent",
            "activity_spread",
            "visits_per_user",
            "taste_weight",
            "advertiser_spread",
            "checkout_delay_spread",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} should not be negative, got {getattr(self, name)}")
        if self.n_advertisers > self.n_items:
            raise ValueError(
                "every advertiser sells at least one item: "
                f"n_advertisers={self.n_advertisers} is more than n_items={self.n_items}"
            )
        if self.requests_per_visit < 1:
            raise ValueError(f"a visit has at least one request, got requests_per_visit={self.requests_per_visit}")
        if self.checkout_delay_h <= 0:
            raise ValueError(f"checkout_delay_h should be positive, got {self.checkout_delay_h}")
