"""The page of an experiment: what it says first, for every outcome, and that a browser draws it."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_arena import ByQuality, SmallArena

from lowerfunnel.page.formats import relative
from lowerfunnel.world.experiment import Experiment, experiment, write_experiment
from lowerfunnel.world.experiment.render import render_experiment
from lowerfunnel.world.experiment.words import BY_NAME as METRIC
from lowerfunnel.world.experiment.words import headline, shown_difference, shown_value
from lowerfunnel.world.outcomes import Outcomes
from lowerfunnel.world.policy import Policy

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--enable-logging=stderr", "--virtual-time-budget=20000", "--window-size=1280,2000", "--dump-dom"]
HOSTILE = "</script><script>alert(1)</script>{{ 7*7 }}"


@pytest.fixture(scope="module")
def arena() -> SmallArena:
    return SmallArena(users=200)


@pytest.fixture(scope="module")
def better(arena: SmallArena) -> Experiment:
    return experiment(
        arena, ByQuality(arena, noise=0.5, name="old"), ByQuality(arena, name="new"), days=[0, 1], n_boot=100
    )


class NothingSold(SmallArena):
    """A world where nobody ever buys or clicks."""

    def play(self, policy: Policy, day: int, *, limit_s: float | None = None) -> Outcomes:
        made = super().play(policy, day, limit_s=limit_s)
        never_N = np.zeros(len(made), np.bool_)
        return replace(
            made,
            clicked_N=never_N,
            converted_N=never_N,
            view_through_N=never_N,
            carted_N=never_N,
            dwell_s_N=np.full(len(made), np.nan),
            value_N=np.zeros(len(made)),
            cost_N=np.zeros(len(made)),
        )


def test_it_says_who_sells_more(arena: SmallArena, better: Experiment) -> None:
    assert re.fullmatch(r"new sells [\d.]+% more than old\.", headline(better).sentence)
    worse = experiment(
        arena, ByQuality(arena, name="new"), ByQuality(arena, noise=0.5, name="old"), days=[0, 1], n_boot=100
    )
    assert re.fullmatch(r"old sells [\d.]+% less than new\.", headline(worse).sentence)
    same = experiment(arena, ByQuality(arena), ByQuality(arena), days=[0], n_boot=20)
    assert headline(same).sentence == "by quality sells exactly what by quality sells."
    close = experiment(
        arena, ByQuality(arena, noise=0.02, name="old"), ByQuality(arena, noise=0.021, name="new"), days=[0], n_boot=100
    )
    assert headline(close).sentence.startswith("No clear difference: ")


def test_a_world_that_sells_nothing_has_a_page_that_says_so() -> None:
    arena = NothingSold(users=60)
    result = experiment(arena, ByQuality(arena, noise=0.5, name="old"), ByQuality(arena), days=[0], n_boot=20)
    assert headline(result).sentence == "old sells nothing, so nothing can be compared with it."
    assert "NaN" not in render_experiment(result).split('id="charts">')[1].split("</script>")[0]


def test_hostile_names_stay_texts(better: Experiment) -> None:
    page = render_experiment(replace(better, policy_a=HOSTILE, policy_b=HOSTILE))
    assert HOSTILE not in page
    assert page.count("<script") == 3 + page.split("<script>")[1].count("<script")
    assert "sells 49" not in page


def test_nothing_is_loaded_and_every_heading_says_synthetic(better: Experiment) -> None:
    page = render_experiment(better)
    assert "default-src 'none'" in page
    assert not re.search(r'(src|href)="(?!#|data:,)', page.split("<script>")[0])
    headings = re.findall(r"<h2 .*?</h2>", page)
    assert len(headings) == 6
    assert all("synthetic data" in heading for heading in headings)


def test_every_metric_is_in_the_table(better: Experiment) -> None:
    page = render_experiment(better)
    for name, metric in METRIC.items():
        assert f"<b>{metric.shown}</b>" in page, name
        assert metric.meaning in page, name


@pytest.mark.parametrize(
    ("value", "metric", "shown", "difference"),
    [
        (1234.0, "conversions", "1,234", "+1,234"),
        (0.0123, "ctr", "1.2%", "+1.2 points"),
        (12.345, "revenue_per_mille", "$12.35", "+$12.35"),
        (250_000.0, "revenue", "$250k", "+$250k"),
        (3.456, "roas", "3.46", "+3.46"),
        (-0.0005, "ctr30", "-0.050%", "\N{MINUS SIGN}0.050 points"),
        (None, "roas", "\N{EN DASH}", "\N{EN DASH}"),
    ],
)
def test_figures_are_shown_in_their_unit(value: float | None, metric: str, shown: str, difference: str) -> None:
    assert shown_value(value, METRIC[metric]) == shown
    assert shown_difference(value, METRIC[metric]) == difference


def test_relative_differences_have_a_sign() -> None:
    shown = [relative(value) for value in (0.1234, -0.02, 0.0, 2.5, None)]
    assert shown == ["+12.3%", "\N{MINUS SIGN}2.0%", "0%", "+250%", "\N{EN DASH}"]


@pytest.mark.skipif(
    CHROMIUM is None, reason="needs a browser; install one with: apt-get update && apt-get install -y chromium"
)
def test_a_browser_draws_every_chart_in_silence(better: Experiment, tmp_path: Path) -> None:
    write_experiment(better, tmp_path)
    command = [
        str(CHROMIUM),
        *FLAGS,
        f"--user-data-dir={tmp_path / 'profile'}",
        (tmp_path / "experiment.html").as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    assert 'data-charts="drawn"' in done.stdout
    assert 'class="failed"' not in done.stdout
    drawn = re.findall(r'data-chart="(\w+)"[^>]*>\s*(?:<div[^>]*>\s*)?<svg', done.stdout)
    assert drawn == ["forest", "daily", "settled", "slices", "items", "advertisers"]
