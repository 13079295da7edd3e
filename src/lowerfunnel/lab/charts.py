"""The charts of a study. Each function returns one Vega-Lite spec as plain data."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from lowerfunnel.page import Record, Spec, finish, inline

ROW_HEIGHT = 36
_TONES = {"good": "var(--good)", "bad": "var(--bad)", "even": "var(--muted)"}
_COLOUR = alt.Color("tone:N", legend=None, scale=alt.Scale(domain=list(_TONES), range=list(_TONES.values())))
_SIGNED = "datum.value == 0 ? '0' : (datum.value > 0 ? '+' : '\u2212') + format(abs(datum.value), '~%')"
_PLAIN = "indexof(shares, metric) >= 0 ? format(datum.value, '~%') : format(datum.value, '~g')"


def forest(records: Sequence[Record], order: Sequence[str], *, first: Mapping[str, str]) -> Spec:
    """Draw relative differences with their intervals, one to a line, around a rule at 0.

    Args:
        records: One per dot: shown, value, low, high (where its line ends), tone, text, interval, of, against, n, and
            the value of every parameter.
        order: What stands at the lines, from top to bottom.
        first: The parameters by which the reader chooses the dots, each with its first value.
    """
    axis = alt.Axis(labelExpr=_SIGNED, grid=True, domain=False, ticks=False, tickCount=6, labelOverlap=True)
    scale = alt.Scale(zero=True, nice=False, padding=24)
    x = alt.X("value:Q", title=None, scale=scale, axis=axis)
    y = alt.Y("shown:N", title=None, sort=list(order), axis=alt.Axis(labelColor="var(--ink)", labelLimit=200))
    tooltip = [
        alt.Tooltip("shown:N", title=" "),
        alt.Tooltip("text:N", title="difference"),
        alt.Tooltip("interval:N", title="95% interval"),
        alt.Tooltip("of:N", title="value"),
        alt.Tooltip("against:N", title="compared with"),
        alt.Tooltip("n:N", title="users"),
    ]
    base = alt.Chart(inline(records)).transform_filter(" && ".join(f"datum.{name} == {name}" for name in first))
    zero = alt.Chart(inline([{"value": 0}])).mark_rule(color="var(--ink)", strokeWidth=1.2).encode(x=x)
    whisker = base.mark_rule(strokeWidth=3, strokeCap="round", opacity=0.45).encode(
        x=alt.X("low:Q", title=None, scale=scale, axis=axis), x2="high:Q", y=y, color=_COLOUR, tooltip=tooltip
    )
    dot = base.mark_point(filled=True, opacity=1, size=90).encode(x=x, y=y, color=_COLOUR, tooltip=tooltip)
    label = base.mark_text(dy=-12, fontWeight=600, fontSize=11.5).encode(x=x, y=y, text="text:N", color=_COLOUR)
    chart = alt.layer(zero, whisker, dot, label).add_params(*_params(first))
    return finish(chart.properties(width="container", height=ROW_HEIGHT * len(order)))


def seeds(
    records: Sequence[Record], means: Sequence[Record], order: Sequence[str], *, first: str, shares: Sequence[str]
) -> Spec:
    """Draw each seed's value of a metric, one variant to a line, with a tick at their mean.

    Args:
        records: One per seed: metric, shown, seed, value, text.
        means: One per variant and metric: metric, shown, value, text.
        order: The variants, from top to bottom.
        first: The metric shown first.
        shares: The metrics that are shown in per cent.
    """
    axis = alt.Axis(labelExpr=_PLAIN, grid=True, domain=False, ticks=False, tickCount=6, labelOverlap=True)
    x = alt.X("value:Q", title=None, scale=alt.Scale(zero=False, nice=False, padding=24), axis=axis)
    y = alt.Y("shown:N", title=None, sort=list(order), axis=alt.Axis(labelColor="var(--ink)", labelLimit=200))
    chosen = "datum.metric == metric"
    dot = (
        alt.Chart(inline(records))
        .transform_filter(chosen)
        .mark_point(filled=True, opacity=0.7, size=80, color="var(--m-lowerfunnel)")
        .encode(x=x, y=y, tooltip=[alt.Tooltip("seed:N", title="seed"), alt.Tooltip("text:N", title="value")])
    )
    tick = (
        alt.Chart(inline(means))
        .transform_filter(chosen)
        .mark_tick(color="var(--ink)", thickness=2.5, height=20)
        .encode(x=x, y=y, tooltip=[alt.Tooltip("shown:N", title=" "), alt.Tooltip("text:N", title="mean")])
    )
    chart = alt.layer(tick, dot).add_params(
        alt.param(name="metric", value=first), alt.param(name="shares", value=list(shares))
    )
    return finish(chart.properties(width="container", height=(ROW_HEIGHT - 6) * len(order)))


def cost(records: Sequence[Record], *, first: str, shares: Sequence[str]) -> Spec:
    """Draw what each variant finds over how long it trains.

    Args:
        records: One per variant and metric: metric, shown, seconds, value, low, high, tone, text, took.
        first: The metric shown first.
        shares: The metrics that are shown in per cent.
    """
    x = alt.X(
        "seconds:Q",
        title="seconds of training",
        scale=alt.Scale(zero=True, nice=True),
        axis=alt.Axis(grid=True, tickCount=6),
    )
    y_axis = alt.Axis(labelExpr=_PLAIN, tickCount=5)
    y_scale = alt.Scale(zero=False, nice=True)
    base = alt.Chart(inline(records)).transform_filter("datum.metric == metric")
    tooltip = [
        alt.Tooltip("shown:N", title=" "),
        alt.Tooltip("text:N", title="value"),
        alt.Tooltip("took:N", title="training"),
    ]
    whisker = base.mark_rule(strokeWidth=2, opacity=0.35).encode(
        x=x, y=alt.Y("low:Q", title=None, axis=y_axis, scale=y_scale), y2="high:Q", color=_COLOUR
    )
    y = alt.Y("value:Q", title=None, axis=y_axis, scale=y_scale)
    dot = base.mark_point(filled=True, opacity=1, size=90).encode(x=x, y=y, color=_COLOUR, tooltip=tooltip)
    label = base.mark_text(dx=9, align="left", fontWeight=600, fontSize=11.5).encode(
        x=x, y=y, text="shown:N", color=_COLOUR
    )
    chart = alt.layer(whisker, dot, label).add_params(
        alt.param(name="metric", value=first), alt.param(name="shares", value=list(shares))
    )
    return finish(chart.properties(width="container", height=320))


def _params(first: Mapping[str, str]) -> list[Any]:
    return [alt.param(name=name, value=value) for name, value in first.items()]
