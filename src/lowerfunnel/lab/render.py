"""The page of a study: everything its template needs, computed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lowerfunnel.lab import charts
from lowerfunnel.lab.result import Comparison, Figure, StudyResult, VariantResult
from lowerfunnel.lab.words import (
    ONE_SEED,
    TAGS,
    TONES,
    headline,
    missing_runs,
    relative_span,
    shown_difference,
    shown_setting,
    shown_span,
    shown_value,
)
from lowerfunnel.page import Spec, render_page
from lowerfunnel.page.controls import Chart, Choice, Control
from lowerfunnel.page.formats import NOTHING, compact, count, duration, percent, relative
from lowerfunnel.pipeline.report.formats import (
    FAMILY_MEANINGS,
    SLICE_MEANINGS,
    metric_name,
    parse_metric,
    slice_name,
    slice_order,
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A metric of a variant in the main table."""

    value: str
    span: str = ""
    change: str = ""
    difference: str = ""
    interval: str = ""
    verdict: str = ""
    tone: str = "even"
    tag: str = "level"


@dataclass(frozen=True, slots=True)
class Line:
    """A variant in the main table."""

    variant: VariantResult
    cells: tuple[Cell, ...]
    seeds: str
    published: str = ""
    left_out: str = ""


@dataclass(frozen=True, slots=True)
class CostLine:
    """What a variant costs and how many items it shows."""

    name: str
    trained: str
    rate: str
    parameters: str
    memory: str
    threads: str
    coverage: str
    advertisers: str
    within: str


@dataclass(slots=True)
class _Page:
    specs: dict[str, Spec] = field(default_factory=dict)
    controls: dict[str, Chart] = field(default_factory=dict)

    def add(self, name: str, spec: Spec, *controls: Control) -> None:
        self.specs[name] = spec
        self.controls[name] = Chart(spec, tuple(control for control in controls if len(control.choices) > 1))


def render_study(result: StudyResult) -> str:
    """Return the page of a study. The same result gives the same page."""
    page = _Page()
    _forest(page, result)
    _slices(page, result)
    _seeds(page, result)
    _cost(page, result)
    finished = [run for run in result.runs if run.state == "finished"]
    users = max((value.users for value in result.values if value.task == "conversion"), default=0)
    slices = sorted({one.slice for one in result.comparisons} - {"all"}, key=slice_order)
    return render_page(
        "study.html.j2",
        package="lowerfunnel.lab",
        title=result.name,
        kind=result.data,
        specs=page.specs,
        result=result,
        headline=headline(result),
        missing=missing_runs(result.unfinished),
        one_seed=ONE_SEED if len(result.seeds) == 1 else "",
        metrics=[(metric_name(m), FAMILY_MEANINGS.get(parse_metric(m).family, "")) for m in result.metrics],
        lines=[_line(result, variant) for variant in result.variants],
        any_published=any(variant.published is not None for variant in result.variants),
        costs=[_cost_line(result, variant.name) for variant in result.variants],
        controls_of=page.controls,
        compared=len(result.variants) - 1,
        meanings=[(slice_name(name), SLICE_MEANINGS[name]) for name in slices if name in SLICE_MEANINGS],
        shown_setting=shown_setting,
        facts=(
            ("variants", count(len(result.variants))),
            ("seeds", count(len(result.seeds))),
            ("runs finished", f"{len(finished)} of {len(result.runs)}"),
            ("users measured", compact(users)),
            ("training in all", duration(sum(run.trained_s or 0.0 for run in finished))),
        ),
        heights={
            "forest": charts.ROW_HEIGHT * (len(result.variants) - 1) + 40,
            "slices": charts.ROW_HEIGHT * (len(slices) + 1) + 40,
            "seeds": (charts.ROW_HEIGHT - 6) * len(result.variants) + 40,
        },
    )


def _line(result: StudyResult, variant: VariantResult) -> Line:
    of_task = variant.left_out or {}
    published = variant.published
    seeds = [run.seed for run in result.runs if run.variant == variant.name and run.state == "finished"]
    return Line(
        variant=variant,
        cells=tuple(_cell(result, variant.name, metric) for metric in result.metrics),
        seeds="" if len(seeds) == len(result.seeds) else f"{len(seeds)} of {len(result.seeds)} seeds",
        published="" if published is None else f"{relative(published.relative)} {metric_name(published.metric)}",
        left_out=" and ".join(f"{count(number)} {task}" for task, number in of_task.items()),
    )


def _cell(result: StudyResult, variant: str, metric: str) -> Cell:
    value, one = result.value(variant, metric), result.comparison(variant, metric)
    if value is None:
        return Cell(NOTHING)
    shown, span = shown_value(value.figure, metric), shown_span(value.figure, metric)
    if one is None:
        return Cell(shown, span)
    return Cell(
        shown,
        span,
        relative(one.relative.value),
        shown_difference(one.difference.value, metric),
        relative_span(one.relative),
        one.verdict,
        TONES[one.verdict],
        TAGS[one.verdict],
    )


def _metric_control(result: StudyResult, metrics: Sequence[str]) -> Control:
    choices = (Choice(m, metric_name(m), FAMILY_MEANINGS.get(parse_metric(m).family, "")) for m in metrics)
    return Control("metric", "Metric", tuple(choices), metrics[0])


def _task_control(found: Sequence[Comparison]) -> Control:
    tasks = list(dict.fromkeys(one.task for one in found))
    return Control("task", "Task", tuple(Choice(task, task.capitalize()) for task in tasks), tasks[0])


def _forest(page: _Page, result: StudyResult) -> None:
    found = [one for one in result.comparisons if one.slice == "all" and one.relative.value is not None]
    if not found:
        return
    order = [variant.name for variant in result.variants if any(one.variant == variant.name for one in found)]
    controls = (_task_control(found), _metric_control(result, [m for m in result.metrics if _has(found, m)]))
    spec = charts.forest(_dots(found, lambda one: one.variant), order, first=_first(controls))
    page.add("forest", spec, *controls)


def _slices(page: _Page, result: StudyResult) -> None:
    found = [one for one in result.comparisons if one.relative.value is not None]
    if not found:
        return
    order = [slice_name(name) for name in sorted({one.slice for one in found}, key=slice_order)]
    variants = list(dict.fromkeys(one.variant for one in found))
    variant = Control("variant", "Variant", tuple(Choice(name, name) for name in variants), variants[0])
    controls = (variant, _task_control(found), _metric_control(result, [m for m in result.metrics if _has(found, m)]))
    spec = charts.forest(_dots(found, lambda one: slice_name(one.slice)), order, first=_first(controls))
    page.add("slices", spec, *controls)


def _first(controls: Sequence[Control]) -> dict[str, str]:
    return {control.param: control.first for control in controls}


def _has(found: Sequence[Comparison], metric: str) -> bool:
    return any(one.metric == metric for one in found)


def _dots(found: Sequence[Comparison], shown: Callable[[Comparison], str]) -> list[dict[str, object]]:
    """Return one record per comparison; a line ends where the usual reach of its chart ends thrice over."""
    reach: dict[tuple[str, str], float] = {}
    for key in {(one.metric, one.task) for one in found}:
        same = [one for one in found if (one.metric, one.task) == key]
        ends = sorted(abs(end) for one in same for end in (one.relative.low or 0.0, one.relative.high or 0.0))
        largest = max(abs(one.relative.value or 0.0) for one in same if one.slice == "all" or len(same) < 2) if any(
            one.slice == "all" or len(same) < 2 for one in same
        ) else 0.0  # fmt: skip
        reach[key] = max(3 * ends[len(ends) // 2], 1.2 * largest, 0.01)

    def cut(end: float | None, one: Comparison) -> float:
        most = max(reach[one.metric, one.task], abs(one.relative.value or 0.0))
        return max(-most, min(most, end or 0.0))

    return [
        {
            "shown": shown(one),
            "metric": one.metric,
            "task": one.task,
            "variant": one.variant,
            "value": one.relative.value,
            "low": cut(one.relative.low, one),
            "high": cut(one.relative.high, one),
            "tone": TONES[one.verdict],
            "text": relative(one.relative.value),
            "interval": relative_span(one.relative),
            "of": shown_value(one.of_variant, one.metric),
            "against": f"{shown_value(one.of_against, one.metric)} ({one.against})",
            "n": count(one.users),
        }
        for one in found
    ]


def _shares(result: StudyResult) -> list[str]:
    return [metric for metric in result.metrics if parse_metric(metric).is_share]


def _seeds(page: _Page, result: StudyResult) -> None:
    found = [one for one in result.values if (one.task, one.slice) == ("conversion", "all") and one.by_seed]
    if not found:
        return
    points = [
        {
            "metric": one.metric,
            "shown": one.variant,
            "seed": seed,
            "value": value,
            "text": shown_value(Figure(value=value, low=None, high=None), one.metric),
        }
        for one in found
        for seed, value in one.by_seed.items()
    ]
    means = [
        {
            "metric": one.metric,
            "shown": one.variant,
            "value": one.figure.value,
            "text": shown_value(one.figure, one.metric),
        }
        for one in found
    ]
    order = list(dict.fromkeys(one.variant for one in found))
    spec = charts.seeds(points, means, order, first=result.metrics[0], shares=_shares(result))
    page.add("seeds", spec, _metric_control(result, result.metrics))


def _cost(page: _Page, result: StudyResult) -> None:
    records: list[dict[str, object]] = []
    for variant in result.variants:
        seconds = _mean([run.trained_s for run in result.runs if run.variant == variant.name])
        for metric in result.metrics:
            value, one = result.value(variant.name, metric), result.comparison(variant.name, metric)
            if value is None or seconds is None:
                continue
            records.append(
                {
                    "metric": metric,
                    "shown": variant.name,
                    "seconds": seconds,
                    "value": value.figure.value,
                    "low": value.figure.low,
                    "high": value.figure.high,
                    "tone": "even" if one is None else TONES[one.verdict],
                    "text": shown_value(value.figure, metric),
                    "took": duration(seconds),
                }
            )
    if records:
        spec = charts.cost(records, first=result.metrics[0], shares=_shares(result))
        page.add("cost", spec, _metric_control(result, result.metrics))


def _cost_line(result: StudyResult, variant: str) -> CostLine:
    runs = [run for run in result.runs if run.variant == variant]

    def shown(values: Sequence[float | None], write: Callable[[float], str]) -> str:
        mean = _mean(values)
        return NOTHING if mean is None else write(mean)

    return CostLine(
        name=variant,
        trained=shown([run.trained_s for run in runs], duration),
        rate=shown([run.examples_per_s for run in runs], count),
        parameters=shown([run.parameters for run in runs], compact),
        memory=shown([run.peak_memory_mb for run in runs], lambda mb: f"{count(mb)} MB"),
        threads=", ".join(sorted({str(run.threads) for run in runs if run.threads is not None})) or NOTHING,
        coverage=shown([run.coverage for run in runs], percent),
        advertisers=shown([run.advertiser_coverage for run in runs], percent),
        within=shown([run.within_advertiser_auc for run in runs], "{:.3f}".format),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
