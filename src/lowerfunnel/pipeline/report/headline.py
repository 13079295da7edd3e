"""The result in plain words: what is found, what the floors find, and who is ahead."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from lowerfunnel.page.formats import count, finite, interval, percent, points, signed_interval
from lowerfunnel.pipeline.report.data import OUR_MODEL, Comparison, MetricRow, ReportData
from lowerfunnel.pipeline.report.formats import metric_name, metric_value, model_name, model_order, parse_metric

Outcome = Literal["ahead", "level", "behind", "ceiling"]

CEILING = "oracle"
"""The model that no other can beat but by luck: it is no floor, and is told of apart."""

PREFERRED = ("micro_recall@100", "recall@100", "hr@100", "recall@20", "recall@10", "hr@10", "ndcg@10")
"""What leads the page where no paired comparison names a metric."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Lowerfunnel against one floor."""

    floor: str
    """The floor's model name, as in the rows."""
    outcome: Outcome
    """Of lowerfunnel: ahead, level (zero lies within the interval) or behind; against the oracle it is the ceiling."""
    sentence: str
    """The same in plain words."""
    detail: str
    """By how much, with the interval of the difference as a gain of whoever is ahead."""
    value: float
    """What the floor reaches."""
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Headline:
    """What the page says first."""

    metric: str
    task: str
    sentence: str
    """"Finds 24.1% of held-out purchases in its first 100 of 30,113 items; popularity finds 7.2%."."""
    intervals: str
    """The 95% intervals of both figures, in words; empty where there are none."""
    summary: str
    """Who is ahead, over all floors."""
    value: float
    low: float | None
    high: float | None
    n: int | None
    verdicts: tuple[Verdict, ...]
    """On every floor, and on the oracle last where there is one."""


def leading_task(rows: Iterable[MetricRow]) -> str | None:
    """Return the task that leads the page: conversion, or else the first there is."""
    tasks = [row["task"] for row in rows]
    return "conversion" if "conversion" in tasks or not tasks else tasks[0]


def leading_metric(data: ReportData, task: str) -> str | None:
    """Return the metric that leads the page: that of the first comparison, or else the first preferred one there is."""
    ours = [
        row["metric"]
        for row in data.rows
        if row["model"] == OUR_MODEL
        and row["task"] == task
        and row["slice"] == "all"
        and finite(row["value"]) is not None
    ]
    compared = [c["metric"] for c in data.comparisons if c.get("task", task) == task and c.get("slice", "all") == "all"]
    for name in (*compared, *PREFERRED, *ours):
        if name in ours:
            return name
    return None


def headline(data: ReportData) -> Headline | None:
    """Say the result in plain words; None where the rows hold nothing of lowerfunnel."""
    task = leading_task(data.rows)
    metric = leading_metric(data, task) if task is not None else None
    if task is None or metric is None:
        return None
    rows = {
        row["model"]: row
        for row in data.rows
        if row["task"] == task
        and row["slice"] == "all"
        and row["metric"] == metric
        and finite(row["value"]) is not None
    }
    own = rows.pop(OUR_MODEL)
    best = rows.pop(CEILING, None)
    value = _value(own)
    paired = {
        c["floor"]: c
        for c in data.comparisons
        if c["metric"] == metric and c.get("task", task) == task and c.get("slice", "all") == "all"
    }
    verdicts = tuple(_verdict(own, rows[name], paired.get(name)) for name in sorted(rows, key=model_order))
    ceiling = None if best is None else _ceiling(own, best)
    rival = rows.get("popularity")
    items = data.facts.get("items")
    return Headline(
        metric=metric,
        task=task,
        sentence=_sentence(metric, value, None if rival is None else _value(rival), data.noun, items),
        intervals=_intervals(own, rival),
        summary=_summary(verdicts) + ("" if ceiling is None else f" {ceiling.sentence}"),
        value=value,
        low=finite(own["ci_low"]),
        high=finite(own["ci_high"]),
        n=own["n"],
        verdicts=verdicts if ceiling is None else (*verdicts, ceiling),
    )


def _value(row: MetricRow) -> float:
    value = row["value"]
    assert value is not None  # noqa: S101 - rows without a value were dropped by the caller
    return value


def _sentence(metric: str, value: float, rival: float | None, noun: str, items: int | None) -> str:
    family, k = parse_metric(metric)
    shown = metric_value(value, metric)
    of = "" if items is None else f" of {count(items)} items"
    first = "" if k is None else f" in its first {count(k)}{of}"
    if k is not None and items is not None and k >= items:
        first = f" in its first {count(k)} places, which hold all {count(items)} items"
    if family == "micro_recall":
        text, verb = f"Finds {shown} of held-out {noun}{first}", "finds"
    elif family == "recall":
        text, verb = f"Finds {shown} of a user's held-out {noun}{first}", "finds"
    elif family == "hr":
        text, verb = f"Finds a held-out one of their {noun}{first} for {shown} of users", "does for"
    else:
        text, verb = f"Reaches {metric_name(metric)} {shown} on held-out {noun}{of and ' out' + of}", "reaches"
    return f"{text}." if rival is None else f"{text}; popularity {verb} {metric_value(rival, metric)}."


def _intervals(own: MetricRow, rival: MetricRow | None) -> str:
    share = parse_metric(own["metric"]).is_share
    texts = []
    for row in (own, rival):
        if row is not None:
            low, high = finite(row["ci_low"]), finite(row["ci_high"])
            if low is not None and high is not None:
                texts.append(f"{model_name(row['model'])} {interval(low, high, share=share)}")
    return f"95% intervals: {'; '.join(texts)}." if texts else ""


def _verdict(own: MetricRow, floor: MetricRow, paired: Comparison | None) -> Verdict:
    """Judge by the paired difference; without one, by whether the two intervals overlap."""
    share = parse_metric(own["metric"]).is_share
    name, theirs = model_name(floor["model"]), _value(floor)
    difference = _value(own) - theirs
    low, high = finite(floor["ci_low"]), finite(floor["ci_high"])
    if paired is not None:
        difference, lowest, highest = paired["difference"], paired["ci_low"], paired["ci_high"]
        outcome = _outcome(lowest, highest)
        if outcome == "behind":
            lowest, highest = -highest, -lowest
        span = f" ({signed_interval(lowest, highest, share=share)})"
    else:
        own_low, own_high = finite(own["ci_low"]), finite(own["ci_high"])
        if own_low is None or own_high is None or low is None or high is None:
            outcome, span = _outcome(difference, difference), ", without an interval"
        else:
            outcome, span = _outcome(own_low - high, own_high - low), ", judged by separate intervals"
    size = points(difference, share=share)
    detail = f"by {size}{span}"
    if outcome == "level" and difference == 0:
        detail = f"no difference{span}"
        sentence = f"Level with {name}: {detail}."
    elif outcome == "level":
        detail = f"{size} {'more' if difference > 0 else 'less'}{span}"
        sentence = f"Level with {name}: {detail}, not clear."
    elif outcome == "ahead":
        sentence = f"Ahead of {name} {detail}."
    else:
        sentence = f"{name} is still ahead {detail}."
    return Verdict(
        floor=floor["model"], outcome=outcome, sentence=sentence, detail=detail, value=theirs, low=low, high=high
    )


def _ceiling(own: MetricRow, best: MetricRow) -> Verdict:
    reached = percent(_value(own) / _value(best)) if _value(best) > 0 else "0%"
    return Verdict(
        floor=best["model"],
        outcome="ceiling",
        sentence=f"It reaches {reached} of the oracle, which knows the truth of this synthetic world.",
        detail=f"of which lowerfunnel reaches {reached}",
        value=_value(best),
        low=finite(best["ci_low"]),
        high=finite(best["ci_high"]),
    )


def _outcome(low: float, high: float) -> Outcome:
    return "ahead" if low > 0 else "behind" if high < 0 else "level"


def _summary(verdicts: tuple[Verdict, ...]) -> str:
    if not verdicts:
        return "No floor was evaluated beside it, so this figure alone says little."
    behind = [model_name(v.floor) for v in verdicts if v.outcome == "behind"]
    level = [model_name(v.floor) for v in verdicts if v.outcome == "level"]
    if not behind and not level:
        return "Ahead of every floor." if len(verdicts) > 1 else f"Ahead of {model_name(verdicts[0].floor)}."
    parts = []
    if behind:
        parts.append(f"{_listed(behind)} {'is' if len(behind) == 1 else 'are'} still ahead of it.")
    if level:
        parts.append(f"{_listed(level)} {'is' if len(level) == 1 else 'are'} level with it.")
    if len(behind) + len(level) < len(verdicts):
        parts.append("It is ahead of the others.")
    return " ".join(parts)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
