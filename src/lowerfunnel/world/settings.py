"""The settings of a synthetic ad world."""

import datetime
from dataclasses import dataclass, field

from lowerfunnel.world.checks import require_at_least
from lowerfunnel.world.intent import IntentConfig
from lowerfunnel.world.logging_policy import LoggingPolicyConfig
from lowerfunnel.world.market import AdvertiserConfig, ItemConfig
from lowerfunnel.world.organic import OrganicConfig
from lowerfunnel.world.people import UserConfig
from lowerfunnel.world.response import DelayConfig, ResponseConfig
from lowerfunnel.world.season import SeasonConfig
from lowerfunnel.world.tracking import TrackingConfig
from lowerfunnel.world.traffic import TrafficConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldConfig:
    """How large the world is and how its people behave. Equal settings give the same files, byte for byte."""

    seed: int = 0
    """Where all of the world's randomness comes from."""
    start: datetime.date = datetime.date(2026, 1, 5)
    """First day of the log, from midnight UTC."""
    days: int = 42
    """Days in the log. What would happen or be reported later is cut off, as in any log."""
    n_users: int = 4000
    """People who use the platform."""
    n_items: int = 3000
    """Products on sale; every advertiser has at least one."""
    n_advertisers: int = 120
    """Advertisers; few are large, most are small."""
    n_categories: int = 40
    """Kinds of products, below at most eight departments."""
    latent_dim: int = 16
    """Length of the hidden taste and product vectors."""
    users: UserConfig = field(default_factory=UserConfig)
    """People."""
    intent: IntentConfig = field(default_factory=IntentConfig)
    """What they want at a moment."""
    advertisers: AdvertiserConfig = field(default_factory=AdvertiserConfig)
    """Who sells."""
    items: ItemConfig = field(default_factory=ItemConfig)
    """What is sold."""
    season: SeasonConfig = field(default_factory=SeasonConfig)
    """The calendar."""
    traffic: TrafficConfig = field(default_factory=TrafficConfig)
    """Requests for ads."""
    organic: OrganicConfig = field(default_factory=OrganicConfig)
    """Visits without an ad."""
    logging: LoggingPolicyConfig = field(default_factory=LoggingPolicyConfig)
    """The policy that made the log."""
    response: ResponseConfig = field(default_factory=ResponseConfig)
    """What people do with what they see."""
    delays: DelayConfig = field(default_factory=DelayConfig)
    """How long they take."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """What advertisers report of it."""

    def __post_init__(self) -> None:
        require_at_least(self, 0, ("seed",))
        require_at_least(self, 1, ("days", "n_users", "n_items", "n_advertisers", "n_categories", "latent_dim"))
        if self.n_advertisers > self.n_items:
            raise ValueError(
                "every advertiser sells at least one item: "
                f"n_advertisers={self.n_advertisers} is more than n_items={self.n_items}"
            )
        if self.traffic.slots > self.n_items:
            raise ValueError(
                f"a request shows different items: traffic.slots={self.traffic.slots} is more than n_items={self.n_items}"
            )
