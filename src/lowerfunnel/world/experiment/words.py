"""An experiment in plain words and formatted figures."""

from dataclasses import dataclass
from typing import Literal

from lowerfunnel.page.formats import MINUS, NOTHING, compact, count, percent, relative
from lowerfunnel.world.experiment.metrics import METRICS, Metric
from lowerfunnel.world.experiment.result import Experiment, Figure, Row

Tone = Literal["good", "bad", "even"]

COVERAGE = (
    Metric(
        name="item_coverage",
        shown="Item coverage",
        numerator="",
        unit="share",
        wanted="neither",
        meaning="share of all items that fill 90% of the impressions",
    ),
    Metric(
        name="advertiser_coverage",
        shown="Advertiser coverage",
        numerator="",
        unit="share",
        wanted="neither",
        meaning="share of all advertisers that fill 90% of the impressions",
    ),
)
BY_NAME = {metric.name: metric for metric in (*METRICS, *COVERAGE)}


def shown_value(value: float | None, metric: Metric) -> str:
    """Return a metric's value: 1,234, 4.2%, $12.30 or 3.41."""
    if value is None:
        return NOTHING
    if metric.unit == "count":
        return compact(value)
    if metric.unit == "share":
        return percent(value)
    if metric.unit == "money":
        sign = MINUS if value < 0 else ""
        return f"{sign}${compact(abs(value)) if abs(value) >= 1000 else f'{abs(value):.2f}'}"
    return f"{value:.2f}"


def shown_difference(value: float | None, metric: Metric) -> str:
    """Return a difference with its sign; that of shares in points of per cent."""
    if value is None:
        return NOTHING
    if value == 0:
        return "0"
    sign = "+" if value > 0 else MINUS
    text = shown_value(abs(value), metric)
    return f"{sign}{text.removesuffix('%')} points" if metric.unit == "share" else f"{sign}{text}"


def relative_interval(figure: Figure) -> str:
    """Return "+8.1% to +16.9%"; empty without an interval."""
    return "" if figure.low is None else f"{relative(figure.low)} to {relative(figure.high)}"


def is_clear(figure: Figure) -> bool:
    """Whether the interval leaves out 0."""
    return figure.low is not None and figure.high is not None and (figure.low > 0 or figure.high < 0)


def tone(row: Row, metric: Metric) -> Tone:
    """Return whether b is clearly better, clearly worse, or neither."""
    if metric.wanted == "neither" or not is_clear(row.relative) or row.relative.value is None:
        return "even"
    return "good" if (row.relative.value > 0) == (metric.wanted == "more") else "bad"


@dataclass(frozen=True, slots=True)
class Headline:
    """What the page says first."""

    sentence: str
    summary: str


def headline(result: Experiment) -> Headline:
    """Say whether b sells more than a."""
    row = result.row("conversions")
    a, b, change = result.policy_a, result.policy_b, row.relative
    sold = f"{b} sells {shown_value(row.b.value, BY_NAME['conversions'])} times where {a} sells"
    summary = f"{sold} {shown_value(row.a.value, BY_NAME['conversions'])} times, to the same {count(row.n)} people"
    if change.value is None:
        return Headline(f"{a} sells nothing, so nothing can be compared with it.", f"{summary}.")
    summary += f": {relative(change.value)}"
    summary += f" (95% interval {relative_interval(change)})." if change.low is not None else "."
    size = relative(abs(change.value)).removeprefix("+")
    if row.difference.low == row.difference.high == 0:
        return Headline(f"{b} sells exactly what {a} sells.", summary)
    more = "more" if change.value > 0 else "less"
    if is_clear(change):
        return Headline(f"{b} sells {size} {more} than {a}.", summary)
    if change.value == 0:
        return Headline(f"No clear difference: {b} sells as often as {a}.", summary)
    return Headline(f"No clear difference: {b} sells {size} {more} than {a}, which may be luck.", summary)


def power_sentences(result: Experiment) -> list[str]:
    """Say what an ordinary A/B test of these users would see of the conversions."""
    row = result.row("conversions")
    power = row.power
    if power is None or power.detectable_relative is None:
        return []
    sentences = [
        (
            f"An ordinary A/B test shows each user one policy alone. With these {count(row.n)} users, half in each group, it "
            f"would notice a change of the conversions by {percent(power.detectable_relative)} or more (4 times in 5, with a "
            "false alarm 1 time in 20)."
        )
    ]
    if power.users_per_group is None:
        sentences.append("There is no difference here for it to find.")
    else:
        sentences.append(
            f"To notice the {relative(row.relative.value)} found here it would need about "
            f"{compact(power.users_per_group)} users in each group."
        )
    if power.saved is not None and power.saved > 0:
        sentences.append(
            f"This experiment gave every user both policies and the same luck, which takes {percent(power.saved)} of the "
            "variance away."
        )
    return sentences
