"""The charts about the models: results over K, slices, training, scores.

Each function returns one Vega-Lite spec, built with Altair, as plain data. All of them are as wide as their place on
the page. Parameters and views are named here, because Altair would number them over the life of the process.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from lowerfunnel.page.charts import Record, Spec, finish, inline
from lowerfunnel.pipeline.report.data import OUR_MODEL, ScoreDistribution
from lowerfunnel.pipeline.report.formats import SHARES, model_name
from lowerfunnel.pipeline.report.palette import DASHES, SHAPES, model_colour

CURVE_HEIGHT = 360
_LABEL_GAP = 15
"""Pixels that two labels at the ends of lines keep between them."""

_IS_SHARE = f"indexof({sorted(SHARES)}, family) >= 0"


def model_scale(models: Sequence[str], values: Mapping[str, Any] | None = None) -> alt.Scale:
    """Map the shown names of models to their colours, or to `values`."""
    look = [model_colour(model) if values is None else values.get(model, values["popularity"]) for model in models]
    return alt.Scale(domain=[model_name(model) for model in models], range=look)


def ours_or_floor(ours: float, floor: float) -> Any:
    """Choose a width, size or opacity: one for lowerfunnel, one for all floors."""
    return alt.when(alt.datum.shown == model_name(OUR_MODEL)).then(alt.value(ours)).otherwise(alt.value(floor))


def spread(heights: Sequence[float], gap: float, top: float) -> list[float]:
    """Move labels as little as possible apart, so that neighbours keep `gap` and none lies outside [0, top]."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    placed = [0.0] * len(heights)
    floor = 0.0
    for i in order:
        placed[i] = max(heights[i], floor)
        floor = placed[i] + gap
    ceiling = top
    for i in reversed(order):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - gap
    return placed


def curves(
    rows: Sequence[Record], ends: Sequence[Record], tips: Sequence[Record], models: Sequence[str], first: Record
) -> Spec:
    """Draw a metric over K for every model, with interval bands.

    Args:
        rows: One record per point: task and slice as numbers, family, k, shown, value, low, high.
        ends: One record per line: task, family, slice, k, shown, y, where its label stands.
        tips: One record per K: task, family, slice, k and the text of model i under `m{i}`.
        models: All models, in order.
        first: What is shown first: task, family, slice.
    """
    params = [alt.param(name=name, value=first[name]) for name in ("task", "family", "slice")]
    chosen = "datum.task == task && datum.family == family && datum.slice == slice"
    ks = sorted({int(row["k"]) for row in rows})
    x = alt.X(
        "k:Q",
        title="length of the candidate list, K",
        scale=alt.Scale(type="log", domain=[ks[0], max(ks[-1], ks[0] + 1)], nice=False),
        axis=alt.Axis(values=ks, format=",d", labelOverlap=True),
    )
    y_axis = alt.Axis(labelExpr=f"{_IS_SHARE} ? format(datum.value, '~%') : format(datum.value, '~g')", tickCount=6)
    y = alt.Y("value:Q", title=None, axis=y_axis, scale=alt.Scale(zero=True, nice=False))
    colour = alt.Color("shown:N", scale=model_scale(models), legend=None)
    base = alt.Chart(inline(rows)).transform_filter(chosen)
    band = base.mark_area().encode(
        x=x,
        y=alt.Y("low:Q", title=None, axis=y_axis, scale=alt.Scale(zero=True, nice=False)),
        y2="high:Q",
        color=colour,
        opacity=ours_or_floor(0.2, 0.12),
    )
    line = base.mark_line(strokeCap="round", strokeJoin="round").encode(
        x=x,
        y=y,
        color=colour,
        strokeDash=alt.StrokeDash("shown:N", scale=model_scale(models, DASHES), legend=None),
        strokeWidth=ours_or_floor(3.2, 1.7),
    )
    dot = base.mark_point(filled=True, opacity=1).encode(
        x=x,
        y=y,
        color=colour,
        shape=alt.Shape("shown:N", scale=model_scale(models, SHAPES), legend=None),
        size=ours_or_floor(60, 30),
    )
    names = (
        alt.Chart(inline(ends))
        .transform_filter(chosen)
        .mark_text(align="left", dx=10, baseline="middle", fontSize=12.5, limit=130)
        .encode(x=x, y=alt.Y("y:Q"), text="shown:N", color=colour)
    )
    hover = alt.selection_point(
        name="hover", on="pointerover", clear="pointerout", nearest=True, encodings=["x"], empty=False
    )
    cursor = (
        alt.Chart(inline(tips))
        .transform_filter(chosen)
        .mark_rule(color="var(--muted)", strokeWidth=1)
        .encode(
            x=x,
            opacity=alt.when(hover).then(alt.value(0.6)).otherwise(alt.value(0)),
            tooltip=[alt.Tooltip("k:Q", title="K", format=",d")]
            + [alt.Tooltip(f"m{i}:N", title=model_name(model)) for i, model in enumerate(models)],
        )
        .add_params(hover)
    )
    return finish(
        alt.layer(band, cursor, line, dot, names)
        .add_params(*params)
        .properties(width="container", height=CURVE_HEIGHT, padding={"right": 4, "left": 2, "top": 8, "bottom": 2})
    )


def line_ends(rows: Sequence[Record]) -> list[Record]:
    """Place the name of each line of one chart at its last point, without two names on top of each other."""
    if not rows:
        return []
    last = max(int(row["k"]) for row in rows)
    top = max(float(row["high"]) for row in rows) or 1.0
    at_end = [row for row in rows if row["k"] == last]
    places = spread([float(row["value"]) for row in at_end], _LABEL_GAP / CURVE_HEIGHT * top, top)
    keys = ("task", "family", "slice", "k", "shown")
    return [{**{key: row[key] for key in keys}, "y": place} for row, place in zip(at_end, places, strict=True)]


def slices(rows: Sequence[Record], order: Sequence[str], models: Sequence[str], first: str) -> Spec:
    """Draw each slice as a group of dots with intervals, one per model.

    Args:
        rows: One record per dot: metric, family, slice_shown, model, shown, value, low, high, tip, n.
        order: The slices as shown, from top to bottom.
        models: All models, from top to bottom within a slice.
        first: The metric that is shown first.
    """
    params = [alt.param(name="metric", value=first)]
    share = _IS_SHARE.replace("family", "split(metric, '@')[0]")
    x_axis = alt.Axis(
        labelExpr=f"{share} ? format(datum.value, '~%') : format(datum.value, '~g')",
        grid=True,
        tickCount=6,
        domain=False,
        ticks=False,
    )
    x = alt.X("value:Q", title=None, axis=x_axis, scale=alt.Scale(zero=True))
    y = alt.Y(
        "slice_shown:N",
        title=None,
        sort=list(order),
        axis=alt.Axis(labelLimit=190, labelColor="var(--ink)", grid=True, tickBand="extent"),
        scale=alt.Scale(paddingInner=0, paddingOuter=0),
    )
    offset = alt.YOffset("shown:N", sort=[model_name(model) for model in models], scale=alt.Scale(paddingOuter=1))
    colour = alt.Color("shown:N", scale=model_scale(models), legend=None)
    tooltip = [
        alt.Tooltip("slice_shown:N", title="slice"),
        alt.Tooltip("shown:N", title="model"),
        alt.Tooltip("tip:N", title="value"),
        alt.Tooltip("n:Q", title="n", format=","),
    ]
    base = alt.Chart(inline(rows)).transform_filter("datum.metric == metric")
    whisker = base.mark_rule(strokeCap="round").encode(
        x=alt.X("low:Q", title=None, axis=x_axis, scale=alt.Scale(zero=True)),
        x2="high:Q",
        y=y,
        yOffset=offset,
        color=colour,
        strokeWidth=ours_or_floor(3, 1.6),
        tooltip=tooltip,
    )
    dot = base.mark_point(filled=True, opacity=1).encode(
        x=x,
        y=y,
        yOffset=offset,
        color=colour,
        shape=alt.Shape("shown:N", scale=model_scale(models, SHAPES), legend=None),
        size=ours_or_floor(95, 50),
        tooltip=tooltip,
    )
    return finish(
        alt.layer(whisker, dot)
        .add_params(*params)
        .properties(width="container", height=len(order) * (22 + 9 * len(models)))
    )


def training_curve(records: Sequence[Record], *, x_title: str, share: bool | None, best: float | None) -> Spec:
    """Draw one series over training.

    Args:
        records: One per point: x, value.
        x_title: "epoch" or "step".
        share: Whether the values are shares, shown in per cent; None for a loss, whose axis need not start at 0.
        best: The x of the weights that were kept, marked with a rule.
    """
    colour = "var(--m-popularity)" if share is None else "var(--m-lowerfunnel)"
    base = alt.Chart(inline(records))
    x = alt.X(
        "x:Q",
        title=x_title,
        axis=alt.Axis(format=",~d", tickMinStep=1, tickCount=6),
        scale=alt.Scale(zero=False, nice=False, padding=8),
    )
    y = alt.Y(
        "value:Q",
        title=None,
        axis=alt.Axis(format="~%" if share else "~g", tickCount=5),
        scale=alt.Scale(zero=share is not None),
    )
    tooltip = [
        alt.Tooltip("x:Q", title=x_title, format=",~d"),
        alt.Tooltip("value:Q", title="value", format=".2%" if share else ".4f"),
    ]
    line = base.mark_line(color=colour, strokeWidth=2.4, strokeJoin="round", interpolate="monotone").encode(x=x, y=y)
    dot = base.mark_point(filled=True, opacity=1, color=colour, size=42).encode(x=x, y=y, tooltip=tooltip)
    layers: list[alt.Chart] = [line, dot]
    if best is not None:
        kept = alt.Chart(inline([{"x": best}]))
        layers.insert(0, kept.mark_rule(color="var(--m-bought)", strokeDash=[4, 3], strokeWidth=1.4).encode(x=x))
    return finish(alt.layer(*layers).properties(width="container", height=210))


def score_distribution(scores: ScoreDistribution) -> Spec:
    """Draw the scores of held-out positives, of the candidates and of random items as shares over one axis.

    Empty bins at both ends are left out.
    """
    shown = {"Random items": scores["random"], "First 100 candidates": scores["candidates"]}
    shown["Held-out positives"] = scores["held_out"]
    colours = ["var(--m-untrained)", "var(--m-lowerfunnel)", "var(--m-bought)"]
    filled = [place for place, counts in enumerate(zip(*shown.values(), strict=True)) if any(counts)]
    first, last = filled[0], filled[-1] + 1
    edges = [float(edge) for edge in scores["edges"]][first : last + 1]
    records: list[Record] = []
    for kind, counts in shown.items():
        total = float(sum(counts))
        if total > 0:
            records += [
                {"from": low, "to": high, "share": value / total, "kind": kind, "of": f"{low:.3g} to {high:.3g}"}
                for (low, high), value in zip(itertools.pairwise(edges), counts[first:last], strict=True)
            ]
    closing = [{**record, "from": record["to"]} for record in records if record["to"] == edges[-1]]
    colour = alt.Color("kind:N", legend=None, scale=alt.Scale(domain=list(shown), range=colours))
    bars = (
        alt.Chart(inline(records))
        .mark_rect(fillOpacity=0.22, strokeWidth=0)
        .encode(
            x=alt.X("from:Q", title="score", scale=alt.Scale(nice=False, zero=False), axis=alt.Axis(tickCount=8)),
            x2="to:Q",
            y=alt.Y("share:Q", title=None, axis=alt.Axis(format="~%", tickCount=5)),
            y2=alt.datum(0),
            color=colour,
            tooltip=[
                alt.Tooltip("kind:N", title="of"),
                alt.Tooltip("of:N", title="score"),
                alt.Tooltip("share:Q", title="share", format=".1%"),
            ],
        )
    )
    outline = (
        alt.Chart(inline([*records, *closing]))
        .mark_line(interpolate="step-after", strokeWidth=1.8)
        .encode(x="from:Q", y="share:Q", color=colour)
    )
    return finish(alt.layer(bars, outline).properties(width="container", height=250))
