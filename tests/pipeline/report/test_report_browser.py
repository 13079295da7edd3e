"""The page as a browser shows it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from report_samples import bare, hostile, sample

from lowerfunnel.pipeline.report import render_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=20000",
    "--window-size=1280,2000",
    "--dump-dom",
]

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs a browser; install one with: apt-get update && apt-get install -y chromium"
)


def browse(page: str, folder: Path) -> tuple[str, list[str]]:
    """Return the document once its scripts have run, and what they wrote to the console."""
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("make", [sample, hostile], ids=["sample", "hostile"])
def test_every_chart_is_drawn_and_the_console_is_silent(make: object, tmp_path: Path) -> None:
    assert callable(make)
    document, console = browse(render_report(make()), tmp_path)
    assert console == []
    assert 'data-charts="drawn"' in document
    assert 'class="failed"' not in document
    places = re.findall(
        r'<div class="chart[^"]*" data-chart="(\w+)".*?(?=<div class="chart|</main>)', document, re.DOTALL
    )
    drawn = re.findall(r'data-chart="(\w+)"[^>]*>\s*(?:<div[^>]*>\s*)?<svg', document)
    assert places
    assert drawn == places
    marks = document.count('class="mark-')
    assert marks > 3 * len(places)


def test_a_page_without_charts_is_silent_too(tmp_path: Path) -> None:
    document, console = browse(render_report(bare()), tmp_path)
    assert console == []
    assert "has not been evaluated" in document
