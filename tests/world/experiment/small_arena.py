"""A world of a few lines whose outcomes follow one clear rule, for tests of what is counted and how it is shown."""

from dataclasses import dataclass

import numpy as np

from lowerfunnel.world.outcomes import OrganicPurchases, Outcomes
from lowerfunnel.world.policy import Policy, Requests, Slate, checked_slate

DAY_US = 86_400_000_000
START_US = 1_767_571_200_000_000
"""2026-01-05."""
SLOTS = 4


class SmallArena:
    """Every ad has a quality: it is clicked with 0.3 of it, and bought after a click with 0.5 of it."""

    def __init__(self, users: int = 300, items: int = 40, advertisers: int = 10, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.seed = seed
        self.user_id_U = np.arange(users) * 7 + 100
        self.item_id_I = np.arange(items) * 3 + 5000
        self.item_advertiser_I = np.sort(
            np.concatenate([np.arange(advertisers), rng.zipf(1.6, items - advertisers) % advertisers])
        )
        self.advertiser_ids = [f"advertiser {number:03d}" for number in range(advertisers)]
        self.is_person_U = np.arange(users) % 25 != 0
        self.quality_I = rng.beta(2, 3, items)
        self.price_I = rng.lognormal(3, 0.6, items)
        self.visits_U = rng.gamma(0.8, 2.0, users)

    def play(self, policy: Policy, day: int, *, limit_s: float | None = None) -> Outcomes:
        rng = np.random.default_rng([self.seed, day, 1])
        users, items = len(self.user_id_U), len(self.item_id_I)
        user_R = np.repeat(np.arange(users), rng.poisson(self.visits_U))
        requests = len(user_R)
        t_R = np.sort(START_US + day * DAY_US + rng.integers(0, DAY_US, requests))
        user_R = rng.permutation(user_R)
        surface_R = rng.integers(0, 3, requests).astype(np.int8)
        asked = Requests(
            request_R=day * 1_000_000 + np.arange(requests),
            t_us_R=t_R,
            user_id_R=self.user_id_U[user_R],
            surface_R=surface_R,
            context_item_id_R=np.full(requests, -1),
            query_R=np.full(requests, -1),
        )
        luck_KRI = rng.random((4, requests, items))
        place_RS, propensity_RS = checked_slate(
            policy, asked, np.ones(items, np.bool_), SLOTS, item_id_I=self.item_id_I, limit_s=limit_s
        )
        row_N, item_N = np.repeat(np.arange(requests), SLOTS), place_RS.ravel()
        quality_N, luck_KN = self.quality_I[item_N], luck_KRI[:, row_N, item_N]
        person_N = self.is_person_U[user_R[row_N]]
        clicked_N = luck_KN[0] < 0.3 * quality_N
        converted_N = person_N & np.where(clicked_N, luck_KN[1] < 0.5 * quality_N, luck_KN[1] < 0.01 * quality_N)
        return Outcomes(
            request_N=asked.request_R[row_N],
            t_us_N=t_R[row_N],
            user_N=user_R[row_N],
            item_N=item_N,
            advertiser_N=self.item_advertiser_I[item_N],
            surface_N=surface_R[row_N],
            position_N=np.tile(np.arange(1, SLOTS + 1), requests),
            propensity_N=np.full(len(row_N), np.nan) if propensity_RS is None else propensity_RS.ravel(),
            is_person_N=person_N,
            clicked_N=clicked_N,
            dwell_s_N=np.where(clicked_N, 60 * luck_KN[2], np.nan),
            saved_N=luck_KN[3] < 0.02,
            hidden_N=luck_KN[3] > 0.995,
            carted_N=converted_N | (clicked_N & (luck_KN[3] < 0.3)),
            converted_N=converted_N,
            view_through_N=converted_N & ~clicked_N,
            value_N=np.where(converted_N, self.price_I[item_N], 0.0),
            cost_N=np.where(clicked_N, 0.5, 0.0),
        )

    def organic(self, day: int) -> OrganicPurchases:
        rng = np.random.default_rng([self.seed, day, 2])
        user_O = np.flatnonzero(rng.random(len(self.user_id_U)) < 0.02)
        return OrganicPurchases(
            t_us_O=np.full(len(user_O), START_US + day * DAY_US),
            user_O=user_O,
            item_O=np.zeros(len(user_O), np.int64),
            value_O=np.full(len(user_O), 20.0),
        )


@dataclass(frozen=True)
class ByQuality:
    """Shows the best items, seen through noise that is drawn per request."""

    arena: SmallArena
    noise: float = 0.0
    name: str = "by quality"

    def rank(self, requests: Requests, eligible_I: np.ndarray, slots: int) -> Slate:
        noise_RI = np.stack([np.random.default_rng(int(r)).normal(size=len(eligible_I)) for r in requests.request_R])
        score_RI = np.where(eligible_I, self.arena.quality_I + self.noise * noise_RI, -np.inf)
        return Slate(item_id_RS=self.arena.item_id_I[np.argsort(-score_RI, axis=1, kind="stable")[:, :slots]])
