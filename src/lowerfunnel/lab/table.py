"""The main comparisons of a study as a table for the terminal."""

import rich.box
from rich.table import Table
from rich.text import Text

from lowerfunnel.lab.result import StudyResult
from lowerfunnel.lab.words import ONE_SEED, TONES, relative_span, shown_value
from lowerfunnel.page.formats import NOTHING, duration, relative

_STYLES = {"good": "green", "bad": "red", "even": ""}


def study_table(result: StudyResult) -> Table:
    """Return one row per variant and metric: its value, and how far it is from what it is compared with."""
    users = max((value.users for value in result.values if value.task == "conversion"), default=0)
    seeds = f"{len(result.seeds)} seed{'s' if len(result.seeds) != 1 else ''}"
    table = Table(
        title=f"Held-out conversions of {users:,} users, {seeds}, {result.data} data, 95% intervals",
        title_justify="left",
        title_style="bold",
        # Narrow enough for 80 columns.
        box=rich.box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        caption=ONE_SEED if len(result.seeds) == 1 else None,
        caption_justify="left",
    )
    table.add_column("variant", overflow="fold", max_width=22)
    table.add_column("metric", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("change", justify="right", no_wrap=True)
    table.add_column("interval", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    base = result.variants[0].name
    for variant in result.variants:
        against = "" if variant.against in (None, base) else f" (to {variant.against})"
        trained = [run.trained_s for run in result.runs if run.variant == variant.name and run.trained_s is not None]
        took = f"\n{duration(sum(trained) / len(trained))} training" if trained else "\nnot finished"
        for number, metric in enumerate(result.metrics):
            value, one = result.value(variant.name, metric), result.comparison(variant.name, metric)
            first = Text.assemble((variant.name, "bold"), f"{against}", (took, "dim")) if number == 0 else Text("")
            style = "" if one is None else _STYLES[TONES[one.verdict]]
            table.add_row(
                first,
                metric,
                NOTHING if value is None else shown_value(value.figure, metric),
                Text("" if one is None else relative(one.relative.value), style=style),
                "" if one is None else relative_span(one.relative),
                Text("" if one is None else one.verdict, style=style),
                end_section=number == len(result.metrics) - 1,
            )
    return table
