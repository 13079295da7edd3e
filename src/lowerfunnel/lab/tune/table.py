"""The trials of a search as a table for the terminal."""

import json

import rich.box
from rich.table import Table
from rich.text import Text

from lowerfunnel.lab.tune.trial import TuneResult
from lowerfunnel.page.formats import NOTHING, duration

_SHOWN = 15


def tune_table(result: TuneResult) -> Table:
    """Return the best trials, best first, with the settings that were searched."""
    over = {state: sum(trial.state == state for trial in result.trials) for state in ("finished", "stopped", "failed")}
    counts = ", ".join(f"{count} {state}" for state, count in over.items() if count)
    table = Table(
        title=f"Best of {len(result.trials)} trials ({counts}), validation, {result.data} data",
        title_justify="left",
        title_style="bold",
        box=rich.box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column(result.metric, justify="right", no_wrap=True)
    for one in result.space.ranges:
        table.add_column(Text(one.setting.rpartition(".")[2]), justify="right", overflow="fold")
    table.add_column("epochs", justify="right", no_wrap=True)
    table.add_column("training", justify="right", no_wrap=True)
    finished = [trial for trial in result.trials if trial.state == "finished"]
    for trial in sorted(finished, key=lambda trial: (-(trial.value or 0.0), trial.number))[:_SHOWN]:
        table.add_row(
            str(trial.number),
            NOTHING if trial.value is None else f"{trial.value:.4f}",
            *(Text(_shown(trial.values[one.setting])) for one in result.space.ranges),
            str(trial.epochs),
            NOTHING if trial.trained_s is None else duration(trial.trained_s),
            style="bold" if trial == result.best else "",
        )
    return table


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value)
