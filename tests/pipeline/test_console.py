"""What a person sees: bars on a terminal, plain whole lines elsewhere, and no sentence is taken for markup."""

import io
import re
import time

import pytest
import rich.console

from lowerfunnel.evaluation.metrics_json import MetricRow, write_metrics
from lowerfunnel.pipeline.console import Console
from lowerfunnel.pipeline.summary import summary_table

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


def console_of(width=80, *, terminal=False):
    out = io.StringIO()
    return Console(rich.console.Console(file=out, width=width, force_terminal=terminal)), out


def course_of_a_run(console):
    console.skipped("import")
    with console.step("train"), console.training() as bar:
        bar.advance(step=5, steps=10, epoch=1, loss=1.25, examples_per_s=1234.5)
        bar.validated({"epoch": 1.0, "step": 5.0, "loss": 1.25, "examples_per_s": 1234.5, "recall@10": 0.5})
    with console.step("evaluate"), console.evaluating("conversion", 20) as advance:
        advance("lowerfunnel", 10, 10)
        advance("popularity", 5, 10)
    with console.recommending() as advance:
        advance(1, 2)
    console.warn("als is not measured (pip install 'lowerfunnel[baselines]')")


def test_elsewhere_than_on_a_terminal_whole_plain_lines_are_written():
    console, out = console_of()
    course_of_a_run(console)
    lines = [re.sub(r"[\d.]+ s$", "0 s", line) for line in out.getvalue().splitlines()]
    assert lines == [
        "✓ Import the log unchanged, skipped",
        "  epoch 1: loss 1.250  recall@10 0.5000  1,234 examples/s",
        "✓ Train 0 s",
        "✓ Evaluate 0 s",
        "  warning: als is not measured (pip install 'lowerfunnel[baselines]')",
    ]
    assert CONTROL.search(out.getvalue()) is None


@pytest.mark.parametrize("width", [80, 120])
def test_on_a_terminal_bars_fit_the_line(width):
    console, out = console_of(width, terminal=True)
    with console.step("train"), console.training() as bar:
        bar.advance(step=123_456, steps=1_234_567, epoch=12, loss=12.345, examples_per_s=123_456.0)
        time.sleep(0.3)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    (bar_line, *_) = [line for line in re.split(r"[\r\n]", plain) if "epoch 13" in line]
    assert "123,456 examples/s" in bar_line
    assert len(bar_line.rstrip()) <= width


def test_a_long_sentence_is_wrapped_under_its_indentation_on_a_terminal_alone():
    sentence = "word " * 40
    narrow, out = console_of(80, terminal=True)
    narrow.note(sentence)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines()
    assert len(lines) == 3
    assert all(line.startswith("  word") and len(line) <= 80 for line in lines)
    piped, out = console_of(80)
    piped.note(sentence)
    assert out.getvalue().count("\n") == 1


def test_a_step_that_fails_is_not_called_done():
    console, out = console_of(terminal=True)
    with pytest.raises(ValueError, match="no"), console.step("label"), console.evaluating("conversion", 3):
        raise ValueError("no")
    assert "✓" not in out.getvalue()
    console.skipped("label")  # and the terminal is free again
    with console.waiting("Reading"):
        pass


@pytest.mark.parametrize("width", [80, 120])
def test_the_summary_fits_and_cuts_nothing(width, tmp_path):
    rows = [
        MetricRow(metric=metric, task="conversion", slice="all", model=model, value=0.12345, ci_low=low, ci_high=high,
                  n=12_345, data="synthetic")
        for model in ("lowerfunnel", "own_history", "popularity")
        for metric, low, high in (("hr@10", 0.1, 0.2), ("ndcg@10", 0.1, 0.2), ("recall@20", 0.1, 0.2),
                                  ("ndcg@20", 0.1, 0.2), ("recall@100", 0.1, 0.2), ("coverage@100", None, None))
    ]  # fmt: skip
    write_metrics(tmp_path / "metrics.json", rows)
    out = io.StringIO()
    rich.console.Console(file=out, width=width).print(summary_table(tmp_path))
    text = out.getvalue()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "12,345 users, synthetic data, 95% intervals" in text
    for shown in ("lowerfunnel", "own_history", "coverage@100", "0.1235", "±0.0500", "0.123"):
        assert shown in text


def test_a_summary_without_conversions_is_empty_and_no_error(tmp_path):
    write_metrics(tmp_path / "metrics.json", [])
    assert summary_table(tmp_path).row_count == 0
