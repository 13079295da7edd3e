"""The figures of a run as a table for the terminal."""

from pathlib import Path

import rich.box
from rich.table import Table

from lowerfunnel.evaluation.metrics_json import read_metrics

_SHOWN = ("hr@10", "ndcg@10", "recall@20", "ndcg@20", "recall@100", "coverage@100")


def summary_table(run: Path) -> Table:
    """Return the main figures of a run's `metrics.json`: one row a model, conversions, all held-out pairs."""
    rows = [row for row in read_metrics(run / "metrics.json") if row.task == "conversion" and row.slice == "all"]
    kind = rows[0].data if rows else "real"
    queries = max((row.n for row in rows), default=0)
    table = Table(
        title=f"Held-out conversions of {queries:,} users, {kind} data, 95% intervals",
        title_justify="left",
        title_style="bold",
        # Narrow enough for 80 columns.
        box=rich.box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("model", no_wrap=True)
    for metric in _SHOWN:
        table.add_column(metric, justify="right", no_wrap=True)
    figures = {(row.model, row.metric): row for row in rows}
    for model in dict.fromkeys(row.model for row in rows):
        cells = []
        for metric in _SHOWN:
            row = figures.get((model, metric))
            if row is None:
                cells.append("")
            elif row.ci_low is None or row.ci_high is None:
                cells.append(f"{row.value:.3f}")
            else:
                cells.append(f"{row.value:.4f}\n[dim]±{(row.ci_high - row.ci_low) / 2:.4f}[/dim]")
        table.add_row(f"[bold]{model}[/bold]" if model == "lowerfunnel" else model, *cells)
    return table
