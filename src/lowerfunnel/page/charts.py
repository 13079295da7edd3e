"""What all charts share: their look, and how they become part of a page.

Colours are CSS variables of `shell.css`, so that one chart serves light, dark and print: Vega's SVG renderer sets them
as CSS properties and never needs to know their value.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

Spec = dict[str, Any]
"""A Vega-Lite chart as plain data."""
Record = Mapping[str, Any]
"""One row of a chart's data."""

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

CHART_CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": _FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--muted)",
        "titleColor": "var(--muted)",
        "gridColor": "var(--grid)",
        "domainColor": "var(--rule)",
        "tickColor": "var(--rule)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelFont": _FONT,
        "titleFont": _FONT,
        "titlePadding": 10,
        "labelPadding": 6,
    },
    "axisY": {"domain": False, "ticks": False},
    "axisX": {"grid": False},
    "text": {"font": _FONT, "fontSize": 12},
}
"""What every chart of a page looks like."""


def finish(chart: alt.TopLevelMixin) -> Spec:
    """Turn a chart into plain data without Altair's own theme."""
    spec: Spec = chart.to_dict()
    spec.pop("config", None)
    return spec


def inline(records: Sequence[Record]) -> alt.InlineData:
    """Hold records in the spec itself."""
    return alt.InlineData(values=[dict(record) for record in records])
