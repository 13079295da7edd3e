"""The result of a study as plain data: what `study.json` holds and the page shows."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from lowerfunnel.evaluation.metrics_json import DataKind
from lowerfunnel.lab.study import Published

RESULT_VERSION = 1
SIGNIFICANT_DIGITS = 9
"""Digits kept in `study.json`."""

Verdict = Literal["better", "worse", "undecided", "same"]
State = Literal["finished", "failed", "missing"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A value with the ends of its 95% interval; None where there is none."""

    value: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, row_3: Any, *, least: float = -math.inf, most: float = math.inf) -> "Figure":
        """Read a row of value, low and high, in which NaN is none.

        Of the interval the part from `least` to `most` is taken, the values that there can be: a stretched bootstrap
        knows of no bounds, and what lies outside them cannot be the truth.
        """
        value, low, high = (float(one) if math.isfinite(one) else None for one in row_3)
        if low is None or high is None:
            return cls(value=value, low=None, high=None)
        return cls(value=value, low=max(low, least), high=min(high, most))


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """One run.

    Attributes:
        variant: Its variant.
        seed: Its seed.
        folder: Its folder, from that of the study.
        state: Whether it is finished, has failed, or was never begun.
        error: Why it failed.
        trace: File that tells more, from the study's folder.
        trained_s: Seconds of training.
        examples_per_s: At the end of training.
        parameters: Of the model.
        peak_memory_mb: The most memory that the process held while training, in 10^6 bytes.
        threads: CPU threads that it trained with.
        device: Where it trained.
        best_epoch: The epoch whose weights were kept.
        coverage: Share of the items that fill 90% of the first hundred places.
        advertiser_coverage: The same of the advertisers.
        within_advertiser_auc: Chance that a held-out item scores above another one of its advertiser; one half is luck.
    """

    variant: str
    seed: int
    folder: str
    state: State
    error: str | None = None
    trace: str | None = None
    trained_s: float | None = None
    examples_per_s: float | None = None
    parameters: int | None = None
    peak_memory_mb: float | None = None
    threads: int | None = None
    device: str | None = None
    best_epoch: int | None = None
    coverage: float | None = None
    advertiser_coverage: float | None = None
    within_advertiser_auc: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """A metric of one variant on a slice of a task.

    Attributes:
        variant: The variant.
        task: Such as "conversion".
        slice: Such as "all".
        metric: Such as "recall@100".
        figure: Mean over the seeds, with the interval over users and seeds.
        by_seed: The metric of each seed, by the seed as a text.
        users: Different users over all seeds.
        pairs: Held-out pairs over all seeds.
    """

    variant: str
    task: str
    slice: str
    metric: str
    figure: Figure
    by_seed: Mapping[str, float]
    users: int
    pairs: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A variant beside the one that it is compared with, on the pairs that both have.

    Attributes:
        variant: The variant.
        against: What it is compared with.
        task: Such as "conversion".
        slice: Such as "all".
        metric: Such as "recall@100".
        seeds: Seeds that both have finished and that have pairs in the slice.
        users: Different users over all seeds.
        pairs: Held-out pairs over all seeds.
        of_variant: The variant's metric.
        of_against: The other's.
        difference: The first minus the second.
        relative: The difference as a share of the second.
        verdict: "better" and "worse" where the interval of the difference leaves out 0, "same" where it is 0 alone.
    """

    variant: str
    against: str
    task: str
    slice: str
    metric: str
    seeds: tuple[int, ...]
    users: int
    pairs: int
    of_variant: Figure
    of_against: Figure
    difference: Figure
    relative: Figure
    verdict: Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A setting that differs between a variant and what it is compared with; None is a setting left out."""

    setting: str
    was: object
    now: object


@dataclass(frozen=True, kw_only=True, slots=True)
class VariantResult:
    """A variant, and what it changes.

    Attributes:
        name: Its name.
        description: What it is.
        against: What it is compared with; None for the base.
        changes: The settings that differ.
        published: What others report.
        held: In words, whether it was the same here; None where nothing was published or nothing could be compared.
        left_out: Held-out pairs that only one of both has and that are not compared, by task; empty where there are
            none.
    """

    name: str
    description: str
    against: str | None
    changes: tuple[Change, ...]
    published: Published | None = None
    held: str | None = None
    left_out: Mapping[str, int] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyResult:
    """Everything that a study found.

    Attributes:
        name: Of the study.
        description: What was asked.
        recipe: Name of the base recipe.
        data: "real" or "synthetic".
        lowerfunnel: Version of the program.
        seeds: Seeds of every variant.
        metrics: What was compared, the main metric first.
        n_boot: Resamples behind each interval.
        variants: The variants, the base first.
        runs: All runs.
        values: Metrics of each variant.
        comparisons: Each variant beside what it is compared with.
    """

    name: str
    description: str
    recipe: str
    data: DataKind
    lowerfunnel: str
    seeds: tuple[int, ...]
    metrics: tuple[str, ...]
    n_boot: int
    variants: tuple[VariantResult, ...]
    runs: tuple[RunResult, ...]
    values: tuple[Value, ...]
    comparisons: tuple[Comparison, ...]

    @property
    def unfinished(self) -> list[RunResult]:
        """The runs that are missing from the result."""
        return [run for run in self.runs if run.state != "finished"]

    def comparison(self, variant: str, metric: str, *, task: str = "conversion", of: str = "all") -> Comparison | None:
        """Return one comparison; None if it could not be made."""
        key = (variant, metric, task, of)
        return next((one for one in self.comparisons if (one.variant, one.metric, one.task, one.slice) == key), None)

    def value(self, variant: str, metric: str, *, task: str = "conversion", of: str = "all") -> Value | None:
        """Return one value; None if no run of the variant is finished."""
        key = (variant, metric, task, of)
        return next((one for one in self.values if (one.variant, one.metric, one.task, one.slice) == key), None)

    def to_json(self) -> dict[str, Any]:
        """Return the content of `study.json`; figures keep nine significant digits."""
        rounded: dict[str, Any] = _rounded({"version": RESULT_VERSION, **asdict(self)})
        return rounded


def verdict_of(difference: Figure) -> Verdict:
    """Return what a difference says about a metric of which more is better.

    Example:
        >>> verdict_of(Figure(value=0.1, low=0.02, high=0.2)), verdict_of(Figure(value=0.1, low=-0.02, high=0.2))
        ('better', 'undecided')
    """
    if difference.value is None or difference.low is None or difference.high is None:
        return "undecided"
    if difference.low == difference.high == difference.value == 0:
        return "same"
    return "better" if difference.low > 0 else "worse" if difference.high < 0 else "undecided"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    if isinstance(value, float) and value != 0 and math.isfinite(value):
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
    return value
