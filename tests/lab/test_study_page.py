"""The page and the table of a study: what they say first, for every outcome, and that a browser draws the page."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import rich.console
from lab_samples import figure, result_of

from lowerfunnel.lab.published import held
from lowerfunnel.lab.render import render_study
from lowerfunnel.lab.result import Comparison, Figure, StudyResult, verdict_of
from lowerfunnel.lab.study import Published
from lowerfunnel.lab.table import study_table
from lowerfunnel.lab.words import failure_sentence, headline

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--enable-logging=stderr", "--virtual-time-budget=20000", "--window-size=1280,2000", "--dump-dom"]
HOSTILE = "</script><script>alert(1)</script>{{ 7*7 }}"
THREE = {"up": (0.12, 0.05), "down": (-0.2, 0.1), "flat": (0.01, 0.08)}


def words_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.split("<script", maxsplit=1)[0]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"up": (0.12, 0.05)}, "up is 12.0% better than base at Recall@100."),
        ({"down": (-0.12, 0.05)}, "down is 12.0% worse than base at Recall@100."),
        (
            {"flat": (0.02, 0.05)},
            "No clear difference: flat is 2.0% better than base at Recall@100, which may be luck.",
        ),
        ({"same": (0.0, 0.0)}, "same finds exactly what base finds."),
        (THREE, "1 of 3 variants is clearly better at Recall@100, 1 clearly worse."),
        ({"a": (0.1, 0.02), "b": (0.2, 0.02)}, "2 of 2 variants are clearly better at Recall@100, none clearly worse."),
        ({"a": (0.1, 0.2), "b": (0.0, 0.0)}, "None of 2 variants is clearly better at Recall@100, none clearly worse."),
        ({}, "Nothing can be compared yet."),
    ],
)
def test_it_says_first_which_variants_are_better(changes: dict, said: str) -> None:
    result = result_of(changes)
    assert headline(result).sentence == said
    assert said in words_of(render_study(result))


def test_what_failed_is_named_on_the_page_and_in_one_sentence() -> None:
    result = result_of(THREE, broken=True)
    said = words_of(render_study(result))
    assert "2 of 10 runs are missing" in said
    assert "broken, seeds 0, 1 : it broke (more in errors/broken.txt)" in said
    sentence = failure_sentence(result.unfinished)
    assert sentence.startswith("2 runs of the study are missing (broken, seeds 0, 1: it broke)")


def test_one_seed_is_said_to_be_one() -> None:
    note = "the intervals know nothing of how far another one would move a figure"
    assert note in words_of(render_study(result_of(THREE, seeds=(3,))))
    assert note not in words_of(render_study(result_of(THREE)))


def test_the_main_table_has_verdicts_published_figures_and_what_was_left_out() -> None:
    said = words_of(render_study(result_of(THREE)))
    for part in (
        "+10.0% Recall@100",
        "Somebody, 2020",
        "held",
        "7 conversion pairs that only one of both has",
        "0.3360",
    ):
        assert part in said, part
    assert said.count(" better ") >= 2
    assert said.count(" worse ") >= 2
    assert "retrieval.tower.width" in said


def test_hostile_texts_stay_texts() -> None:
    result = result_of(THREE)
    variants = tuple(replace(variant, description=HOSTILE) for variant in result.variants)
    page = render_study(replace(result, description=HOSTILE, name=HOSTILE, variants=variants))
    assert HOSTILE not in page
    assert page.count("<script") == 3 + page.split("<script>")[1].count("<script")


def test_nothing_is_loaded_and_every_heading_says_what_the_data_are() -> None:
    page = render_study(result_of(THREE))
    assert "default-src 'none'" in page
    assert not re.search(r'(src|href)="(?!#|data:,)', page.split("<script>")[0])
    headings = re.findall(r"<h2 .*?</h2>", page)
    assert len(headings) == 6
    assert all("synthetic data" in heading for heading in headings)


def test_the_json_holds_every_figure_and_its_version() -> None:
    result = result_of(THREE, broken=True)
    written = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert written["version"] == 1
    assert written["data"] == "synthetic"
    assert len(written["comparisons"]) == len(result.comparisons)
    assert written["comparisons"][0]["relative"] == {"value": 0.12, "low": 0.07, "high": 0.17}


def test_the_terminal_s_table_fits_80_columns() -> None:
    console = rich.console.Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(study_table(result_of(THREE, broken=True)))
    console.file.close()
    said = console.export_text()
    assert "better" in said
    assert "not finished" in said
    assert "900 users, 2 seeds, synthetic data" in said


def compared(value: float, reach: float) -> Comparison:
    return next(one for one in result_of({"b": (value, reach)}).comparisons)


@pytest.mark.parametrize(
    ("published", "here", "said"),
    [
        (0.10, (0.12, 0.05), "held"),
        (0.42, (0.12, 0.05), "same direction, smaller here"),
        (0.02, (0.12, 0.05), "same direction, larger here"),
        (-0.10, (-0.12, 0.05), "held"),
        (-0.10, (0.12, 0.05), "did not hold: the other way here"),
        (0.10, (0.02, 0.05), "undecided here"),
        (0.10, (0.0, 0.0), "did not hold: the same here"),
        (0.0, (0.02, 0.05), "held"),
        (0.0, (0.12, 0.05), "did not hold: better here"),
    ],
)
def test_a_published_change_held_or_not(published: float, here: tuple[float, float], said: str) -> None:
    assert held(Published(metric="recall@100", relative=published, source="x"), compared(*here)) == said


def test_an_interval_ends_where_values_do() -> None:
    assert Figure.of([0.9, 0.7, 1.1], least=0, most=1) == Figure(value=0.9, low=0.7, high=1.0)
    assert Figure.of([0.1, -0.1, 0.3], least=0, most=1) == Figure(value=0.1, low=0.0, high=0.3)
    assert Figure.of([float("nan")] * 3, least=0, most=1) == Figure(value=None, low=None, high=None)


def test_a_verdict_needs_an_interval_that_leaves_out_zero() -> None:
    found = [verdict_of(figure(value, reach)) for value, reach in ((0.1, 0.05), (-0.1, 0.05), (0.1, 0.2), (0.0, 0.0))]
    assert found == ["better", "worse", "undecided", "same"]
    assert verdict_of(replace(figure(0.1, 0.05), low=None)) == "undecided"


@pytest.mark.skipif(
    CHROMIUM is None, reason="needs a browser; install one with: apt-get update && apt-get install -y chromium"
)
@pytest.mark.parametrize("result", [result_of(THREE), result_of({}, broken=True)], ids=["three", "none"])
def test_a_browser_draws_every_chart_in_silence(result: StudyResult, tmp_path: Path) -> None:
    (tmp_path / "study.html").write_text(render_study(result), encoding="utf-8")
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "study.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    assert 'data-charts="drawn"' in done.stdout
    assert 'class="failed"' not in done.stdout
    drawn = re.findall(r'data-chart="(\w+)"[^>]*>\s*(?:<div[^>]*>\s*)?<svg', done.stdout)
    assert drawn == (["forest", "slices", "cost", "seeds"] if result.comparisons else ["cost", "seeds"])
