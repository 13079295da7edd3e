"""The page itself: one file that loads nothing.

Vega is inlined once. It interprets expressions instead of compiling them, so that the page's content security policy
can forbid `eval` together with every request.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from typing import Any, Literal

import jinja2
from markupsafe import Markup

from lowerfunnel.page.charts import CHART_CONFIG, Spec

_SHELL = "lowerfunnel.page"


def render_page(
    template: str,
    *,
    package: str,
    title: str,
    kind: Literal["real", "synthetic"],
    specs: Mapping[str, Spec],
    filters: Mapping[str, Callable[..., object]] | None = None,
    **values: object,
) -> str:
    """Return a page as HTML. The same values give the same page.

    Args:
        template: Name of a template that extends `shell.html.j2`.
        package: The Python package in whose folder the template, and what it includes, lie.
        title: Shown in the bar at the top.
        kind: What its figures come from; every heading says it.
        specs: The charts, by the name under which the template calls `plot`.
        filters: Functions that the template may use as filters.
        **values: What else the template shows.

    Raises:
        ValueError: If a chart holds NaN or an infinity.
    """
    environment = _environment(package).overlay()
    environment.filters = {**environment.filters, **(filters or {})}
    return environment.get_template(template).render(
        title=title,
        kind=kind,
        charts_json=embedded_json({"config": CHART_CONFIG, "specs": specs}),
        vega=_vega() if specs else "",
        **values,
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


@cache
def _environment(package: str) -> jinja2.Environment:
    def load(name: str) -> str | None:
        for place in (package, _SHELL):
            file = resources.files(place).joinpath(name)
            if file.is_file():
                return file.read_text(encoding="utf-8")
        return None

    return jinja2.Environment(
        loader=jinja2.FunctionLoader(load),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


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
