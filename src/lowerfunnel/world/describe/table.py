"""A description on a terminal."""

import rich.box
from rich.table import Table

from lowerfunnel.world.describe.comparison import Comparison
from lowerfunnel.world.describe.words import real_span, shown


def description_table(rows: list[Comparison]) -> Table:
    """Return simulated and real figures side by side."""
    table = Table(
        "marginal", "simulated", "real", "within", "from", box=rich.box.SIMPLE_HEAD, header_style="bold",
        title="Simulated beside real", title_justify="left",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row.name,
            shown(row.simulated, row.unit),
            real_span(row),
            f"yes, x{row.factor:g}" if row.matched else f"no, x{row.factor:g}",
            ", ".join(row.real),
        )
    return table
