"""The charts of an experiment. Each function returns one Vega-Lite spec as plain data."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from lowerfunnel.page import Record, Spec, finish, inline

COLOUR_A = "var(--m-popularity)"
COLOUR_B = "var(--m-lowerfunnel)"
TONES = {"good": "var(--good)", "bad": "var(--bad)", "even": "var(--muted)"}
ROW_HEIGHT = 36


def forest(records: Sequence[Record], *, span: tuple[float, float], first: str | None = None) -> Spec:
    """Draw relative differences with their intervals, one to a line, around a rule at 0.

    Args:
        records: One per dot: shown, value, low, high, tone, text, tip_a, tip_b, interval, and metric where `first` is given.
        span: Ends of the axis; what lies beyond is cut off.
        first: The metric shown first, where the reader can choose one.
    """
    order = list(dict.fromkeys(record["shown"] for record in records))
    scale = alt.Scale(domain=list(span), nice=False)
    axis = alt.Axis(
        labelExpr="datum.value == 0 ? '0' : (datum.value > 0 ? '+' : '\u2212') + format(abs(datum.value), '~%')",
        grid=True,
        domain=False,
        ticks=False,
        tickCount=6,
        labelOverlap=True,
    )
    x = alt.X("value:Q", title=None, scale=scale, axis=axis)
    y = alt.Y("shown:N", title=None, sort=order, axis=alt.Axis(labelColor="var(--ink)", labelLimit=170))
    colour = alt.Color("tone:N", legend=None, scale=alt.Scale(domain=list(TONES), range=list(TONES.values())))
    tooltip = [
        alt.Tooltip("shown:N", title=" "),
        alt.Tooltip("tip_a:N", title="A"),
        alt.Tooltip("tip_b:N", title="B"),
        alt.Tooltip("text:N", title="difference"),
        alt.Tooltip("interval:N", title="95% interval"),
    ]
    base = alt.Chart(inline(records))
    if first is not None:
        base = base.transform_filter("datum.metric == metric")
    zero = alt.Chart(inline([{"value": 0}])).mark_rule(color="var(--ink)", strokeWidth=1.2).encode(x=x)
    whisker = base.mark_rule(strokeWidth=3, strokeCap="round", opacity=0.45, clip=True).encode(
        x=alt.X("low:Q", title=None, scale=scale, axis=axis), x2="high:Q", y=y, color=colour, tooltip=tooltip
    )
    dot = base.mark_point(filled=True, opacity=1, size=90, clip=True).encode(x=x, y=y, color=colour, tooltip=tooltip)
    label = base.mark_text(dy=-12, fontWeight=600, fontSize=11.5, clip=True).encode(
        x=x, y=y, text="text:N", color=colour
    )
    chart = alt.layer(zero, whisker, dot, label)
    if first is not None:
        chart = chart.add_params(alt.param(name="metric", value=first))
    return finish(chart.properties(width="container", height=ROW_HEIGHT * len(order)))


def daily(records: Sequence[Record], tips: Sequence[Record], *, first: str, units: Mapping[str, str]) -> Spec:
    """Draw a metric of both policies over the days.

    Args:
        records: One per point: metric, day (a date, or its number), policy ("A", "B"), value, share.
        tips: One per metric and day: metric, day, a, b as texts.
        first: The metric shown first.
        units: Of each metric: "count", "share", "money" or "ratio".
    """
    of_unit = {unit: sorted(name for name, other in units.items() if other == unit) for unit in ("share", "money")}
    label = (
        f"indexof({of_unit['share']}, metric) >= 0 ? format(datum.value, '~%') : "
        f"(indexof({of_unit['money']}, metric) >= 0 ? '$' : '') + format(datum.value, '~s')"
    )
    dated = all(isinstance(record["day"], str) for record in records)
    kind = "T" if dated else "Q"
    axis = alt.Axis(tickCount=6, labelOverlap=True, grid=False, format="%d %b" if dated else ",d")
    x_scale = alt.Scale(type="utc") if dated else alt.Scale(zero=False, nice=False)
    x = alt.X(f"day:{kind}", title=None if dated else "day", axis=axis, scale=x_scale)
    y = alt.Y(
        "value:Q",
        title=None,
        scale=alt.Scale(zero=True, nice=True),
        axis=alt.Axis(tickCount=5, labelExpr=label),
    )
    chosen = "datum.metric == metric"
    base = alt.Chart(inline(records)).transform_filter(chosen)
    colour = alt.Color("policy:N", legend=None, scale=alt.Scale(domain=["A", "B"], range=[COLOUR_A, COLOUR_B]))
    dash = alt.StrokeDash("policy:N", legend=None, scale=alt.Scale(domain=["A", "B"], range=[[6, 3], [1, 0]]))
    line = base.mark_line(strokeWidth=2.4, strokeJoin="round").encode(x=x, y=y, color=colour, strokeDash=dash)
    dot = base.mark_point(filled=True, opacity=1, size=34).encode(x=x, y=y, color=colour)
    layers = [line, dot, _cursor(tips, x, chosen)]
    chart = alt.layer(*layers).add_params(alt.param(name="metric", value=first))
    return finish(chart.properties(width="container", height=240))


def _cursor(tips: Sequence[Record], x: alt.X, chosen: str | None) -> alt.Chart:
    hover = alt.selection_point(
        name="hover", on="pointerover", clear="pointerout", nearest=True, encodings=["x"], empty=False
    )
    base = alt.Chart(inline(tips))
    if chosen is not None:
        base = base.transform_filter(chosen)
    rule: alt.Chart = (
        base.mark_rule(color="var(--muted)")
        .encode(
            x=x,
            opacity=alt.when(hover).then(alt.value(0.6)).otherwise(alt.value(0)),
            tooltip=[
                alt.Tooltip("when:N", title="day"),
                alt.Tooltip("a:N", title="A"),
                alt.Tooltip("b:N", title="B"),
            ],
        )
        .add_params(hover)
    )
    return rule


def settled(records: Sequence[Record]) -> Spec:
    """Draw how far apart the conversions of all days so far are, with the interval that narrows.

    Args:
        records: One per day: days (how many so far), value, low, high, text.
    """
    x = alt.X(
        "days:Q",
        title="days played",
        axis=alt.Axis(tickMinStep=1, format=",d", tickCount=6, grid=False),
        scale=alt.Scale(zero=False, nice=False),
    )
    axis = alt.Axis(
        tickCount=5,
        labelExpr="datum.value == 0 ? '0' : (datum.value > 0 ? '+' : '\u2212') + format(abs(datum.value), '~%')",
    )
    scale = alt.Scale(zero=True)
    base = alt.Chart(inline(records))
    band = base.mark_area(color=COLOUR_B, opacity=0.2).encode(
        x=x, y=alt.Y("low:Q", title=None, axis=axis, scale=scale), y2="high:Q"
    )
    zero = alt.Chart(inline([{"value": 0}])).mark_rule(color="var(--ink)", strokeWidth=1.2).encode(y="value:Q")
    y = alt.Y("value:Q", title=None, axis=axis, scale=scale)
    line = base.mark_line(color=COLOUR_B, strokeWidth=2.4, strokeJoin="round").encode(x=x, y=y)
    dot = base.mark_point(filled=True, opacity=1, color=COLOUR_B, size=34).encode(
        x=x, y=y, tooltip=[alt.Tooltip("days:Q", title="days"), alt.Tooltip("text:N", title="difference")]
    )
    layers: list[Any] = [band, zero, line, dot]
    if len(records) == 1:
        layers.insert(0, base.mark_rule(color=COLOUR_B, strokeWidth=3, opacity=0.4).encode(x=x, y="low:Q", y2="high:Q"))
    return finish(alt.layer(*layers).properties(width="container", height=240))


def coverage(records: Sequence[Record]) -> Spec:
    """Draw which share of the impressions the most shown items fill.

    Args:
        records: One per point: policy ("A", "B"), share_of_items, share_of_ads.
    """
    axis = alt.Axis(format="~%", tickCount=5, grid=True, domain=False)
    base = alt.Chart(inline(records))
    x = alt.X("share_of_items:Q", title="most shown first", axis=axis, scale=alt.Scale(domain=[0, 1]))
    y = alt.Y("share_of_ads:Q", title=None, axis=axis, scale=alt.Scale(domain=[0, 1]))
    colour = alt.Color("policy:N", legend=None, scale=alt.Scale(domain=["A", "B"], range=[COLOUR_A, COLOUR_B]))
    dash = alt.StrokeDash("policy:N", legend=None, scale=alt.Scale(domain=["A", "B"], range=[[6, 3], [1, 0]]))
    line = base.mark_line(strokeWidth=2.4, clip=True).encode(
        x=x,
        y=y,
        color=colour,
        strokeDash=dash,
        tooltip=[alt.Tooltip("policy:N"), alt.Tooltip("share_of_items:Q", format=".1%")],
    )
    ninety = (
        alt.Chart(inline([{"share_of_ads": 0.9}]))
        .mark_rule(color="var(--muted)", strokeDash=[2, 3])
        .encode(y="share_of_ads:Q")
    )
    return finish(alt.layer(ninety, line).properties(width="container", height=240))
