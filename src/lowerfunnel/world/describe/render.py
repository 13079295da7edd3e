"""The page of a description: everything its template needs, computed."""

from collections.abc import Mapping, Sequence

import altair as alt

from lowerfunnel.page import Record, Spec, finish, inline, render_page
from lowerfunnel.page.formats import compact, percent
from lowerfunnel.world.describe.comparison import UNMATCHED, Comparison, real_curve
from lowerfunnel.world.describe.measure import Measured
from lowerfunnel.world.describe.words import real_span, shown

SIMULATED = "simulated"
_COLOURS = ("var(--m-lowerfunnel)", "var(--s1)", "var(--s2)", "var(--s3)", "var(--s4)", "var(--s5)", "var(--s6)")
_GROUPS = {
    "funnel": "From view to purchase",
    "gaps_s": "Time between events",
    "cart_to_purchase_s": "From cart to purchase",
    "sessions": "Sessions",
    "items": "Long tail of items",
    "brands": "Brands",
    "advertisers": "Advertisers",
    "categories": "Categories",
    "prices": "Prices",
    "ads": "Ads",
    "rhythm": "Rhythm",
}
_ROW_PX = 36
"""Height of a figure's name and what is drawn below it."""
Curve = Sequence[tuple[float, float]]


def render_description(measured: Measured, rows: Sequence[Comparison], *, title: str) -> str:
    """Return the page of a description. The same figures give the same page."""
    specs: dict[str, Spec] = {
        "ratios": _ratios(rows),
        "gaps": _curves(
            {SIMULATED: measured.curves["gaps"], **real_curve("gaps", ("retailrocket",))},
            x="seconds between two events of a user",
            y="share of gaps that are shorter",
            log=True,
        ),
        "items": _curves(
            {
                SIMULATED: measured.curves["items"],
                **real_curve("items", ("gowalla", "taobao_userbehavior", "mule_taobao", "mule_jdata")),
            },
            x="share of the items, the most popular first",
            y="share of the events",
            log=True,
        ),
        "days": _days(measured.per_day),
    }
    truth = measured.truth
    return render_page(
        "describe.html.j2",
        package="lowerfunnel.world.describe",
        title=title,
        kind="synthetic",
        specs=specs,
        height=_ROW_PX * len(rows) + 60,
        matched=sum(row.matched for row in rows),
        rows=[
            {
                "group": _GROUPS[row.group],
                "name": row.name,
                "simulated": shown(row.simulated, row.unit),
                "real": real_span(row),
                "sources": ", ".join(row.real),
                "matched": row.matched,
                "factor": f"{row.factor:g}",
            }
            for row in rows
        ],
        sources=sorted({(source, note) for row in rows for source, note in row.notes.items()}),
        facts=[(name.replace("_", " "), compact(count)) for name, count in measured.actions.items()],
        truth=[
            ("true purchases", compact(truth["purchases"])),
            ("after a click on an ad", percent(truth["by_click"])),
            ("after an ad that was only seen", percent(truth["by_view"])),
            ("without any ad", percent(truth["by_organic"])),
            ("reported to the platform", percent(truth["reported_share"])),
            ("sent back", percent(truth["returned_share"])),
        ]
        if truth
        else [],
        unmatched=UNMATCHED,
    )


def _ratios(rows: Sequence[Comparison]) -> Spec:
    """Draw each simulated figure over the real ones, on one logarithmic axis."""
    records: list[Record] = []
    for row in rows:
        middle = (min(row.real.values()) * max(row.real.values())) ** 0.5
        if not (middle > 0 and row.simulated > 0):
            continue
        records.append(
            {
                "name": row.name,
                "ratio": row.simulated / middle,
                "low": min(row.real.values()) / middle,
                "high": max(row.real.values()) / middle,
                "within_low": min(row.real.values()) / middle / row.factor,
                "within_high": max(row.real.values()) / middle * row.factor,
                "matched": "within" if row.matched else "outside",
                "simulated": shown(row.simulated, row.unit),
                "real": real_span(row),
            }
        )
    order = [record["name"] for record in records]
    axis = alt.Axis(
        values=[0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 50],
        labelExpr="datum.value + '\u00d7'",
        grid=True,
        domain=False,
        ticks=False,
    )
    scale = alt.Scale(type="log")
    # Each name stands above its own row, inside the plot: beside it, it would leave a phone no room to plot in.
    names = alt.Axis(
        labelColor="var(--ink)", labelLimit=0, labelAlign="left", labelPadding=0, labelOffset=-_ROW_PX // 3
    )
    y = alt.Y("name:N", sort=order, title=None, axis=names)
    tooltip = [
        alt.Tooltip(f"{field}:N", title=title)
        for field, title in (("name", " "), ("simulated", "simulated"), ("real", "real"))
    ]
    base = alt.Chart(inline(records))
    x = alt.X("ratio:Q", scale=scale, axis=axis, title="simulated over real (middle of the real ones)")
    allowed = base.mark_rule(strokeWidth=9, opacity=0.18, color="var(--m-popularity)").encode(
        x=alt.X("within_low:Q", scale=scale, axis=axis, title=None), x2="within_high:Q", y=y, tooltip=tooltip
    )
    real = base.mark_rule(strokeWidth=4, opacity=0.7, color="var(--m-popularity)", strokeCap="round").encode(
        x=alt.X("low:Q", scale=scale, axis=axis, title=None), x2="high:Q", y=y, tooltip=tooltip
    )
    colour = alt.Color(
        "matched:N", legend=None, scale=alt.Scale(domain=["within", "outside"], range=["var(--good)", "var(--bad)"])
    )
    dot = base.mark_point(filled=True, opacity=1, size=85).encode(x=x, y=y, color=colour, tooltip=tooltip)
    return finish(alt.layer(allowed, real, dot).properties(width="container", height=_ROW_PX * len(records)))


def _curves(curves: Mapping[str, Curve], *, x: str, y: str, log: bool) -> Spec:
    names = list(curves)
    records = [{"x": a, "y": b, "set": name} for name, points in curves.items() for a, b in points if a > 0]
    scale = alt.Scale(domain=names, range=list(_COLOURS[: len(names)]))
    chart = (
        alt.Chart(inline(records))
        .mark_line(strokeCap="round")
        .encode(
            x=alt.X(
                "x:Q",
                title=x,
                scale=alt.Scale(type="log" if log else "linear", nice=False),
                axis=alt.Axis(format="~g", tickCount=6, labelOverlap=True),
            ),
            y=alt.Y("y:Q", title=y, axis=alt.Axis(format="~%", tickCount=5)),
            color=alt.Color(
                "set:N",
                scale=scale,
                legend=alt.Legend(
                    title=None, orient="top", labelColor="var(--ink)", columns=3, symbolType="stroke", labelLimit=160
                ),
            ),
            strokeWidth=alt.when(alt.datum.set == SIMULATED).then(alt.value(3.4)).otherwise(alt.value(1.6)),
            strokeDash=alt.when(alt.datum.set == SIMULATED).then(alt.value([1, 0])).otherwise(alt.value([5, 3])),
        )
    )
    return finish(chart.properties(width="container", height=280))


def _days(per_day: Sequence[Mapping[str, int]]) -> Spec:
    top = {name: max((day[name] for day in per_day), default=0) or 1 for name in ("impression", "click", "checkout")}
    names = {"impression": "impressions", "click": "clicks", "checkout": "purchases reported"}
    records = [
        {"day": number, "share": day[name] / top[name], "what": shown_name, "count": day[name]}
        for number, day in enumerate(per_day)
        for name, shown_name in names.items()
    ]
    chart = (
        alt.Chart(inline(records))
        .mark_line(point=alt.OverlayMarkDef(size=22))
        .encode(
            x=alt.X("day:Q", title="day of the log on which they began", axis=alt.Axis(format=",d", tickCount=8)),
            y=alt.Y("share:Q", title="relative to the highest day", axis=alt.Axis(format="~%", tickCount=5)),
            color=alt.Color(
                "what:N",
                scale=alt.Scale(domain=list(names.values()), range=list(_COLOURS[:3])),
                legend=alt.Legend(title=None, orient="top", labelColor="var(--ink)", columns=3),
            ),
            tooltip=[alt.Tooltip("what:N", title=" "), alt.Tooltip("day:Q"), alt.Tooltip("count:Q", format=",d")],
        )
    )
    return finish(chart.properties(width="container", height=240))
