"""The rows of metrics.json, arranged for the page: curves, slices, coverage and the table of everything."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lowerfunnel.page import Record
from lowerfunnel.page.controls import Chart, Choice, Control
from lowerfunnel.page.formats import count, finite, interval
from lowerfunnel.pipeline.report import charts
from lowerfunnel.pipeline.report.data import OUR_MODEL, MetricRow
from lowerfunnel.pipeline.report.formats import (
    FAMILY_MEANINGS,
    FAMILY_NAMES,
    metric_name,
    metric_value,
    model_name,
    model_order,
    parse_metric,
    slice_name,
    slice_order,
)
from lowerfunnel.pipeline.report.headline import Headline

CURVE_FAMILIES = ("micro_recall", "recall", "hr", "ndcg", "mrr")
MOST_SLICES = 14
"""Slices drawn at most; the table below holds all of them."""


def usable(rows: Sequence[MetricRow]) -> list[MetricRow]:
    """Drop the rows without a value."""
    return [row for row in rows if finite(row["value"]) is not None]


def models_of(rows: Sequence[MetricRow]) -> list[str]:
    """Return the models that occur, in the order of the page."""
    return sorted({row["model"] for row in rows}, key=model_order)


def _point(row: MetricRow) -> dict[str, Any]:
    value = row["value"] or 0.0
    low, high = finite(row["ci_low"]), finite(row["ci_high"])
    return {
        "value": value,
        "low": value if low is None else low,
        "high": value if high is None else high,
        "tip": value_text(row),
        "n": row["n"],
        "model": row["model"],
        "shown": model_name(row["model"]),
    }


def value_text(row: MetricRow) -> str:
    """Return "24.1% (22.3 to 25.9%)"."""
    value, low, high = row["value"] or 0.0, finite(row["ci_low"]), finite(row["ci_high"])
    text = metric_value(value, row["metric"])
    if low is None or high is None:
        return text
    return f"{text} ({interval(low, high, share=parse_metric(row['metric']).is_share)})"


def curves(rows: Sequence[MetricRow], lead: Headline) -> Chart | None:
    """Build the chart over K; None where no metric was taken at two list lengths."""
    kept = [row for row in usable(rows) if parse_metric(row["metric"]).family in CURVE_FAMILIES]
    tasks = sorted({row["task"] for row in kept}, key=lambda task: (task != lead.task, task))
    names = sorted({row["slice"] for row in kept}, key=slice_order)[:MOST_SLICES]
    # The spec holds thousands of points: tasks and slices stand in it by their place, which keeps the page small.
    points: dict[tuple[int, str, int], list[dict[str, Any]]] = defaultdict(list)
    for row in kept:
        family, k = parse_metric(row["metric"])
        if k is not None and row["slice"] in names:
            key = (tasks.index(row["task"]), family, names.index(row["slice"]))
            points[key].append({"task": key[0], "family": family, "slice": key[2], "k": k, **_point(row)})
    if not any(len({point["k"] for point in series}) > 1 for series in points.values()):
        return None
    models = models_of(rows)
    ends: list[Record] = []
    tips: list[Record] = []
    for (task, family, name), series in points.items():
        ends += charts.line_ends(series)
        by_k: dict[int, dict[str, str]] = defaultdict(dict)
        for point in series:
            by_k[point["k"]][f"m{models.index(point['model'])}"] = point["tip"]
        tips += [{"task": task, "family": family, "slice": name, "k": k, **texts} for k, texts in sorted(by_k.items())]
    families = [family for family in CURVE_FAMILIES if any(key[1] == family for key in points)]
    family = parse_metric(lead.metric).family
    first = {"task": 0, "family": family if family in families else families[0], "slice": 0}
    drawn = [
        {key: value for key, value in point.items() if key not in ("tip", "n", "model")}
        for series in points.values()
        for point in series
    ]
    controls = (
        Control(
            "family",
            "Metric",
            tuple(Choice(f, FAMILY_NAMES[f], FAMILY_MEANINGS[f]) for f in families),
            str(first["family"]),
        ),
        Control("slice", "Slice", tuple(Choice(str(i), slice_name(n)) for i, n in enumerate(names)), "0"),
        Control("task", "Task", tuple(Choice(str(i), t.capitalize()) for i, t in enumerate(tasks)), "0"),
    )
    return Chart(
        charts.curves(drawn, ends, tips, models, first),
        tuple(control for control in controls if len(control.choices) > 1),
    )


def slices(rows: Sequence[MetricRow], lead: Headline) -> Chart | None:
    """Build the plot of slices; None where "all" is the only one."""
    wanted = dict.fromkeys((lead.metric, "recall@10", "recall@100", "recall@1000", "ndcg@10"))
    chosen = [row for row in usable(rows) if row["task"] == lead.task and row["metric"] in wanted]
    names = sorted({row["slice"] for row in chosen}, key=slice_order)[:MOST_SLICES]
    if len(names) < 2:
        return None
    sizes = {row["slice"]: row["n"] for row in chosen if row["metric"] == lead.metric and row["model"] == OUR_MODEL}
    labels = {
        name: slice_name(name) if sizes.get(name) is None else f"{slice_name(name)} ({count(sizes[name] or 0)})"
        for name in names
    }
    records = [
        {**_point(row), "metric": row["metric"], "slice_shown": labels[row["slice"]]}
        for row in chosen
        if row["slice"] in labels
    ]
    present = [metric for metric in wanted if any(row["metric"] == metric for row in chosen)]
    spec = charts.slices(records, [labels[name] for name in names], models_of(chosen), lead.metric)
    control = Control("metric", "Metric", tuple(Choice(m, metric_name(m)) for m in present), lead.metric)
    return Chart(spec, (control,) if len(present) > 1 else ())


@dataclass(frozen=True, slots=True)
class Bar:
    """One cell with a bar: its text, and its length in per cent of the longest of its column."""

    text: str
    length: float


@dataclass(frozen=True, slots=True)
class Coverage:
    """Results beside how much of the catalogue they use."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Bar | None, ...]], ...]
    """Model and its cells."""


def coverage(rows: Sequence[MetricRow], lead: Headline) -> Coverage | None:
    """Set the leading metric beside the coverage; None where no coverage was taken."""
    table = {
        (row["metric"], row["model"]): row for row in usable(rows) if row["slice"] == "all" and row["task"] == lead.task
    }
    found = sorted({metric for metric, _ in table if parse_metric(metric).family.endswith("coverage")})
    if not found:
        return None
    columns = (lead.metric, *sorted(found, key=lambda metric: (parse_metric(metric).family != "coverage", metric)))
    longest = {
        c: max((table[key]["value"] or 0.0 for key in table if key[0] == c), default=0.0) or 1.0 for c in columns
    }

    def cell(metric: str, model: str) -> Bar | None:
        row = table.get((metric, model))
        if row is None:
            return None
        value = row["value"] or 0.0
        return Bar(metric_value(value, metric), round(100 * value / longest[metric], 2))

    models = sorted({model for _, model in table}, key=model_order)
    return Coverage(
        tuple(metric_name(c) for c in columns),
        tuple((model, tuple(cell(c, model) for c in columns)) for model in models),
    )


@dataclass(frozen=True, slots=True)
class Cell:
    """One model's value in the table."""

    value: str
    interval: str
    number: str
    """What the column is sorted by."""
    best: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table."""

    task: str
    slice: str
    metric: str
    family: str
    k: int
    n: str
    cells: tuple[Cell | None, ...]


def table(rows: Sequence[MetricRow]) -> list[Line]:
    """Put all rows into one table: a line per task, slice and metric, a column per model."""
    models = models_of(rows)
    grouped: dict[tuple[str, str, str], dict[str, MetricRow]] = defaultdict(dict)
    for row in usable(rows):
        grouped[row["task"], row["slice"], row["metric"]][row["model"]] = row

    def order(key: tuple[str, str, str]) -> tuple[Any, ...]:
        family, k = parse_metric(key[2])
        families = list(FAMILY_NAMES)
        return key[0], slice_order(key[1]), families.index(family) if family in families else 99, family, k or 0

    lines = []
    for key in sorted(grouped, key=order):
        by_model = grouped[key]
        best = max(row["value"] or 0.0 for row in by_model.values())
        family, k = parse_metric(key[2])
        ns = sorted({row["n"] for row in by_model.values() if row["n"] is not None})
        lines.append(
            Line(
                *key,
                family,
                k or 0,
                " / ".join(count(n) for n in ns),
                tuple(_cell(by_model[m], best) if m in by_model else None for m in models),
            )
        )
    return lines


def _cell(row: MetricRow, best: float) -> Cell:
    low, high = finite(row["ci_low"]), finite(row["ci_high"])
    span = "" if low is None or high is None else interval(low, high, share=parse_metric(row["metric"]).is_share)
    value = row["value"] or 0.0
    return Cell(metric_value(value, row["metric"]), span, f"{value:.8g}", best=value == best and best > 0)
