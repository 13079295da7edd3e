"""The policy that made the log: candidates by taste and appeal, a noisy ranker that bids times clicks, exploration.

Shape letters: R requests, M candidates, S slots, I items, D latent dimensions.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lowerfunnel.world.chance import Stream, generator, keyed, uniform
from lowerfunnel.world.checks import require_at_least, require_positive, require_shares
from lowerfunnel.world.policy import Bools, Floats, Ints, Requests, Slate
from lowerfunnel.world.population import Population
from lowerfunnel.world.response import Response, log_sigmoid
from lowerfunnel.world.shelf import Shelf
from lowerfunnel.world.traffic import Traffic

_BLOCK = 2048


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggingPolicyConfig:
    """The logging policy. Its ranker orders candidates by bid x chance of a click, as well as it can see."""

    candidates: int = 24
    """Candidates drawn by appeal for each request, half from the category in mind, half from everywhere; as many as
    there are slots come from anywhere in the catalogue beside them."""
    ranker_noise: float = 0.5
    """Noise in the tastes and items that the ranker sees, relative to their length; 0 shows it the truth."""
    temperature: float = 0.5
    """Slots are drawn in proportion to (bid x chance of a click) to the power of one over this."""
    bid_weight: float = 0.5
    """Power of the bid in what is ranked by; 0 leaves bids out."""
    exploration: float = 0.05
    """Chance that a slot is given to a candidate drawn evenly."""

    def __post_init__(self) -> None:
        require_at_least(self, 1, ("candidates",))
        require_at_least(self, 0, ("ranker_noise", "bid_weight"))
        require_positive(self, ("temperature",))
        require_shares(self, ("exploration",))


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """M candidates for each of R requests, with what the ranker makes of them."""

    item_RM: Ints
    weight_RM: Floats
    """Relative chance of the first slot, without exploration; 0 for a candidate that stands there twice."""


class LoggingPolicy:
    """Knows the world from within, through noise. It gives the propensity of every choice.

    A propensity is conditional on the request's candidates and on the slots before.
    """

    def __init__(
        self,
        config: LoggingPolicyConfig,
        population: Population,
        response: Response,
        *,
        seed: int,
        traffic_of: Callable[[Ints], Traffic],
    ) -> None:
        self._config = config
        self._population = population
        self._response = response
        self._seed = seed
        self._traffic_of = traffic_of
        items, users = population.items, population.users
        rng = generator(seed, Stream.CANDIDATES)
        scale = config.ranker_noise / np.sqrt(users.latent_UD.shape[1])
        self._blur_UD = (scale * rng.standard_normal(users.latent_UD.shape, np.float32)).astype(np.float32)
        self._seen_ID = items.latent_ID + (scale * rng.standard_normal(items.latent_ID.shape, np.float32)).astype(
            np.float32
        )
        self._shuffled_I = rng.permutation(len(items))
        self._log_bid_I = np.log(population.advertisers.bid_A[items.advertiser_I]).astype(np.float32)
        self._shelf = Shelf(items.category_I, items.appeal_I, len(population.categories))

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return "logging"

    def rank(self, requests: Requests, eligible_I: Bools, slots: int) -> Slate:
        """Return `slots` different eligible items for each request, with their propensities."""
        traffic = self._traffic_of(requests.request_R)
        item_RS = np.empty((len(requests), slots), np.int64)
        propensity_RS = np.empty((len(requests), slots))
        for start in range(0, len(requests), _BLOCK):
            part = slice(start, min(start + _BLOCK, len(requests)))
            candidates = self.candidates(traffic, part, eligible_I, slots)
            key_R = keyed(self._seed, Stream.SLOTS, requests.request_R[part])
            u_SR = np.stack([uniform(key_R, s) for s in range(slots)])
            place_RS, propensity_RS[part] = fill_slots(candidates.weight_RM, self._config.exploration, u_SR)
            item_RS[part] = np.take_along_axis(candidates.item_RM, place_RS, axis=1)
        return Slate(item_id_RS=self._population.items.item_id_I[item_RS], propensity_RS=propensity_RS)

    def candidates(self, traffic: Traffic, part: slice, eligible_I: Bools, slots: int) -> Candidates:
        """Return the candidates of some requests and their weights."""
        config = self._config
        self._shelf.stock(eligible_I)
        key_R1 = keyed(self._seed, Stream.CANDIDATES, traffic.request_R[part])[:, None]
        category_RM = np.repeat(traffic.category_R[part][:, None], config.candidates, axis=1)
        category_RM[:, config.candidates // 2 :] = -1
        drawn_RM = self._shelf.draw(category_RM, _uniforms(key_R1, config.candidates))
        # A stretch of the shuffled catalogue: different items, however few there are of anything else.
        shuffled = self._shuffled_I[eligible_I[self._shuffled_I]]
        first_R1 = (uniform(key_R1, config.candidates) * len(shuffled)).astype(np.int64)
        anywhere_RS = shuffled[(first_R1 + np.arange(min(slots, len(shuffled)))) % len(shuffled)]
        item_RM = np.sort(np.concatenate([drawn_RM, anywhere_RS], axis=1), axis=1)
        latent_RD = traffic.latent_RD[part] + self._blur_UD[traffic.user_R[part]]
        affinity_RM = np.einsum("rd,rmd->rm", latent_RD, self._seen_ID[item_RM])
        flat_N = item_RM.ravel()
        surface_N = np.repeat(traffic.surface_R[part], item_RM.shape[1])
        log_chance_N = log_sigmoid(self._response.click_logit(affinity_RM.ravel(), flat_N, surface_N))
        log_weight_RM = (log_chance_N + np.float32(config.bid_weight) * self._log_bid_I[flat_N]).reshape(item_RM.shape)
        log_weight_RM /= np.float32(config.temperature)
        log_weight_RM -= log_weight_RM.max(axis=1, keepdims=True)
        weight_RM = np.exp(log_weight_RM, dtype=np.float64)
        weight_RM[:, 1:][item_RM[:, 1:] == item_RM[:, :-1]] = 0.0
        return Candidates(item_RM=item_RM, weight_RM=weight_RM)


def slot_probabilities(weight_RM: Floats, open_RM: Bools, exploration: float) -> Floats:
    """Return the chance of every candidate for the next slot [R, M]; each row adds up to 1.

    ``(1 - exploration) * weight / sum of open weights + exploration / number of open candidates``; Plackett-Luce with
    a share of even draws.

    Args:
        weight_RM: Relative chances; not all of a row's open ones are 0.
        open_RM: The candidates that no slot has taken yet.
        exploration: Share of even draws.
    """
    left_RM = np.where(open_RM, weight_RM, 0.0)
    chance_RM: Floats = left_RM * ((1.0 - exploration) / left_RM.sum(axis=1, keepdims=True))
    chance_RM += open_RM * (exploration / open_RM.sum(axis=1, keepdims=True))
    return chance_RM


def fill_slots(weight_RM: Floats, exploration: float, u_SR: Floats) -> tuple[Ints, Floats]:
    """Draw a different candidate for each slot.

    Args:
        weight_RM: Relative chances, 0 for a candidate that does not count; each row has at least S that do.
        exploration: Share of even draws.
        u_SR: Numbers in (0, 1) that decide.

    Returns:
        Places of the chosen candidates [R, S], and the chance with which each was chosen [R, S].
    """
    open_RM = weight_RM > 0
    rows = np.arange(len(weight_RM))
    place_RS = np.empty((len(weight_RM), len(u_SR)), np.int64)
    chance_RS = np.empty((len(weight_RM), len(u_SR)))
    for slot, u_R in enumerate(u_SR):
        chance_RM = slot_probabilities(weight_RM, open_RM, exploration)
        end_RM = np.cumsum(chance_RM, axis=1)
        place_R = (end_RM < u_R[:, None] * end_RM[:, -1:]).sum(axis=1)
        place_RS[:, slot] = place_R
        chance_RS[:, slot] = chance_RM[rows, place_R]
        open_RM[rows, place_R] = False
    return place_RS, chance_RS


def _uniforms(key_R1: np.typing.NDArray[np.uint64], count: int) -> Floats:
    return np.concatenate([uniform(key_R1, m) for m in range(count)], axis=1)
