"""How people respond: the chance of a click, of staying, of a cart, a checkout, a return.

The one place where the probabilities are written down: what happens is drawn from them, and the truth tells them.

Shape letters: N pairs of a moment (a user with an intent) and an item.
"""

from dataclasses import dataclass

import numpy as np

from lowerfunnel.world.categories import Float32s
from lowerfunnel.world.checks import require_at_least, require_positive, require_shares
from lowerfunnel.world.intent import IntentConfig, Missions
from lowerfunnel.world.policy import Floats, Ints
from lowerfunnel.world.population import Population
from lowerfunnel.world.season import SeasonConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class ResponseConfig:
    """What people do with what they see. Logits hold where nothing else helps or hurts."""

    taste_weight: float = 4.0
    """How much a perfect match of taste adds to the logit of a click, and of a cart."""
    price_weight: float = 1.0
    """How much a price e times too high or too low takes off the logit of a purchase."""
    click_logit: float = -7.9
    """Logit of a click on the first ad of the home feed."""
    surface_logit: tuple[float, float, float] = (0.0, 0.3, 0.6)
    """What each surface adds to it: home feed, related, search."""
    position_decay: float = 0.25
    """The ad in position p is looked at with chance p to the power of minus this."""
    accidental_click_rate: float = 0.0005
    """Chance of a click by accident on any ad shown; such a click bounces."""
    save_logit: float = -8.5
    """Logit of a save."""
    hide_logit: float = -7.5
    """Logit of a hide; a bad match helps it."""
    bounce_logit: float = 1.8
    """Logit of leaving right after a click on purpose."""
    cart_logit: float = -4.8
    """Logit of a cart after a look at the product."""
    checkout_logit: float = 0.2
    """Logit of a checkout after a cart."""
    view_through_share: float = 0.008
    """Chance that an ad looked at, but not clicked, leads to a look at the product later."""
    return_logit: float = -2.6
    """Logit of sending an order back; good quality takes off."""

    def __post_init__(self) -> None:
        require_shares(self, ("accidental_click_rate", "view_through_share"))
        require_at_least(self, 0, ("taste_weight", "price_weight", "position_decay"))


@dataclass(frozen=True, kw_only=True, slots=True)
class DelayConfig:
    """How long people take."""

    cart_s: float = 90.0
    """Median seconds from a look at the product to the cart."""
    checkout_h: float = 3.0
    """Median hours from cart to checkout."""
    checkout_spread: float = 2.0
    """Standard deviation of the log of that delay; at 2, one in ten takes longer than 13 times the median."""
    view_through_h: float = 20.0
    """Median hours from an ad that was seen but not clicked to the look at the product."""
    return_days: float = 8.0
    """Median days from checkout to return."""
    longest_days: float = 45.0
    """No delay is longer."""

    def __post_init__(self) -> None:
        require_positive(self, ("cart_s", "checkout_h", "view_through_h", "return_days", "longest_days"))
        require_at_least(self, 0, ("checkout_spread",))


class Response:
    """The probabilities of one world. All of them take aligned rows of moments and items."""

    def __init__(
        self, config: ResponseConfig, season: SeasonConfig, intent: IntentConfig, population: Population
    ) -> None:
        self.config = config
        self._season = season
        self._mission_logit = intent.mission_logit
        self._population = population
        items, advertisers = population.items, population.advertisers
        self._trust_I = advertisers.trust_A[items.advertiser_I]
        self._landing_I = advertisers.landing_A[items.advertiser_I]
        self._surface_logit = np.asarray(config.surface_logit, np.float32)

    def affinity(self, latent_ND: Float32s, item_N: Ints) -> Float32s:
        """Return the match of taste, a cosine: 1 is perfect."""
        cosine_N: Float32s = np.einsum("nd,nd->n", latent_ND, self._population.items.latent_ID[item_N])
        return cosine_N

    def click_logit(self, affinity_N: Float32s, item_N: Ints, surface_N: np.typing.NDArray[np.int8]) -> Float32s:
        """Return the logit of a click on purpose, given that the ad is looked at."""
        config = self.config
        logit_N: Float32s = np.float32(config.click_logit) + np.float32(config.taste_weight) * affinity_N
        return logit_N + self._surface_logit[surface_N] + self._population.items.quality_I[item_N]

    def look(self, position_N: Ints) -> Float32s:
        """Return the chance that the ad in a position, from 1, is looked at."""
        chance_N: Float32s = position_N.astype(np.float32) ** np.float32(-self.config.position_decay)
        return chance_N

    def save(self, affinity_N: Float32s) -> Float32s:
        """Return the chance of a save, given that the ad is looked at."""
        return sigmoid(np.float32(self.config.save_logit) + np.float32(self.config.taste_weight) * affinity_N)

    def hide(self, affinity_N: Float32s) -> Float32s:
        """Return the chance of a hide, given that the ad is looked at."""
        return sigmoid(np.float32(self.config.hide_logit) - np.float32(self.config.taste_weight) * affinity_N)

    def bounce(self, affinity_N: Float32s, item_N: Ints) -> Float32s:
        """Return the chance of leaving right after a click on purpose."""
        return sigmoid(np.float32(self.config.bounce_logit) - 2 * affinity_N - self._landing_I[item_N])

    def cart(self, affinity_N: Float32s, user_N: Ints, item_N: Ints, *, missions: Missions, day_N: Floats) -> Float32s:
        """Return the chance that a look at the product leads to a cart."""
        config = self.config
        logit_N = np.float32(config.cart_logit) + np.float32(config.taste_weight) * affinity_N
        logit_N += self._suits(user_N, item_N) + np.float32(0.5) * self._landing_I[item_N]
        on_N = missions.category_N == self._population.items.category_I[item_N]
        logit_N += (self._mission_logit * on_N * missions.ripeness_N).astype(np.float32)
        logit_N += (self._season.sale_logit * self._season.in_sale(day_N)).astype(np.float32)
        return sigmoid(logit_N)

    def checkout(self, affinity_N: Float32s, user_N: Ints, item_N: Ints) -> Float32s:
        """Return the chance that a cart is bought, some day."""
        logit_N = np.float32(self.config.checkout_logit) + np.float32(0.25 * self.config.taste_weight) * affinity_N
        return sigmoid(logit_N + self._suits(user_N, item_N) + self._trust_I[item_N])

    def give_back(self, item_N: Ints) -> Float32s:
        """Return the chance that an order comes back."""
        return sigmoid(np.float32(self.config.return_logit) - self._population.items.quality_I[item_N])

    def _suits(self, user_N: Ints, item_N: Ints) -> Float32s:
        items = self._population.items
        too_dear_N = items.log_price_I[item_N] - self._population.users.log_price_U[user_N]
        suits_N: Float32s = items.quality_I[item_N] - np.float32(self.config.price_weight) * too_dear_N**2
        return suits_N


def sigmoid(logit_N: Float32s) -> Float32s:
    """Return 1 / (1 + exp(-logit)), without overflow."""
    chance_N: Float32s = np.tanh(np.float32(0.5) * logit_N)
    chance_N += 1
    chance_N *= np.float32(0.5)
    return chance_N


def log_sigmoid(logit_N: Float32s) -> Float32s:
    """Return log(sigmoid(logit)), finite for every finite logit."""
    log_N: Float32s = np.minimum(logit_N, np.float32(0)) - np.log1p(np.exp(-np.abs(logit_N)))
    return log_N
