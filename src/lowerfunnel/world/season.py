"""When people come: the rhythm of the day and of the week, a sale, and growth.

Shape letters: N moments.
"""

from dataclasses import dataclass

import numpy as np

from lowerfunnel.world.checks import require_at_least, require_positive
from lowerfunnel.world.policy import Floats, Ints

DAY_US = 86_400_000_000
HOUR_US = DAY_US // 24
SECOND_US = 1_000_000
HOUR_SHARE = np.array([2, 1, 1, 1, 1, 1, 2, 3, 4, 5, 5, 5, 6, 6, 5, 5, 5, 6, 7, 8, 9, 9, 7, 4], np.float64)
HOUR_SHARE /= HOUR_SHARE.sum()
"""Share of a day's visits in each hour of local time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeasonConfig:
    """The calendar of demand."""

    weekend_lift: float = 0.75
    """Visits on a Saturday or Sunday, relative to other days."""
    sale_every_days: int = 28
    """Days from the start of one sale to the start of the next."""
    sale_first_day: int = 11
    """Day of the log on which the first sale starts."""
    sale_days: int = 3
    """Length of a sale; 0 for no sale at all."""
    sale_visits_lift: float = 1.4
    """Visits during a sale, relative to other days."""
    sale_logit: float = 0.4
    """What a sale adds to the logit of a cart."""
    yearly_growth: float = 0.1
    """How much more visits there are a year later, as a share."""

    def __post_init__(self) -> None:
        require_positive(self, ("weekend_lift", "sale_every_days", "sale_visits_lift"))
        require_at_least(self, 0, ("sale_days", "sale_first_day"))
        if self.yearly_growth <= -1:
            raise ValueError(f"yearly_growth should be above -1, got {self.yearly_growth}: visits cannot be negative")
        if self.sale_days > self.sale_every_days:
            raise ValueError(
                f"a sale ends before the next one starts: sale_days={self.sale_days} is more than "
                f"sale_every_days={self.sale_every_days}"
            )

    def in_sale(self, day_N: Floats) -> Floats:
        """Return 1.0 for the moments, in days after the start of the log, that lie in a sale, else 0.0."""
        since_N = np.asarray(day_N, np.float64) - self.sale_first_day
        inside_N = (since_N >= 0) & (np.mod(np.floor(since_N), self.sale_every_days) < self.sale_days)
        return inside_N.astype(np.float64)

    def visits_factor(self, day: int, *, weekday: int) -> float:
        """Return how many visits a day has relative to an ordinary one; `weekday` is 0 on a Monday."""
        factor = (1.0 + self.yearly_growth) ** (day / 365.0)
        factor *= self.weekend_lift if weekday >= 5 else 1.0
        return float(factor * (self.sale_visits_lift if self.in_sale(np.array([float(day)]))[0] else 1.0))


def draw_hours(rng: np.random.Generator, utc_offset_N: Ints) -> Ints:
    """Draw the moment of a visit within a UTC day, microseconds, by the rhythm of local time."""
    hour_N = (rng.choice(24, len(utc_offset_N), p=HOUR_SHARE) - utc_offset_N) % 24
    moment_N: Ints = hour_N * HOUR_US + rng.integers(0, HOUR_US, len(utc_offset_N))
    return moment_N
