"""The charts about the log: events per day, delays."""

from collections.abc import Sequence

import altair as alt

from lowerfunnel.page.charts import Record, Spec, finish, inline
from lowerfunnel.page.formats import hours
from lowerfunnel.pipeline.report.data import Day, Delay
from lowerfunnel.pipeline.report.palette import ACTION_NAMES, action_colour, action_name

_DELAY_LABEL = (
    "datum.value < 0.01 ? '1 s' : datum.value < 0.1 ? '1 min' : datum.value < 0.5 ? '10 min' : "
    "datum.value < 24 ? datum.value + ' h' : format(datum.value / 24, 'd') + ' d'"
)
_DELAY_TICKS_H = (1 / 3600, 1 / 60, 1 / 6, 1, 6, 24, 24 * 7, 24 * 30, 24 * 365)


def actions_of(days: Sequence[Day]) -> list[str]:
    """Return the actions that occur, in funnel order."""
    present = {action for day in days for action, number in day["counts"].items() if number}
    known = [action for action in ACTION_NAMES if action in present]
    return known + sorted(present - set(known))


def events_per_day(days: Sequence[Day]) -> Spec:
    """Draw the events of each day, one line per action, on a scale where a tenth is as far as ten times."""
    actions = actions_of(days)
    shown = [action_name(action) for action in actions]
    records: list[Record] = [
        {"day": day["day"], "action": action_name(action), "events": int(day["counts"].get(action, 0))}
        for day in days
        for action in actions
    ]
    tips: list[Record] = [
        {"day": day["day"], **{f"a{i}": int(day["counts"].get(action, 0)) for i, action in enumerate(actions)}}
        for day in days
    ]
    top = max((int(record["events"]) for record in records), default=1)
    powers = [10**power for power in range(15)]
    ceiling = next((power for power in powers if power >= top), top)
    ticks = [0, *(power for power in powers if power <= ceiling)]
    x = alt.X(
        "day:T", title=None, scale=alt.Scale(type="utc"), axis=alt.Axis(tickCount=6, labelOverlap=True, grid=False)
    )
    y = alt.Y(
        "events:Q",
        title=None,
        scale=alt.Scale(type="symlog", constant=1, domain=[0, ceiling], nice=False),
        axis=alt.Axis(values=ticks, labelExpr="format(datum.value, '~s')"),
    )
    colour = alt.Color(
        "action:N", legend=None, scale=alt.Scale(domain=shown, range=[action_colour(a) for a in actions])
    )
    line = alt.Chart(inline(records)).mark_line(strokeWidth=2, strokeJoin="round").encode(x=x, y=y, color=colour)
    hover = alt.selection_point(
        name="hover", on="pointerover", clear="pointerout", nearest=True, encodings=["x"], empty=False
    )
    cursor = (
        alt.Chart(inline(tips))
        .mark_rule(color="var(--muted)")
        .encode(
            x=x,
            opacity=alt.when(hover).then(alt.value(0.6)).otherwise(alt.value(0)),
            tooltip=[alt.Tooltip("day:N", title="day (UTC)")]
            + [alt.Tooltip(f"a{i}:Q", title=name, format=",") for i, name in enumerate(shown)],
        )
        .add_params(hover)
    )
    layers = [line, cursor]
    if len(days) == 1:
        layers.append(alt.Chart(inline(records)).mark_point(filled=True, size=60).encode(x=x, y=y, color=colour))
    return finish(alt.layer(*layers).properties(width="container", height=230))


def delay(record: Delay) -> Spec:
    """Draw how long the second action takes to follow the first, on a logarithmic axis of time."""
    edges = [float(edge) for edge in record["edges_h"]]
    total = float(sum(record["counts"])) or 1.0
    positive = [edge for edge in edges if edge > 0]
    lowest = min(positive, default=1.0) / 2
    bars: list[Record] = [
        {
            "from": max(low, lowest),
            "to": max(high, lowest),
            "share": float(number) / total,
            "count": float(number),
            "of": f"{hours(low)} to {hours(high)}",
        }
        for low, high, number in zip(edges[:-1], edges[1:], record["counts"], strict=True)
    ]
    span = (max(lowest, edges[0]), max(edges[-1], lowest * 2))
    ticks = [tick for tick in _DELAY_TICKS_H if span[0] <= tick <= span[1]]
    chart = (
        alt.Chart(inline(bars))
        .mark_rect(fill="var(--m-bought)", fillOpacity=0.8, stroke="var(--panel)", strokeWidth=1)
        .encode(
            x=alt.X(
                "from:Q",
                title=None,
                scale=alt.Scale(type="log", domain=list(span), nice=False),
                axis=alt.Axis(values=ticks, labelExpr=_DELAY_LABEL, labelOverlap=True),
            ),
            x2="to:Q",
            y=alt.Y("share:Q", title=None, axis=alt.Axis(format="~%", tickCount=4), scale=alt.Scale(zero=True)),
            y2=alt.datum(0),
            tooltip=[
                alt.Tooltip("of:N", title="delay"),
                alt.Tooltip("share:Q", title="share", format=".1%"),
                alt.Tooltip("count:Q", title="events", format=","),
            ],
        )
    )
    layers = [chart]
    median = record.get("median_h")
    if median is not None and median > 0:
        layers.append(
            alt.Chart(inline([{"from": max(median, lowest)}]))
            .mark_rule(color="var(--ink)", strokeDash=[4, 3], strokeWidth=1.4)
            .encode(x="from:Q")
        )
    return finish(alt.layer(*layers).properties(width="container", height=190))
