"""The files of an experiment."""

import math
from pathlib import Path
from typing import Any

from lowerfunnel.files import disk_errors, write_json, write_text
from lowerfunnel.world.experiment.render import render_experiment
from lowerfunnel.world.experiment.result import Experiment

SIGNIFICANT_DIGITS = 9
"""Digits kept in `experiment.json`."""


def write_experiment(result: Experiment, folder: Path) -> None:
    """Write `experiment.json` and `experiment.html` into a folder, which is made if it is not there.

    Raises:
        RunError: If they cannot be written.
    """
    page = render_experiment(result)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "experiment.json", _rounded(result.to_json()))
    write_text(folder / "experiment.html", page)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    if isinstance(value, float) and value != 0 and math.isfinite(value):
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
    return value
