"""The result of an experiment, as figures: what `experiment.json` holds and the page shows."""

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A value with the ends of its 95% interval; None where there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PowerFigures:
    """What an ordinary A/B test would see of a metric; see `lowerfunnel.metrics.power.Power`."""

    paired_error: float | None
    unpaired_error: float | None
    detectable: float | None
    detectable_relative: float | None
    """As a share of policy a's value."""
    users_per_group: float | None
    """None where there is no difference to find."""
    saved: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One metric of both policies."""

    metric: str
    slice: str
    a: Figure
    b: Figure
    difference: Figure
    """b - a."""
    relative: Figure
    """The difference as a share of a's value."""
    n: int
    """Users."""
    power: PowerFigures | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Day:
    """One day of both policies: its sums, and how far b is above a in conversions up to it."""

    day: int
    date: str | None
    a: dict[str, float]
    b: dict[str, float]
    settled: Figure
    """Relative difference of the conversions of all days so far."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Share of the impressions that the most shown items (or advertisers) fill, from 0 to 1 at each."""

    of: str
    total: int
    filled_90: int
    """How many fill 90%."""
    shares: tuple[tuple[float, float], ...]
    """Share of the items, share of the impressions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """Two policies on the same days of the same world, with the same luck."""

    policy_a: str
    policy_b: str
    days: tuple[Day, ...]
    users: int
    """People who saw an ad."""
    impressions_a: int
    impressions_b: int
    rows: tuple[Row, ...]
    curves: dict[str, tuple[Curve, ...]]
    """Under "a" and "b"."""
    n_boot: int
    seed: int

    def row(self, metric: str, slice_name: str = "all") -> Row:
        """Return one row.

        Raises:
            KeyError: If there is none of that metric and slice.
        """
        for row in self.rows:
            if (row.metric, row.slice) == (metric, slice_name):
                return row
        raise KeyError(f"no row of {metric!r} on {slice_name!r}")

    def to_json(self) -> dict[str, Any]:
        """Return all figures as plain data, one flat row per metric and slice."""
        return {
            "data": "synthetic",
            "policy_a": self.policy_a,
            "policy_b": self.policy_b,
            "users": self.users,
            "impressions_a": self.impressions_a,
            "impressions_b": self.impressions_b,
            "n_boot": self.n_boot,
            "seed": self.seed,
            "rows": [self._flat(row) for row in self.rows],
            "days": [dataclasses.asdict(day) for day in self.days],
            "curves": {name: [dataclasses.asdict(curve) for curve in curves] for name, curves in self.curves.items()},
        }

    def _flat(self, row: Row) -> dict[str, Any]:
        flat: dict[str, Any] = {
            "metric": row.metric,
            "slice": row.slice,
            "policy_a": self.policy_a,
            "policy_b": self.policy_b,
        }
        for name in ("a", "b", "difference", "relative"):
            figure: Figure = getattr(row, name)
            key = f"value_{name}" if name in ("a", "b") else name
            flat |= {key: figure.value, f"{name}_ci_low": figure.low, f"{name}_ci_high": figure.high}
        flat["n"] = row.n
        if row.power is not None:
            flat |= dataclasses.asdict(row.power)
        flat["data"] = "synthetic"
        return flat
