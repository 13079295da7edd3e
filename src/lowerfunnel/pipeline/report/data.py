"""What a report shows, as plain data: everything here survives a round trip through JSON.

Only `title`, `data`, `model_version` and `created` are needed. A section whose data is missing disappears from the page
or says why it is not there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NotRequired, Required, TypedDict

Origin = Literal["real", "synthetic"]

OUR_MODEL = "lowerfunnel"
"""The model that the report is about; every other one in the rows is a floor."""


class MetricRow(TypedDict):
    """One row of metrics.json."""

    metric: str
    """Like "recall@100"."""
    task: str
    slice: str
    model: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int | None
    """Queries (users) behind the value."""
    data: Origin


class Comparison(TypedDict):
    """The paired difference of lowerfunnel minus one floor, on one metric."""

    metric: str
    floor: str
    difference: float
    ci_low: float
    ci_high: float
    task: NotRequired[str]
    """`conversion` unless said."""
    slice: NotRequired[str]
    """`all` unless said."""


class Delay(TypedDict):
    """How long after one action another follows, in hours."""

    origin: str
    """The action that starts the clock, like "view"."""
    target: str
    """The action that stops it, like "checkout"."""
    edges_h: Sequence[float]
    """Ascending; one more than `counts`."""
    counts: Sequence[float]
    median_h: NotRequired[float | None]


class Day(TypedDict):
    """Events of one day (or week), per action."""

    day: str
    """Its first day, like "2017-11-25" (UTC)."""
    counts: Mapping[str, int]


class FunnelRate(TypedDict):
    """How often one action is followed by another."""

    origin: str
    target: str
    rate: float
    meaning: NotRequired[str]
    """What exactly is divided by what, in plain words."""


class Quality(TypedDict, total=False):
    """What is known of the log: the keys of `quality.json` that the page shows. Every key is optional."""

    actions: Mapping[str, int]
    days: Sequence[Day]
    days_each: int
    """Days that one entry of `days` spans; 1 unless said."""
    funnel: Sequence[FunnelRate]
    delays: Sequence[Delay]
    quarantined: Mapping[str, int]
    """Reason -> rows."""
    duplicates: int
    remarks: Sequence[str]
    """What looks wrong with this log, one sentence each."""
    cannot: Sequence[str]
    """What this log cannot do, one sentence each ("It has no time: ...")."""


class ScoreDistribution(TypedDict):
    """Histograms over the same edges."""

    edges: Sequence[float]
    held_out: Sequence[float]
    """Scores of held-out positives."""
    candidates: Sequence[float]
    """Scores of the first 100 candidates of each user."""
    random: Sequence[float]
    """Scores of items drawn uniformly from the catalogue."""


class ItemFields(TypedDict, total=False):
    """An item with whatever is known of it."""

    item_id: Required[str | int]
    title: str | None
    category: str | None
    advertiser: str | None
    price: float | None
    currency: str | None


class ExampleEvent(ItemFields):
    """One event of a user's timeline."""

    action: str
    time: NotRequired[str | None]
    """As shown; None in a log without time."""


class ExampleCandidate(ItemFields):
    """One item that the model returned."""

    rank: int
    """From 1."""
    score: float
    """Cosine or whatever the index ranks by."""
    touched_before: NotRequired[bool]
    held_out: NotRequired[bool]


class ExampleTarget(ItemFields):
    """A held-out purchase."""

    rank: int | None
    """Its rank among the candidates, from 1; None where it is not among the first `depth`."""
    time: NotRequired[str | None]


class Example(TypedDict):
    """One user: what went before, what the model returned, what was bought."""

    user_id: str | int
    timeline: Sequence[ExampleEvent]
    """Oldest first."""
    candidates: Sequence[ExampleCandidate]
    held_out: Sequence[ExampleTarget]
    depth: NotRequired[int]
    """How many candidates were searched for the held-out purchases; 1000 unless said."""
    events_before: NotRequired[int]
    """Length of the whole timeline where `timeline` is only its end."""


class Facts(TypedDict, total=False):
    """The size of what was trained. Every key is optional."""

    users: int
    items: int
    advertisers: int
    events: int
    train_examples: int
    test_users: int
    test_pairs: int
    parameters: int
    training_s: float
    device: str
    span: str
    """Time span of the log, as shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportData:
    """Everything on the page."""

    title: str
    """Name of the recipe."""
    data: Origin
    """Where the log comes from. Said beside every figure."""
    model_version: str
    """The one version of both towers and the index."""
    created: str
    """When the run was evaluated, UTC, as shown; passed in, so that the page is a function of its data."""
    description: str = ""
    """What the run is, in a sentence or two; shown under the headline."""
    noun: str = "purchases"
    """What is held out, in the plural."""
    facts: Facts = field(default_factory=Facts)
    """Sizes, shown as a strip under the headline."""
    rows: Sequence[MetricRow] = ()
    """The rows of metrics.json."""
    comparisons: Sequence[Comparison] = ()
    """Paired differences; the metric of the first one leads the page."""
    training: Sequence[Mapping[str, float]] = ()
    """The training history, in order, one entry per validation: `epoch`, `step`, `loss`, `examples_per_s` and, under
    their names, the validation metrics (the keys with an "@")."""
    best_epoch: int | None = None
    """The epoch whose weights were kept."""
    quality: Quality | None = None
    """What is known of the log."""
    scores: ScoreDistribution | None = None
    """How the scores of three kinds of items are distributed."""
    examples: Sequence[Example] = ()
    """Users to look at."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """The resolved configuration, nested."""
    warnings: Sequence[str] = ()
    """Sentences that a reader of the figures must know."""

    def __post_init__(self) -> None:
        if self.data not in ("real", "synthetic"):
            raise ValueError(
                f"data must be 'real' or 'synthetic', got {self.data!r}: every number on the page says which"
            )
        strangers = sorted({str(row["data"]) for row in self.rows if row["data"] != self.data})
        if strangers:
            raise ValueError(f"the report is about {self.data} data, but some of its rows are {', '.join(strangers)}")
        if self.scores is not None:
            bins = len(self.scores["edges"]) - 1
            for name in ("held_out", "candidates", "random"):
                if len(self.scores[name]) != bins:
                    raise ValueError(
                        f"scores: {bins + 1} edges need {bins} counts, {name} has {len(self.scores[name])}"
                    )
