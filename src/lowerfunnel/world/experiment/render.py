"""The page of an experiment: everything its template needs, computed."""

from dataclasses import dataclass, field

from lowerfunnel.page import Spec, render_page
from lowerfunnel.page.controls import Chart, Choice, Control
from lowerfunnel.page.formats import NOTHING, compact, count, percent, relative
from lowerfunnel.world.experiment import charts
from lowerfunnel.world.experiment.metrics import METRICS
from lowerfunnel.world.experiment.result import Day, Experiment, Row
from lowerfunnel.world.experiment.words import (
    BY_NAME,
    headline,
    is_clear,
    power_sentences,
    relative_interval,
    shown_difference,
    shown_value,
    tone,
)

_TILES = ("conversions", "revenue", "roas", "ctr30")
_DAILY = ("conversions", "revenue", "ctr", "ctr30", "roas")
_SLICE_KINDS = {"surface": "Surface", "advertiser_size": "Advertisers", "activity": "Users"}
_SLICE_NAMES = {
    "surface=homefeed": "Home feed",
    "surface=related": "Related items",
    "surface=search": "Search",
    "advertiser_size=large": "Large advertisers",
    "advertiser_size=middle": "Middle advertisers",
    "advertiser_size=small": "Small advertisers",
    "activity=low": "Users with few ads",
    "activity=middle": "Users in between",
    "activity=high": "Users with many ads",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One metric as the tables show it."""

    name: str
    meaning: str
    a: str
    b: str
    a_interval: str
    b_interval: str
    difference: str
    relative: str
    interval: str
    tone: str
    detectable: str = ""
    users: str = ""
    saved: str = ""


@dataclass(slots=True)
class _Page:
    specs: dict[str, Spec] = field(default_factory=dict)
    controls: dict[str, Chart] = field(default_factory=dict)


def render_experiment(result: Experiment) -> str:
    """Return the page of an experiment. The same result gives the same page."""
    page = _Page()
    rows = [row for row in result.rows if row.slice == "all"]
    _forest(page, rows)
    _daily(page, result)
    _slices(page, result)
    for place, of in enumerate(("items", "advertisers")):
        page.specs[of] = charts.coverage(
            [
                {"policy": name.upper(), "share_of_items": items, "share_of_ads": ads}
                for name in ("a", "b")
                for items, ads in result.curves[name][place].shares
            ]
        )
    lines = [_line(row) for row in rows]
    dates = [day.date for day in result.days if day.date is not None]
    return render_page(
        "experiment.html.j2",
        package="lowerfunnel.world.experiment",
        title=f"{result.policy_b} against {result.policy_a}",
        kind="synthetic",
        specs=page.specs,
        result=result,
        headline=headline(result),
        span=f"{min(dates)} to {max(dates)}" if dates else "",
        tiles=[_line(result.row(name)) for name in _TILES],
        lines=lines,
        controls_of=page.controls,
        power_sentences=power_sentences(result),
        power_lines=[line for line in lines if line.detectable],
        curves=[
            (of, f"{count(result.curves['a'][place].total)} {of}", *(_ninety(result, name, place) for name in "ab"))
            for place, of in enumerate(("items", "advertisers"))
        ],
        facts=(
            ("days", count(len(result.days))),
            ("people who saw ads", compact(result.users)),
            ("ads of A", compact(result.impressions_a)),
            ("ads of B", compact(result.impressions_b)),
        ),
        heights={"forest": charts.ROW_HEIGHT * len(METRICS) + 40, "slices": charts.ROW_HEIGHT * len(_SLICE_NAMES) + 40},
    )


def _ninety(result: Experiment, name: str, place: int) -> str:
    curve = result.curves[name][place]
    return f"{count(curve.filled_90)} ({percent(curve.filled_90 / curve.total)})"


def _line(row: Row) -> Line:
    metric = BY_NAME[row.metric]

    def ends(low: float | None, high: float | None) -> str:
        return "" if low is None else f"{shown_value(low, metric)} to {shown_value(high, metric)}"

    power = row.power
    return Line(
        name=metric.shown,
        meaning=metric.meaning,
        a=shown_value(row.a.value, metric),
        b=shown_value(row.b.value, metric),
        a_interval=ends(row.a.low, row.a.high),
        b_interval=ends(row.b.low, row.b.high),
        difference=shown_difference(row.difference.value, metric),
        relative=relative(row.relative.value),
        interval=relative_interval(row.relative),
        tone=tone(row, metric),
        detectable="" if power is None or power.detectable_relative is None else percent(power.detectable_relative),
        users="" if power is None else NOTHING if power.users_per_group is None else compact(power.users_per_group),
        saved="" if power is None or power.saved is None else percent(power.saved),
    )


def _forest(page: _Page, rows: list[Row]) -> None:
    shown = [row for row in rows if row.relative.value is not None and row.relative.low is not None]
    if shown:
        page.specs["forest"] = charts.forest([_dot(row, BY_NAME[row.metric].shown) for row in shown], span=_span(shown))


def _slices(page: _Page, result: Experiment) -> None:
    shown = [r for r in result.rows if r.slice in _SLICE_NAMES and r.relative.value is not None]
    if not shown:
        return
    first = shown[0].metric
    records = [{**_dot(row, _SLICE_NAMES[row.slice]), "metric": row.metric} for row in shown]
    page.specs["slices"] = charts.forest(records, span=_span(shown), first=first)
    choices = tuple(Choice(m, BY_NAME[m].shown, BY_NAME[m].meaning) for m in dict.fromkeys(r.metric for r in shown))
    page.controls["slices"] = Chart(page.specs["slices"], (Control("metric", "Metric", choices, first),))


def _dot(row: Row, shown: str) -> dict[str, object]:
    metric = BY_NAME[row.metric]
    return {
        "shown": shown,
        "value": row.relative.value,
        "low": row.relative.low,
        "high": row.relative.high,
        "tone": tone(row, metric),
        "text": relative(row.relative.value),
        "interval": relative_interval(row.relative),
        "tip_a": shown_value(row.a.value, metric),
        "tip_b": shown_value(row.b.value, metric),
    }


def _span(rows: list[Row]) -> tuple[float, float]:
    """Return the ends of the axis: all values, all clear intervals, and no more than thrice the usual of the others."""
    values = [row.relative.value or 0.0 for row in rows]
    ends = [end for row in rows for end in (row.relative.low or 0.0, row.relative.high or 0.0)]
    reach = 3 * sorted(abs(end) for end in ends)[len(ends) // 2]
    kept = [
        end for row in rows if is_clear(row.relative) for end in (row.relative.low or 0.0, row.relative.high or 0.0)
    ]
    low = min(0.0, *values, *kept, max(min(ends), -reach))
    high = max(0.0, *values, *kept, min(max(ends), reach))
    room = max(high - low, 0.02) * 0.06
    return low - room, high + room


def _daily(page: _Page, result: Experiment) -> None:
    records: list[dict[str, object]] = []
    tips: list[dict[str, object]] = []
    for name in _DAILY:
        metric = BY_NAME[name]
        for day in result.days:
            when: str | int = day.date if day.date is not None else day.day
            made = {policy: _of_day(day, policy, name) for policy in "ab"}
            records += [
                {"metric": name, "day": when, "policy": policy.upper(), "value": value}
                for policy, value in made.items()
                if value is not None
            ]
            texts = {policy: shown_value(value, metric) for policy, value in made.items()}
            tips.append({"metric": name, "day": when, "when": str(when), **texts})
    page.specs["daily"] = charts.daily(records, tips, first=_DAILY[0], units={m: BY_NAME[m].unit for m in _DAILY})
    choices = tuple(Choice(name, BY_NAME[name].shown, BY_NAME[name].meaning) for name in _DAILY)
    page.controls["daily"] = Chart(page.specs["daily"], (Control("metric", "Metric", choices, _DAILY[0]),))
    so_far = [
        {
            "days": number,
            "value": day.settled.value,
            "low": day.settled.low,
            "high": day.settled.high,
            "text": f"{relative(day.settled.value)} ({relative_interval(day.settled)})",
        }
        for number, day in enumerate(result.days, start=1)
        if day.settled.value is not None and day.settled.low is not None
    ]
    if so_far:
        page.specs["settled"] = charts.settled(so_far)


def _of_day(day: Day, policy: str, name: str) -> float | None:
    sums = day.a if policy == "a" else day.b
    metric = BY_NAME[name]
    if metric.denominator == "one":
        return sums[metric.numerator]
    return None if sums[metric.denominator] == 0 else sums[metric.numerator] / sums[metric.denominator] * metric.per
