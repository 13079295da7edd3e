"""The page itself: one file that loads nothing.

Vega is inlined once. It interprets expressions instead of compiling them, so that the page's content security policy
can forbid `eval` together with every request.
"""

import json
from functools import cache
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

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
from lowerfunnel.pipeline.report.palette import CHART_CONFIG, model_colour


def render_report(data: ReportData) -> str:
    """Return the report as one HTML page. The same data give the same page."""
    page = build_page(data)
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            page=page,
            data=data,
            charts_json=embedded_json({"config": CHART_CONFIG, "specs": page.specs}),
            vega=_vega() if page.specs else "",
            families={name: text for name, text in FAMILY_MEANINGS.items() if _has_family(data, name)},
            family_names=FAMILY_NAMES,
            model_meanings=MODEL_MEANINGS,
            slice_meanings=SLICE_MEANINGS,
        )
    )


def embedded_json(value: Any) -> Markup:
    """Return JSON that can stand inside a script element whatever strings it holds.

    Raises:
        ValueError: If `value` holds NaN or an infinity, which JSON does not know.
    """
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - nothing that HTML reads as markup is left


def _has_family(data: ReportData, family: str) -> bool:
    return any(parse_metric(row["metric"]).family == family for row in data.rows)


def _load(name: str) -> str:
    return resources.files("lowerfunnel.pipeline.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_load),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "model_name": model_name,
        "model_colour": model_colour,
        "metric_name": metric_name,
        "slice_name": slice_name,
    }
    return environment


@cache
def _vega() -> Markup:
    """Return the JavaScript of Vega, Vega-Lite and Vega-Embed in the versions that Altair writes for."""
    import altair
    import vl_convert

    version = ".".join(altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", version)
    lowered = script.lower()
    if "</script" in lowered or "<!--" in lowered:
        raise RuntimeError(
            "Vega's JavaScript holds a closing script tag or a comment mark and cannot be inlined as it is"
        )
    return Markup(script)  # noqa: S704 - checked above
