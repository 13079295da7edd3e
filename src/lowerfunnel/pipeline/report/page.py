"""Everything the template needs, computed: the template only lays it out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lowerfunnel.page import Spec
from lowerfunnel.page.controls import Chart
from lowerfunnel.page.formats import compact, count, duration, finite, hours, interval, percent
from lowerfunnel.pipeline.report import charts, log_charts, results
from lowerfunnel.pipeline.report.cards import Card, cards
from lowerfunnel.pipeline.report.data import OUR_MODEL, Quality, ReportData
from lowerfunnel.pipeline.report.formats import metric_name, metric_value, model_name, parse_metric, slice_order
from lowerfunnel.pipeline.report.headline import Headline, Outcome, headline
from lowerfunnel.pipeline.report.palette import ACTION_NAMES, action_colour, action_name

_FACTS = (
    ("users", "users"),
    ("items", "items"),
    ("advertisers", "advertisers"),
    ("events", "events"),
    ("train_examples", "training examples"),
    ("test_users", "test users"),
    ("test_pairs", "held-out pairs"),
    ("parameters", "parameters"),
)


@dataclass(frozen=True, slots=True)
class Standing:
    """One model in the ranking under the headline; lengths are per cent of the axis."""

    model: str
    name: str
    value: str
    interval: str
    at: float
    low: float | None
    high: float | None
    outcome: Outcome | None
    """Of lowerfunnel against it; None for lowerfunnel itself."""
    detail: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Titled:
    """A chart with its heading."""

    chart: str
    title: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Action:
    """One bar of the funnel."""

    name: str
    colour: str
    events: str
    length: float


@dataclass(frozen=True, slots=True)
class Log:
    """The section about the log."""

    actions: tuple[Action, ...]
    rates: tuple[tuple[str, str, str], ...]
    """Rate, between what, meaning."""
    days: Titled | None
    day_actions: tuple[tuple[str, str], ...]
    delays: tuple[Titled, ...]
    quarantined: tuple[tuple[str, str], ...]
    duplicates: str
    remarks: tuple[str, ...]
    cannot: tuple[str, ...]


@dataclass(slots=True)
class Page:
    """The context of the template."""

    data: ReportData
    headline: Headline | None
    metric: str = ""
    standings: list[Standing] = field(default_factory=list)
    facts: list[tuple[str, str, str]] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    specs: dict[str, Spec] = field(default_factory=dict)
    curves: Chart | None = None
    slices: Chart | None = None
    slice_names: list[str] = field(default_factory=list)
    coverage: results.Coverage | None = None
    training: list[Titled] = field(default_factory=list)
    log: Log | None = None
    cards: list[Card] = field(default_factory=list)
    table: list[results.Line] = field(default_factory=list)
    settings: list[tuple[str, list[tuple[str, str]]]] = field(default_factory=list)


def build_page(data: ReportData) -> Page:
    """Compute the page."""
    lead = headline(data)
    page = Page(
        data=data, headline=lead, facts=_facts(data), cards=cards(data.examples), settings=_settings(data.settings)
    )
    if lead is not None:
        page.metric = metric_name(lead.metric)
        page.standings = _standings(lead)
        page.models = results.models_of(results.usable(data.rows))
        page.curves = results.curves(data.rows, lead)
        page.slices = results.slices(data.rows, lead)
        page.slice_names = sorted({row["slice"] for row in data.rows}, key=slice_order)
        page.coverage = results.coverage(data.rows, lead)
    for name, chart in (("curves", page.curves), ("slices", page.slices)):
        if chart is not None:
            page.specs[name] = chart.spec
    page.table = results.table(data.rows)
    page.training = _training(data, lead, page.specs)
    if data.scores is not None and any(sum(data.scores[name]) > 0 for name in ("held_out", "candidates", "random")):
        page.specs["scores"] = charts.score_distribution(data.scores)
    if data.quality:
        page.log = _log(data.quality, page.specs)
    return page


def _facts(data: ReportData) -> list[tuple[str, str, str]]:
    facts: Mapping[str, Any] = data.facts
    shown = [(label, compact(facts[key]), count(facts[key])) for key, label in _FACTS if facts.get(key) is not None]
    seconds = finite(data.facts.get("training_s"))
    if seconds is not None:
        shown.append(("training time", duration(seconds), f"{seconds:.1f} s"))
    for key, label in (("device", "device"), ("span", "time span of the log")):
        if facts.get(key):
            shown.append((label, str(facts[key]), str(facts[key])))
    return shown


def _standings(lead: Headline) -> list[Standing]:
    """Rank lowerfunnel and its floors, best first."""
    share = parse_metric(lead.metric).is_share
    entries: list[tuple[str, float, float | None, float | None, Outcome | None, str, str]] = [
        (OUR_MODEL, lead.value, lead.low, lead.high, None, "", "")
    ]
    entries += [(v.floor, v.value, v.low, v.high, v.outcome, v.detail, v.sentence) for v in lead.verdicts]
    longest = max([entry[1] for entry in entries] + [entry[3] or 0.0 for entry in entries]) or 1.0

    def length(value: float) -> float:
        return round(max(0.0, 100 * value / longest), 2)

    return [
        Standing(
            model=model,
            name=model_name(model),
            value=metric_value(value, lead.metric),
            interval="" if low is None or high is None else interval(low, high, share=share),
            at=length(value),
            low=None if low is None else length(low),
            high=None if high is None else length(high),
            outcome=outcome,
            detail=detail,
            sentence=sentence,
        )
        for model, value, low, high, outcome, detail, sentence in sorted(entries, key=lambda entry: -entry[1])
    ]


def _training(data: ReportData, lead: Headline | None, specs: dict[str, Spec]) -> list[Titled]:
    """Draw the loss, one validation metric and the learning rate, each where there is any."""
    by_epoch = all(finite(point.get("epoch")) is not None for point in data.training)
    x_title = "epoch" if by_epoch else "step"
    best = None if data.best_epoch is None or not by_epoch else float(data.best_epoch)
    wanted = [] if lead is None else [lead.metric, lead.metric.removeprefix("micro_")]
    valid = list(dict.fromkeys([*wanted, *(key for point in data.training for key in point if "@" in key)]))
    shown = []

    def add(name: str, key: str, title: str, share: bool | None) -> bool:
        records = [
            {"x": point.get(x_title, place), "value": point[key]}
            for place, point in enumerate(data.training)
            if finite(point.get(key)) is not None
        ]
        if not records:
            return False
        specs[name] = charts.training_curve(records, x_title=x_title, share=share, best=best)
        shown.append(Titled(name, title))
        return True

    add("loss", "loss", "Training loss", None)
    for key in valid:
        if add("valid", key, f"Validation {metric_name(key)}", parse_metric(key).is_share):
            break
    if len({point.get("learning_rate") for point in data.training}) > 1:
        add("learning_rate", "learning_rate", "Learning rate", None)
    return shown


def _log(quality: Quality, specs: dict[str, Spec]) -> Log:
    counts = {action: number for action, number in quality.get("actions", {}).items() if number > 0}
    known = [action for action in ACTION_NAMES if action in counts]
    longest = max(counts.values(), default=1)
    days = quality.get("days", ())
    drawn = None
    if days:
        specs["days"] = log_charts.events_per_day(days)
        each = quality.get("days_each", 1)
        drawn = Titled(
            "days",
            "Events per day" if each == 1 else "Events per week" if each == 7 else f"Events per {each} days",
            f"{days[0]['day']} to {days[-1]['day']}, UTC. Each step up the axis is ten times as many.",
        )
    delays = []
    for place, record in enumerate(quality.get("delays", ())):
        if sum(record["counts"]) > 0:
            specs[f"delay{place}"] = log_charts.delay(record)
            median = finite(record.get("median_h"))
            delays.append(
                Titled(
                    f"delay{place}",
                    f"From {action_name(record['origin']).lower()} to {action_name(record['target']).lower()}",
                    "" if median is None else f"Half of them within {hours(median)}.",
                )
            )
    return Log(
        actions=tuple(
            Action(action_name(a), action_colour(a), count(counts[a]), round(100 * counts[a] / longest, 2))
            for a in [*known, *sorted(set(counts) - set(known))]
        ),
        rates=tuple(
            (percent(r["rate"]), f"{action_name(r['origin'])} → {action_name(r['target'])}", r.get("meaning", ""))
            for r in quality.get("funnel", ())
            if finite(r["rate"]) is not None
        ),
        days=drawn,
        day_actions=tuple((action_name(action), action_colour(action)) for action in log_charts.actions_of(days)),
        delays=tuple(delays),
        quarantined=tuple(
            (reason, count(number))
            for reason, number in sorted(
                quality.get("quarantined", {}).items(), key=lambda entry: (-entry[1], entry[0])
            )
            if number
        ),
        duplicates=count(quality["duplicates"]) if quality.get("duplicates") else "",
        remarks=tuple(quality.get("remarks", ())),
        cannot=tuple(quality.get("cannot", ())),
    )


def _settings(settings: Mapping[str, object]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Flatten nested settings into one group per top-level table; loose keys come first, in a group without a name."""
    groups: dict[str, list[tuple[str, str]]] = {"": []}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            groups[str(key)] = list(_flat(value, ""))
        else:
            groups[""].append((str(key), _text(value)))
    return [(name, lines) for name, lines in groups.items() if lines]


def _flat(settings: Mapping[Any, object], prefix: str) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            lines += _flat(value, f"{prefix}{key}.")
        else:
            lines.append((f"{prefix}{key}", _text(value)))
    return lines


def _text(value: object) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)
