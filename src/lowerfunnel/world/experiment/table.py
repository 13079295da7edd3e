"""An experiment as a table for the terminal."""

import rich.box
from rich.table import Table
from rich.text import Text

from lowerfunnel.page.formats import relative
from lowerfunnel.world.experiment.result import Experiment
from lowerfunnel.world.experiment.words import BY_NAME, relative_interval, shown_value, tone

_STYLES = {"good": "green", "bad": "red", "even": "default"}
_SHOWN = (
    "conversions",
    "conversion_rate",
    "conversion_rate_of_clicks",
    "ctr",
    "ctr30",
    "revenue",
    "cost",
    "roas",
    "revenue_per_mille",
    "item_coverage",
    "advertiser_coverage",
)


def experiment_table(result: Experiment) -> Table:
    """Return the main metrics of both policies, narrow enough for 80 columns."""
    days = f"{len(result.days)} day{'s' if len(result.days) != 1 else ''}"
    table = Table(
        title=f"{result.users:,} people, {days}, synthetic data, 95% intervals",
        title_justify="left",
        title_style="bold",
        box=rich.box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("metric", no_wrap=True)
    for policy in (f"A: {result.policy_a}", f"B: {result.policy_b}"):
        # As texts: brackets in a name are no markup.
        table.add_column(Text(policy), justify="right", overflow="fold", max_width=18)
    table.add_column("B to A", justify="right", no_wrap=True)
    table.add_column("interval", justify="right", no_wrap=True)
    for name in _SHOWN:
        metric, row = BY_NAME[name], result.row(name)
        table.add_row(
            metric.shown,
            shown_value(row.a.value, metric),
            shown_value(row.b.value, metric),
            Text(relative(row.relative.value), style=_STYLES[tone(row, metric)]),
            relative_interval(row.relative),
        )
    return table
