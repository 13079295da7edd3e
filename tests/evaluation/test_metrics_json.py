"""The file of figures: what is written is read back, byte for byte the same each time."""

import json
import math
from pathlib import Path

import pytest

from lowerfunnel.errors import RunError
from lowerfunnel.evaluation.metrics_json import MetricRow, read_metrics, write_metrics


def row(**change: object) -> MetricRow:
    fields: dict[str, object] = {
        "metric": "recall@100", "task": "conversion", "slice": "all", "model": "lowerfunnel", "value": 0.25,
        "ci_low": 0.125, "ci_high": 0.5, "n": 7, "data": "synthetic",
    }  # fmt: skip
    return MetricRow(**{**fields, **change})  # type: ignore[arg-type]


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    rows = [row(), row(metric="coverage@100", ci_low=None, ci_high=None), row(slice="surface=Käse")]
    write_metrics(tmp_path / "metrics.json", rows)
    assert read_metrics(tmp_path / "metrics.json") == rows
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_the_file_has_the_promised_form(tmp_path: Path) -> None:
    write_metrics(tmp_path / "metrics.json", [row(value=1 / 3)])
    assert (tmp_path / "metrics.json").read_text() == (
        '{"rows": [\n{"metric": "recall@100", "task": "conversion", "slice": "all", "model": "lowerfunnel", '
        '"value": 0.333333, "ci_low": 0.125, "ci_high": 0.5, "n": 7, "data": "synthetic"}\n]}\n'
    )


def test_no_rows_are_a_file_too(tmp_path: Path) -> None:
    write_metrics(tmp_path / "metrics.json", [])
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"rows": []}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_is_not_written_and_leaves_the_old_file(tmp_path: Path, bad: float) -> None:
    write_metrics(tmp_path / "metrics.json", [row()])
    with pytest.raises(ValueError, match="ci_high of recall@100 of lowerfunnel on 'all'"):
        write_metrics(tmp_path / "metrics.json", [row(ci_high=bad)])
    assert read_metrics(tmp_path / "metrics.json") == [row()]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": [{"metric": "x"}]}'])
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(RunError, match="does not hold metrics"):
        read_metrics(tmp_path / "metrics.json")


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="evaluate the run first"):
        read_metrics(tmp_path / "metrics.json")
