"""The file `metrics.json`: every figure with its interval and count, one row to a line.

Figures are rounded to six decimals and written in the order given, so that equal results make equal files.
"""

import dataclasses
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lowerfunnel.errors import RunError

DataKind = Literal["real", "synthetic"]

_DECIMALS = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricRow:
    """One figure.

    Attributes:
        metric: Such as "recall@100".
        task: What was to be predicted, such as "conversion".
        slice: Which held-out pairs it is about; "all" for all.
        model: Who answered.
        value: The figure.
        ci_low: Lower end of its 95% bootstrap interval over queries; None for a figure that is no mean over queries.
        ci_high: Upper end.
        n: Queries it was measured on.
        data: "real" or "synthetic".
    """

    metric: str
    task: str
    slice: str
    model: str
    value: float
    ci_low: float | None
    ci_high: float | None
    n: int
    data: DataKind


def write_metrics(path: Path, rows: Sequence[MetricRow]) -> None:
    """Write rows to `path`, to a temporary name first.

    Raises:
        ValueError: If a figure is NaN or infinite.
    """
    lines = [json.dumps(_rounded(row), ensure_ascii=False) for row in rows]
    text = '{"rows": [\n' + ",\n".join(lines) + "\n]}\n"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself must outlive a power failure
    finally:
        os.close(folder)


def read_metrics(path: Path) -> list[MetricRow]:
    """Read what `write_metrics` wrote.

    Raises:
        RunError: If the file is missing or holds something else.
    """
    try:
        rows = [MetricRow(**row) for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing: evaluate the run first") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} does not hold metrics ({error}): evaluate the run again") from error
    return rows


def _rounded(row: MetricRow) -> dict[str, object]:
    fields = dataclasses.asdict(row)
    for name in ("value", "ci_low", "ci_high"):
        figure = fields[name]
        if figure is None:
            continue
        if not math.isfinite(figure):
            raise ValueError(
                f"{name} of {row.metric} of {row.model} on {row.slice!r} is {figure}; only numbers are written"
            )
        fields[name] = round(float(figure), _DECIMALS) + 0.0  # no -0.0
    return fields
