"""One self-contained HTML page with charts: the shell that every page of lowerfunnel stands in.

A page is a Jinja template that extends `shell.html.j2` and fills its blocks (title, style, nav, content, footer,
script); `parts.html.j2` holds badge, heading, plot and controls. `render_page` puts it together.
"""

from lowerfunnel.page.charts import CHART_CONFIG, Record, Spec, finish, inline
from lowerfunnel.page.shell import embedded_json, render_page

__all__ = ["CHART_CONFIG", "Record", "Spec", "embedded_json", "finish", "inline", "render_page"]
