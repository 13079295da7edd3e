"""The charts of the last minutes as lines in a box, ready to be drawn as SVG, with their figures as words and a table.

Places are in units of the box, which is `WIDTH` wide; the plot leaves room for the labels on its left and below.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lowerfunnel.page.formats import NOTHING, count, percent
from lowerfunnel.serving.console.wording import ago, milliseconds
from lowerfunnel.serving.recent import Moment

WIDTH, HEIGHT = 340.0, 150.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 8.0, 10.0, 22.0
_LEAST_SPAN = 1e-12
"""An axis that spans less is drawn as one that spans nothing: its steps would be lost in rounding."""
Value = Callable[[Moment], float | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line: pieces between gaps, each a list of points as SVG takes it, and single points."""

    name: str
    number: int
    """Its colour and dash, from 0."""
    pieces: tuple[str, ...]
    dots: tuple[tuple[float, float], ...]
    latest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """One chart with everything that stands beside it."""

    key: str
    title: str
    about: str
    """What is shown, one sentence."""
    figure: str
    """The figure of the last minute."""
    small: str
    """What stands behind the figure."""
    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...]
    """y and label."""
    marks: tuple[tuple[float, str], ...]
    """x and the version that began there."""
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """The table, latest first: the time, then a column for each line."""

    @property
    def words(self) -> str:
        """What somebody hears who does not see the chart."""
        latest = "; ".join(f"{line.name} {line.latest}" for line in self.lines)
        versions = f" The version changed {len(self.marks)} times." if self.marks else ""
        return f"{self.title}, last minute: {self.figure} {self.small}. Last value shown: {latest}.{versions}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stripe:
    """A version for as long as it answered, as a stripe."""

    x: float
    width: float
    number: int
    """Tells neighbours apart: 0 or 1."""
    version: str
    share: str
    """Of the answers of the span."""


def charts_of(
    fine: Sequence[Moment], coarse: Sequence[Moment], minute: Moment, stripes: Sequence[Stripe]
) -> tuple[Chart, ...]:
    """Return all charts.

    Args:
        fine: The stretches that are drawn, earliest first.
        coarse: The same time in longer stretches, for the tables.
        minute: The last minute as one stretch.
        stripes: Which version answered when, over the time of `fine`.
    """
    marks = tuple((stripe.x, stripe.version) for stripe in stripes[1:])

    def chart(key: str, title: str, about: str, figure: str, small: str, shown: Shown, **limits: float) -> Chart:
        low, high, step = _scale([v for _, value in shown.values for v in map(value, fine)], **limits)
        return Chart(
            key=key,
            title=title,
            about=about,
            figure=figure,
            small=small,
            lines=tuple(
                _line(name, number, fine, value, low=low, high=high, write=shown.write)
                for number, (name, value) in enumerate(shown.values)
            ),
            ticks=tuple(
                (_y(low + place * step, low, high), shown.tick(low + place * step))
                for place in range(round((high - low) / step) + 1)
            ),
            marks=marks,
            heads=("Time", *(name for name, _ in shown.values)),
            rows=tuple(
                (ago(moment.ago_s), *(_written(value(moment), shown.write) for _, value in shown.values))
                for moment in reversed(coarse)
            ),
        )

    answers = f"{count(minute.answers)} {'answer' if minute.answers == 1 else 'answers'} in the last minute"
    if minute.answers:
        answers += f", {percent(minute.unknown_user / minute.answers)} for unknown users"
    return (
        chart(
            "latency",
            "Latency",
            "Half of the answers were faster than p50, all but one in a hundred faster than p99.",
            milliseconds(minute.p50_ms),
            f"p50, {milliseconds(minute.p99_ms)} p99",
            Shown((("p50", lambda m: m.p50_ms), ("p99", lambda m: m.p99_ms)), milliseconds, _tick_ms),
        ),
        chart(
            "requests",
            "Requests",
            "Answers a second.",
            _per_s(minute.per_s),
            answers,
            Shown((("answers", lambda m: m.per_s),), _per_s, lambda v: f"{v:g}"),
            least_high=1.0,
        ),
        chart(
            "shares",
            "Not in full",
            "Partial: fewer candidates than asked for. Degraded: something was left out to answer in time. "
            "Shed: turned away as too many came.",
            _written(_partial(minute), percent),
            f"partial, {_written(_degraded(minute), percent)} degraded, {_written(_shed(minute), percent)} shed",
            Shown((("partial", _partial), ("degraded", _degraded), ("shed", _shed)), percent, _tick_share),
            least_high=0.1,
            most_high=1.0,
        ),
        chart(
            "recall",
            "Recall probe",
            "Share of the exact answer that the index found, for some of the requests.",
            _written(minute.recall, percent),
            "of the exact answer" if minute.recall is not None else "no probe in the last minute",
            Shown((("recall", lambda m: m.recall),), percent, _tick_share),
            top=1.0,
        ),
        chart(
            "items",
            "Distinct items",
            "Different items among the last answers.",
            _written(minute.items, count),
            "among the last answers",
            Shown((("items", lambda m: m.items),), count, _tick_count),
            least_high=10.0,
        ),
        chart(
            "advertisers",
            "Distinct advertisers",
            "Different advertisers among the last answers.",
            _written(minute.advertisers, count),
            "among the last answers",
            Shown((("advertisers", lambda m: m.advertisers),), count, _tick_count),
            least_high=5.0,
        ),
    )


@dataclass(frozen=True, slots=True)
class Shown:
    """The lines of a chart by name, and how a value and a tick of theirs are written."""

    values: tuple[tuple[str, Value], ...]
    write: Callable[[float], str]
    tick: Callable[[float], str]


def stripes_of(moments: Sequence[Moment]) -> tuple[Stripe, ...]:
    """Return which version answered when; a stretch without answers belongs to the version before it.

    Args:
        moments: Stretches that do not overlap: one that holds two versions is where the second one began.
    """
    answers: dict[str, int] = {}
    for moment in moments:
        for version, number in moment.versions.items():
            answers[version] = answers.get(version, 0) + number
    total = sum(answers.values())
    runs: list[list[int | str]] = []
    for place, moment in enumerate(moments):
        for version in moment.versions:
            if not runs or runs[-1][1] != version:
                runs.append([place, version])
    if not runs:
        return ()
    ends = [run[0] for run in runs[1:]] + [len(moments)]
    return tuple(
        Stripe(
            x=_x(int(first), len(moments)),
            width=max(1.0, _x(int(end), len(moments)) - _x(int(first), len(moments))),
            number=number % 2,
            version=str(version),
            share=percent(answers[str(version)] / total),
        )
        for number, ((first, version), end) in enumerate(zip(runs, ends, strict=True))
    )


def _x(place: int, places: int) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * place / places, 2)


def _y(value: float, low: float, high: float) -> float:
    return round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - low) / (high - low)), 2)


def _line(
    name: str,
    number: int,
    moments: Sequence[Moment],
    value: Value,
    *,
    low: float,
    high: float,
    write: Callable[[float], str],
) -> Line:
    pieces: list[list[tuple[float, float]]] = [[]]
    latest = None
    for place, moment in enumerate(moments):
        here = value(moment)
        if here is None:
            pieces.append([])
            continue
        latest = here
        pieces[-1].append((_x(place + 1, len(moments)), _y(min(max(here, low), high), low, high)))
    return Line(
        name=name,
        number=number,
        pieces=tuple(" ".join(f"{x:g},{y:g}" for x, y in piece) for piece in pieces if len(piece) > 1),
        dots=tuple(piece[0] for piece in pieces if len(piece) == 1),
        latest=_written(latest, write),
    )


def _scale(
    values: Sequence[float | None], *, least_high: float = 0.0, most_high: float = math.inf, top: float | None = None
) -> tuple[float, float, float]:
    """Return the lowest and highest value of an axis and the step of its ticks: 2 to 5 steps of 1, 2 or 5 times ten."""
    there = [value for value in values if value is not None]
    low, high = 0.0, max([*there, least_high])
    if top is not None:
        low, high = min([*there, 0.9]), top
    if high - low < _LEAST_SPAN:
        high = low + 1.0
    rough = (high - low) / 3
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(scale * factor for factor in (1, 2, 5, 10) if scale * factor >= rough * (1 - 1e-9))
    low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return low, min(high, most_high), step


def _written(value: float | None, write: Callable[[float], str]) -> str:
    return NOTHING if value is None else write(value)


def _of_answers(part: int, moment: Moment) -> float | None:
    return part / moment.answers if moment.answers else None


def _partial(moment: Moment) -> float | None:
    return _of_answers(moment.partial, moment)


def _degraded(moment: Moment) -> float | None:
    return _of_answers(moment.degraded, moment)


def _shed(moment: Moment) -> float | None:
    """Of all that came, answered or not."""
    came = moment.answers + moment.shed
    return moment.shed / came if came else None


def _per_s(value: float) -> str:
    return f"{value:.2g}/s" if value < 10 else f"{count(value)}/s"


def _tick_ms(value: float) -> str:
    return f"{value:g} ms" if value < 1000 else f"{value / 1000:g} s"


def _tick_share(value: float) -> str:
    return f"{value * 100:g}%"


def _tick_count(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 10_000 else f"{value:g}"
