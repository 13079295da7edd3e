"""The report as one page."""

from lowerfunnel.page import render_page
from lowerfunnel.pipeline.report.data import ReportData
from lowerfunnel.pipeline.report.formats import (
    FAMILY_MEANINGS,
    FAMILY_NAMES,
    MODEL_MEANINGS,
    SLICE_MEANINGS,
    metric_name,
    model_name,
    parse_metric,
    slice_name,
)
from lowerfunnel.pipeline.report.page import build_page
from lowerfunnel.pipeline.report.palette import model_colour


def render_report(data: ReportData) -> str:
    """Return the report as one HTML page. The same data give the same page."""
    page = build_page(data)
    return render_page(
        "page.html.j2",
        package="lowerfunnel.pipeline.report",
        title=data.title,
        kind=data.data,
        specs=page.specs,
        filters={
            "model_name": model_name,
            "model_colour": model_colour,
            "metric_name": metric_name,
            "slice_name": slice_name,
        },
        page=page,
        data=data,
        families={name: text for name, text in FAMILY_MEANINGS.items() if _has_family(data, name)},
        family_names=FAMILY_NAMES,
        model_meanings=MODEL_MEANINGS,
        slice_meanings=SLICE_MEANINGS,
    )


def _has_family(data: ReportData, family: str) -> bool:
    return any(parse_metric(row["metric"]).family == family for row in data.rows)
