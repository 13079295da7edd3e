"""What is kept of the days that a policy was played: sums per user, whatever the number of impressions.

Shape letters: U users of the world, C columns, S slices, N impressions of a day, I items, V advertisers, D days.
"""

import datetime
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from lowerfunnel.metrics.power import FloatArray
from lowerfunnel.world.experiment.metrics import COLUMNS, LONG_CLICK_S
from lowerfunnel.world.outcomes import OrganicPurchases, Outcomes
from lowerfunnel.world.policy import SURFACES, Bools, Ints, Policy

SIZES = ("large", "middle", "small")
"""Advertisers by the number of their items: the top 10%, the next 40%, the rest."""
SLICES = (*(f"surface={name}" for name in SURFACES), *(f"advertiser_size={name}" for name in SIZES))
"""Slices of the impressions."""
SLICE_COLUMNS = ("conversions", "impressions")
"""What is added up per user and slice."""


@runtime_checkable
class Arena(Protocol):
    """What an experiment asks of a world; a `lowerfunnel.world.World` is one."""

    @property
    def user_id_U(self) -> Ints:
        """Ids of the users, by row."""

    @property
    def item_id_I(self) -> Ints:
        """Ids of the items, by row."""

    @property
    def item_advertiser_I(self) -> Ints:
        """Row of each item's advertiser."""

    @property
    def advertiser_ids(self) -> list[str]:
        """Ids of the advertisers, by row."""

    @property
    def is_person_U(self) -> Bools:
        """False for a bot."""

    def play(self, policy: Policy, day: int, *, limit_s: float | None = None) -> Outcomes:
        """Return what comes of a day's ads under a policy."""

    def organic(self, day: int) -> OrganicPurchases:
        """Return the purchases of a day that no ad caused."""


@dataclass(kw_only=True, slots=True)
class PolicySums:
    """Sums of one policy over the days added so far."""

    column_UC: FloatArray
    slice_USC: FloatArray
    shown_I: Ints
    shown_V: Ints
    day_DC: list[FloatArray] = field(default_factory=list)

    @classmethod
    def empty(cls, world: Arena) -> "PolicySums":
        """Return sums of no day."""
        users = len(world.user_id_U)
        return cls(
            column_UC=np.zeros((users, len(COLUMNS))),
            slice_USC=np.zeros((users, len(SLICES), len(SLICE_COLUMNS))),
            shown_I=np.zeros(len(world.item_id_I), np.int64),
            shown_V=np.zeros(len(world.advertiser_ids), np.int64),
        )

    def add(self, outcomes: Outcomes, size_V: Ints) -> None:
        """Add a day; bots are left out.

        Args:
            outcomes: Of the day.
            size_V: Position of each advertiser in `SIZES`.
        """
        person_N = outcomes.is_person_N
        user_N = outcomes.user_N[person_N]
        users = len(self.column_UC)
        value_CN = {name: value_N[person_N] for name, value_N in _columns(outcomes).items()}
        day_C = np.zeros(len(COLUMNS))
        for place, name in enumerate(COLUMNS):
            sum_U = np.bincount(user_N, weights=value_CN[name], minlength=users)
            self.column_UC[:, place] += sum_U
            day_C[place] = sum_U.sum()
        self.day_DC.append(day_C)
        advertiser_N = outcomes.advertiser_N[person_N]
        of_slices = (outcomes.surface_N[person_N].astype(np.int64), len(SURFACES) + size_V[advertiser_N])
        for slice_N in of_slices:
            key_N = user_N * len(SLICES) + slice_N
            for place, name in enumerate(SLICE_COLUMNS):
                sum_X = np.bincount(key_N, weights=value_CN[name], minlength=users * len(SLICES))
                self.slice_USC[:, :, place] += sum_X.reshape(users, len(SLICES))
        self.shown_I += np.bincount(outcomes.item_N[person_N], minlength=len(self.shown_I))
        self.shown_V += np.bincount(advertiser_N, minlength=len(self.shown_V))


def _columns(outcomes: Outcomes) -> dict[str, FloatArray]:
    long_N = outcomes.clicked_N & (np.nan_to_num(outcomes.dwell_s_N, nan=0.0) > LONG_CLICK_S)
    converted_N, through_N = outcomes.converted_N, outcomes.view_through_N
    named = {
        "impressions": np.ones(len(outcomes), np.bool_),
        "clicks": outcomes.clicked_N,
        "long_clicks": long_N,
        "saves": outcomes.saved_N,
        "hides": outcomes.hidden_N,
        "carts": outcomes.carted_N,
        "conversions": converted_N,
        "view_through": converted_N & through_N,
        "click_through": converted_N & ~through_N,
        "revenue": outcomes.value_N,
        "cost": outcomes.cost_N,
    }
    return {name: value_N.astype(np.float64) for name, value_N in named.items()}


def sizes_of_advertisers(world: Arena) -> Ints:
    """Return the position of each advertiser in `SIZES`; of equally large ones the first rows are the larger."""
    items_V = np.bincount(world.item_advertiser_I, minlength=len(world.advertiser_ids))
    place_V = np.empty(len(items_V), np.int64)
    place_V[np.argsort(-items_V, kind="stable")] = np.arange(len(items_V))
    share_V = place_V / len(items_V)
    return np.where(share_V < 0.1, 0, np.where(share_V < 0.5, 1, 2))


def date_of(outcomes: Outcomes) -> str | None:
    """Return the day of the first impression as an ISO date, UTC; None where there is none."""
    if not len(outcomes):
        return None
    seconds = int(outcomes.t_us_N.min()) // 1_000_000
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).date().isoformat()
