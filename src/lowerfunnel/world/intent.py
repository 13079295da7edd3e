"""What a user wants at a moment: a long-term taste that drifts, and now and then a mission.

A mission is a need for one kind of product. It starts, ripens over days, and ends, most often with a purchase. Which
missions a user has is a pure function of the user: time is cut into periods, and each period may hold one mission.

Shape letters: N moments of users, K leaf categories, D latent dimensions.
"""

from dataclasses import dataclass

import numpy as np

from lowerfunnel.world.categories import Categories, Float32s
from lowerfunnel.world.chance import Stream, keyed, uniform
from lowerfunnel.world.checks import require_positive, require_shares
from lowerfunnel.world.people import Users
from lowerfunnel.world.policy import Bools, Floats, Ints


@dataclass(frozen=True, kw_only=True, slots=True)
class IntentConfig:
    """Missions beside long-term taste."""

    mission_period_days: float = 20.0
    """Every user may have one mission in each such period."""
    mission_share: float = 0.5
    """Chance that a period holds one."""
    mission_days: float = 7.0
    """Mean length of a mission; it lasts from half of that to one and a half times that."""
    mission_weight: float = 0.6
    """Share of a ripe mission in what a user wants; the rest is long-term taste."""
    mission_in_taste: float = 0.7
    """Chance that a mission is about a category that the user cares for anyway."""
    mission_logit: float = 1.5
    """What a ripe mission adds to the logit of a cart, for products of its category."""
    purchase_share: float = 0.5
    """Chance that a mission ends with a purchase that needs no ad."""

    def __post_init__(self) -> None:
        require_shares(self, ("mission_share", "mission_weight", "mission_in_taste", "purchase_share"))
        require_positive(self, ("mission_period_days", "mission_days"))
        if 1.5 * self.mission_days > self.mission_period_days:
            raise ValueError(
                "a mission ends before the next one starts: 1.5 x mission_days="
                f"{1.5 * self.mission_days:g} is more than mission_period_days={self.mission_period_days:g}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Missions:
    """The mission of N moments: whether there is one, and where it stands."""

    category_N: Ints
    """Leaf category, -1 without a mission."""
    ripeness_N: Floats
    """From 0 at its start to 1 at its end; 0 without a mission."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MissionEnds:
    """M missions that end on a day with a purchase."""

    user_M: Ints
    day_M: Floats
    """Days after the start of the log."""
    category_M: Ints


class Intents:
    """What the users of one world want."""

    def __init__(self, config: IntentConfig, users: Users, categories: Categories, *, drift_days: float, seed: int):
        self._config = config
        self._users = users
        self._centre_KD = categories.centre_KD
        self._cumulative_K = np.cumsum(categories.weight_K)
        self._drift_days = drift_days
        self._seed = seed

    def missions(self, user_N: Ints, day_N: Floats) -> Missions:
        """Return the missions of users at moments, in days after the start of the log."""
        exists_N, start_N, length_N, category_N = self._schedule(user_N, self._period(user_N, day_N))
        since_N = day_N - start_N
        active_N = exists_N & (since_N >= 0) & (since_N < length_N)
        return Missions(
            category_N=np.where(active_N, category_N, -1), ripeness_N=np.where(active_N, since_N / length_N, 0.0)
        )

    def ends(self, user_N: Ints, day: int) -> MissionEnds:
        """Return which missions of these users end on a day, with a purchase."""
        first_N = self._period(user_N, np.full(len(user_N), float(day)))
        last_N = self._period(user_N, np.full(len(user_N), day + 1.0))
        # A period may turn within the day; a mission never outlives its period.
        parts = []
        for period_N, asked_N in ((first_N, np.ones(len(user_N), np.bool_)), (last_N, last_N != first_N)):
            exists_N, start_N, length_N, category_N = self._schedule(user_N, period_N)
            end_N = start_N + length_N
            bought_N = uniform(self._key(user_N, period_N), 5) < self._config.purchase_share
            here_N = asked_N & exists_N & bought_N & (end_N >= day) & (end_N < day + 1)
            parts.append((user_N[here_N], end_N[here_N], category_N[here_N]))
        users, days, categories = (np.concatenate(column) for column in zip(*parts, strict=True))
        return MissionEnds(user_M=users, day_M=days, category_M=categories)

    def latent(self, user_N: Ints, day_N: Floats, missions: Missions) -> Float32s:
        """Return what users want at moments as unit vectors [N, D]: drifted taste, drawn towards their mission."""
        turned_N1 = (0.5 - 0.5 * np.cos(np.pi * day_N / self._drift_days)).astype(np.float32)[:, None]
        taste_ND = self._users.latent_UD[user_N]
        taste_ND += turned_N1 * (self._users.later_UD[user_N] - taste_ND)
        weight_N1 = self.mission_share(missions).astype(np.float32)[:, None]
        normalise(taste_ND)
        taste_ND *= 1 - weight_N1
        taste_ND += weight_N1 * self._centre_KD[np.maximum(missions.category_N, 0)]
        return normalise(taste_ND)

    def mission_share(self, missions: Missions) -> Floats:
        """Return the share of the mission in what is wanted, between 0 and 1."""
        active_N = missions.category_N >= 0
        share_N: Floats = np.where(active_N, self._config.mission_weight * (0.3 + 0.7 * missions.ripeness_N), 0.0)
        return share_N

    def category(self, user_N: Ints, missions: Missions, u_N: Floats) -> Ints:
        """Choose the category that each user has in mind: that of the mission, or one of long-term taste.

        Args:
            user_N: Rows of users.
            missions: Theirs at the moment.
            u_N: One number in (0, 1) each, which decides.
        """
        share_N = self.mission_share(missions)
        rest_N = np.clip((u_N - share_N) / np.maximum(1 - share_N, 1e-12), 0.0, np.nextafter(1.0, 0.0))
        cumulative_NT = np.cumsum(self._users.taste_weight_UT[user_N], axis=1)
        pick_N = (rest_N[:, None] >= cumulative_NT[:, :-1]).sum(axis=1)
        category_N: Ints = np.where(u_N < share_N, missions.category_N, self._users.taste_UT[user_N, pick_N])
        return category_N

    def _period(self, user_N: Ints, day_N: Floats) -> Ints:
        period_N: Ints = np.floor(day_N / self._config.mission_period_days + self._phase(user_N)).astype(np.int64)
        return period_N

    def _phase(self, user_N: Ints) -> Floats:
        return uniform(keyed(self._seed, Stream.MISSION, user_N), 0)

    def _key(self, user_N: Ints, period_N: Ints) -> np.typing.NDArray[np.uint64]:
        return keyed(self._seed, Stream.MISSION, user_N, period_N + 1)

    def _schedule(self, user_N: Ints, period_N: Ints) -> tuple[Bools, Floats, Floats, Ints]:
        """Return whether each period holds a mission, its start and length in days, and its category."""
        config = self._config
        key_N = self._key(user_N, period_N)
        exists_N = (uniform(key_N, 0) < config.mission_share) & self._users.is_person_U[user_N]
        length_N = config.mission_days * (0.5 + uniform(key_N, 1))
        slack_N = config.mission_period_days - length_N
        start_N = (period_N - self._phase(user_N)) * config.mission_period_days + slack_N * uniform(key_N, 2)
        chosen_N = uniform(key_N, 3)
        own_N = chosen_N < config.mission_in_taste
        cumulative_NT = np.cumsum(self._users.taste_weight_UT[user_N], axis=1)
        u_N = uniform(key_N, 4)
        pick_N = (u_N[:, None] >= cumulative_NT[:, :-1]).sum(axis=1)
        other_N = np.minimum(np.searchsorted(self._cumulative_K, u_N), len(self._cumulative_K) - 1)
        return exists_N, start_N, length_N, np.where(own_N, self._users.taste_UT[user_N, pick_N], other_N)


def normalise(vector_ND: Float32s) -> Float32s:
    """Scale rows to length 1, in place."""
    length_N = np.sqrt(np.einsum("nd,nd->n", vector_ND, vector_ND))
    vector_ND /= np.maximum(length_N, np.float32(1e-12))[:, None]
    return vector_ND
