"""A study in plain words and formatted figures."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from lowerfunnel.lab.result import Comparison, Figure, RunResult, StudyResult, Verdict
from lowerfunnel.page.formats import MINUS, NOTHING, relative
from lowerfunnel.pipeline.report.formats import metric_name, metric_value, parse_metric

TONES: dict[Verdict, str] = {"better": "good", "worse": "bad", "undecided": "even", "same": "even"}
"""How a verdict is coloured."""
TAGS: dict[Verdict, str] = {"better": "ahead", "worse": "behind", "undecided": "level", "same": "level"}
"""The class of a verdict's label on a page."""
ONE_SEED = "There is one seed, so the intervals know nothing of how far another one would move a figure."


def shown_value(figure: Figure, metric: str) -> str:
    """Return a metric's value: "24.1%" or "0.1638"."""
    return NOTHING if figure.value is None else metric_value(figure.value, metric)


def shown_span(figure: Figure, metric: str) -> str:
    """Return the ends of a value's interval; empty without one."""
    if figure.low is None or figure.high is None:
        return ""
    return f"{metric_value(figure.low, metric)} to {metric_value(figure.high, metric)}"


def relative_span(figure: Figure) -> str:
    """Return "+8.1% to +16.9%"; empty without an interval."""
    return "" if figure.low is None else f"{relative(figure.low)} to {relative(figure.high)}"


def shown_difference(value: float | None, metric: str) -> str:
    """Return an absolute difference with its sign; that of shares in points of per cent."""
    if value is None:
        return NOTHING
    if value == 0:
        return "0"
    sign = "+" if value > 0 else MINUS
    if parse_metric(metric).is_share:
        return f"{sign}{abs(value) * 100:.2f} points"
    return f"{sign}{abs(value):.4f}"


def shown_setting(value: object) -> str:
    """Return a setting's value as a recipe writes it."""
    return "left out" if value is None else json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Headline:
    """What the page says first."""

    sentence: str
    summary: str


def headline(result: StudyResult) -> Headline:
    """Say which variants are better."""
    metric = result.metrics[0]
    found = [
        one
        for one in result.comparisons
        if (one.metric, one.task, one.slice) == (metric, "conversion", "all") and one.relative.value is not None
    ]
    name = metric_name(metric)
    if not found:
        return Headline("Nothing can be compared yet.", "No variant and what it is compared with are both finished.")
    if len(found) == 1:
        return Headline(_one(found[0], name), _span_of(found[0]))
    of: dict[Verdict, list[Comparison]] = {"better": [], "worse": [], "undecided": [], "same": []}
    for one in found:
        of[one.verdict].append(one)
    better, worse = len(of["better"]), len(of["worse"])
    many = f"{better or 'None'} of {len(found)} variants {'is' if better < 2 else 'are'} clearly better at {name}"
    sentence = f"{many}, {worse or 'none'} clearly worse."
    words: dict[Verdict, str] = {"better": "Better", "worse": "Worse", "undecided": "Undecided", "same": "The same"}
    listed = [
        f"{word}: {', '.join(f'{one.variant} ({relative(one.relative.value)})' for one in of[verdict])}."
        for verdict, word in words.items()
        if of[verdict]
    ]
    return Headline(sentence, " ".join(listed))


def _one(one: Comparison, name: str) -> str:
    size = relative(abs(one.relative.value or 0.0)).removeprefix("+")
    if one.verdict == "same":
        return f"{one.variant} finds exactly what {one.against} finds."
    side = "better" if (one.relative.value or 0.0) > 0 else "worse"
    if one.verdict == "undecided":
        return f"No clear difference: {one.variant} is {size} {side} than {one.against} at {name}, which may be luck."
    return f"{one.variant} is {size} {side} than {one.against} at {name}."


def _span_of(one: Comparison) -> str:
    of, against = (metric_value(figure.value or 0.0, one.metric) for figure in (one.of_variant, one.of_against))
    return f"{of} against {against}, {relative_span(one.relative)} (95% interval)."


@dataclass(frozen=True, slots=True)
class Missing:
    """Runs of one variant that are missing for one reason."""

    variant: str
    seeds: tuple[int, ...]
    reason: str
    trace: str | None

    @property
    def runs(self) -> str:
        """Which runs they are: "base, seeds 0, 1"."""
        return f"{self.variant}, seed{'s' if len(self.seeds) > 1 else ''} {', '.join(map(str, self.seeds))}"


def missing_runs(runs: Sequence[RunResult]) -> list[Missing]:
    """Put together the missing runs of a variant that have one reason."""
    groups: dict[tuple[str, str], list[RunResult]] = {}
    for run in runs:
        groups.setdefault((run.variant, run.error or "not begun"), []).append(run)
    return [
        Missing(variant, tuple(run.seed for run in of), reason, of[0].trace) for (variant, reason), of in groups.items()
    ]


def failure_sentence(runs: Sequence[RunResult]) -> str:
    """Name the runs that are missing from a study and why, in one sentence."""
    named = "; ".join(f"{one.runs}: {one.reason}" for one in missing_runs(runs))
    many = "1 run of the study is" if len(runs) == 1 else f"{len(runs)} runs of the study are"
    return f"{many} missing ({named}); the same command does them again, what is finished is kept"
