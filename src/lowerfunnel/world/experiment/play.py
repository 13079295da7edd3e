"""Both policies on the same days, and what is told of them.

Shape letters: U users, C columns, M metrics, S slices, I items.
"""

from collections.abc import Callable, Sequence

import numpy as np

from lowerfunnel.errors import UnavailableError
from lowerfunnel.metrics.paired import PairedRatios, paired_ratios, relative_change
from lowerfunnel.metrics.power import FloatArray, IntArray, power_of_ratios
from lowerfunnel.metrics.ranking import concentration
from lowerfunnel.world.experiment.metrics import AFTERWARDS, COLUMNS, COVERAGES, METRICS
from lowerfunnel.world.experiment.result import Curve, Day, Experiment, Figure, PowerFigures, Row
from lowerfunnel.world.experiment.sums import (
    SLICE_COLUMNS,
    SLICES,
    Arena,
    PolicySums,
    date_of,
    sizes_of_advertisers,
)
from lowerfunnel.world.policy import Ints, Policy

ACTIVITIES = ("low", "middle", "high")
"""Thirds of the users by how many ads they saw."""

_ALL_COLUMNS = (*COLUMNS, *AFTERWARDS)
_CONVERSIONS = COLUMNS.index("conversions")
_IMPRESSIONS = COLUMNS.index("impressions")
_Z95 = 1.959964
_CURVE_POINTS = 80


def experiment(
    world: Arena,
    policy_a: Policy,
    policy_b: Policy,
    *,
    days: Sequence[int],
    n_boot: int = 1000,
    seed: int = 0,
    limit_s: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Experiment:
    """Play two policies on the same days with the same luck, and compare what comes of them.

    The same ad in the same slot of the same request has the same fate under both policies, so equal policies differ by
    exactly nothing, and the intervals hold only what the policies do differently. Memory grows with the users of the
    world and not with the impressions.

    Args:
        world: Where they are played.
        policy_a: What is compared against.
        policy_b: What is tried.
        days: Days of the world, each once; those after its log are the future of a model that learned from it.
        n_boot: Resamples of the users for the intervals.
        seed: Of the resamples.
        limit_s: Seconds that a policy may take for the requests of an hour; None for no limit.
        progress: Called with the policy-days played and those in all.

    Raises:
        ValueError: If no day is given, or one twice.
        PolicyError: If a policy's answer cannot be shown.
        UnavailableError: If fewer than two people see an ad in these days.
    """
    if not days or len(set(days)) != len(days) or min(days) < 0:
        raise ValueError(f"an experiment needs days from 0 on, each once; got {list(days)}")
    sums_a, sums_b = PolicySums.empty(world), PolicySums.empty(world)
    size_V = sizes_of_advertisers(world)
    organic_U = np.zeros(len(world.user_id_U))
    played: list[Day] = []
    for number, day in enumerate(days):
        date = None
        for place, (policy, sums) in enumerate(((policy_a, sums_a), (policy_b, sums_b))):
            outcomes = world.play(policy, day, limit_s=limit_s)
            date = date or date_of(outcomes)
            sums.add(outcomes, size_V)
            del outcomes
            if progress is not None:
                progress(2 * number + place + 1, 2 * len(days))
        organic = world.organic(day)
        organic_U += np.bincount(organic.user_O, weights=organic.value_O, minlength=len(organic_U))
        played.append(_day(day, date, sums_a, sums_b))
    seen_U = (sums_a.column_UC[:, _IMPRESSIONS] + sums_b.column_UC[:, _IMPRESSIONS] > 0) & world.is_person_U
    users = int(seen_U.sum())
    if users < 2:
        raise UnavailableError(
            f"{users} people saw an ad in the days {list(days)}: an experiment needs at least 2; add days or users"
        )
    a_UC, b_UC = (_finished(sums.column_UC[seen_U], organic_U[seen_U]) for sums in (sums_a, sums_b))
    rows = _rows(a_UC, b_UC, n_boot=n_boot, seed=seed)
    rows += _coverage_rows(sums_a, sums_b, users)
    rows += _slice_rows(sums_a, sums_b, seen_U, n_boot=n_boot, seed=seed)
    return Experiment(
        policy_a=policy_a.name,
        policy_b=policy_b.name,
        days=tuple(played),
        users=users,
        impressions_a=int(a_UC[:, _IMPRESSIONS].sum()),
        impressions_b=int(b_UC[:, _IMPRESSIONS].sum()),
        rows=tuple(rows),
        curves={"a": _curves(sums_a), "b": _curves(sums_b)},
        n_boot=n_boot,
        seed=seed,
    )


def _day(day: int, date: str | None, sums_a: PolicySums, sums_b: PolicySums) -> Day:
    value, error = relative_change(sums_a.column_UC[:, _CONVERSIONS], sums_b.column_UC[:, _CONVERSIONS])
    made_a, made_b = (dict(zip(COLUMNS, sums.day_DC[-1].tolist(), strict=True)) for sums in (sums_a, sums_b))
    return Day(
        day=day,
        date=date,
        a=made_a,
        b=made_b,
        settled=_figure([value, value - _Z95 * error, value + _Z95 * error]),
    )


def _finished(column_UC: FloatArray, organic_U: FloatArray) -> FloatArray:
    """Add the columns of `AFTERWARDS`."""
    all_revenue_U = column_UC[:, COLUMNS.index("revenue")] + organic_U
    one_U = np.full(len(column_UC), 1 / len(column_UC))
    return np.column_stack([column_UC, organic_U, all_revenue_U, one_U])


def _rows(a_UC: FloatArray, b_UC: FloatArray, *, n_boot: int, seed: int) -> list[Row]:
    numerator_M = np.array([_ALL_COLUMNS.index(metric.numerator) for metric in METRICS])
    denominator_M = np.array([_ALL_COLUMNS.index(metric.denominator) for metric in METRICS])
    found = paired_ratios(
        a_UC,
        b_UC,
        numerator_M=numerator_M,
        denominator_M=denominator_M,
        n_boot=n_boot,
        generator=np.random.default_rng(seed),
    )
    power = power_of_ratios(a_UC, b_UC, numerator_M=numerator_M, denominator_M=denominator_M)
    rows = []
    for place, metric in enumerate(METRICS):
        base = abs(float(found.a_M3[place, 0])) * metric.per
        detectable = float(power.detectable_M[place]) * metric.per
        figures = PowerFigures(
            paired_error=_number(power.paired_error_M[place] * metric.per),
            unpaired_error=_number(power.unpaired_error_M[place] * metric.per),
            detectable=_number(detectable),
            detectable_relative=_number(detectable / base) if base > 0 else None,
            users_per_group=_number(power.users_per_group_M[place]),
            saved=_number(power.saved_M[place]),
        )
        rows.append(_row(metric.name, "all", found, place, users=len(a_UC), per=metric.per, power=figures))
    return rows


def _coverage_rows(sums_a: PolicySums, sums_b: PolicySums, users: int) -> list[Row]:
    """Return the coverages. They are no sums over users, so they come without an interval."""
    rows = []
    for name in COVERAGES:
        a, b = (concentration(s.shown_I if name == "item_coverage" else s.shown_V) for s in (sums_a, sums_b))
        rows.append(
            Row(
                metric=name,
                slice="all",
                a=Figure(value=a),
                b=Figure(value=b),
                difference=Figure(value=b - a),
                relative=Figure(value=b / a - 1),
                n=users,
                power=None,
            )
        )
    return rows


def _slice_rows(
    sums_a: PolicySums, sums_b: PolicySums, seen_U: np.typing.NDArray[np.bool_], *, n_boot: int, seed: int
) -> list[Row]:
    """Return conversions and conversion rate by surface, size of the advertiser and activity of the user."""
    activity_U = _activity(sums_a.column_UC[seen_U, _IMPRESSIONS])
    parts = []
    for sums in (sums_a, sums_b):
        slice_USC = sums.slice_USC[seen_U]
        own_UC = sums.column_UC[seen_U][:, [COLUMNS.index(name) for name in SLICE_COLUMNS]]
        of_activity_USC = (activity_U[:, None] == np.arange(len(ACTIVITIES)))[:, :, None] * own_UC[:, None, :]
        flat_UC = np.concatenate([slice_USC, of_activity_USC], axis=1).reshape(len(own_UC), -1)
        parts.append(np.column_stack([flat_UC, np.full(len(own_UC), 1 / len(own_UC))]))
    names = [*SLICES, *(f"activity={name}" for name in ACTIVITIES)]
    one = len(names) * len(SLICE_COLUMNS)
    numerator_M: IntArray = np.repeat(np.arange(len(names)) * len(SLICE_COLUMNS), 2)
    denominator_M = numerator_M + 1
    denominator_M[::2] = one
    found = paired_ratios(
        parts[0],
        parts[1],
        numerator_M=numerator_M,
        denominator_M=denominator_M,
        n_boot=n_boot,
        generator=np.random.default_rng(seed),
    )
    users_S = [int(((parts[0] + parts[1])[:, 2 * place + 1] > 0).sum()) for place in range(len(names))]
    return [
        _row(metric, name, found, 2 * place + offset, users=users_S[place])
        for place, name in enumerate(names)
        for offset, metric in enumerate(("conversions", "conversion_rate"))
        if users_S[place]
    ]


def _activity(impressions_U: FloatArray) -> Ints:
    """Return the third that each user is in, by its impressions; equal users are in the same."""
    ends = np.quantile(impressions_U, [1 / 3, 2 / 3])
    return np.searchsorted(ends, impressions_U, side="left").astype(np.int64)


def _row(
    metric: str,
    slice_name: str,
    found: PairedRatios,
    place: int,
    *,
    users: int,
    per: float = 1.0,
    power: PowerFigures | None = None,
) -> Row:
    return Row(
        metric=metric,
        slice=slice_name,
        a=_figure(found.a_M3[place] * per),
        b=_figure(found.b_M3[place] * per),
        difference=_figure(found.difference_M3[place] * per),
        relative=_figure(found.relative_M3[place]),
        n=users,
        power=power,
    )


def _figure(three: Sequence[float] | FloatArray) -> Figure:
    value, low, high = (_number(one) for one in three)
    return Figure(value=value, low=low, high=high)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _curves(sums: PolicySums) -> tuple[Curve, ...]:
    return tuple(_curve(of, shown) for of, shown in (("items", sums.shown_I), ("advertisers", sums.shown_V)))


def _curve(of: str, shown_I: Ints) -> Curve:
    filled_I = np.cumsum(np.sort(shown_I)[::-1]) / shown_I.sum()
    total = len(shown_I)
    rank_P = np.unique(np.rint(np.linspace(0, 1, _CURVE_POINTS) ** 2 * total).astype(np.int64))
    return Curve(
        of=of,
        total=total,
        filled_90=round(concentration(shown_I) * total),
        shares=tuple(
            (float(rank / total), 0.0 if rank == 0 else float(filled_I[rank - 1])) for rank in rank_P.tolist()
        ),
    )
