"""Benchmarks are programs beside the package; their parts are imported as those programs import them."""

import sys
from pathlib import Path

import pytest
import rich.console
from tests.tiny_world import tiny_world

from lowerfunnel.pipeline.console import Console
from lowerfunnel.pipeline.recipe import load_recipe
from lowerfunnel.pipeline.run import start_run

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

TINY = (
    'name = "tiny"'
    + tiny_world(users=150, items=400, advertisers=60, days=14)
    + """
[labels]
touch_window_h = 168.0
[labels.split]
test_days = 3
validation_days = 2
[retrieval.tower]
width = 8
hidden = [8]
cross_rank = 4
[retrieval.history]
length = 8
feedforward = 8
[retrieval.context]
subject = true
query = true
[retrieval.objective]
batch_size = 256
[training]
epochs = 1
threads = 1
[evaluation]
bootstrap = 100
ks = [10]
headline = "recall@10"
floors = []
oracle = false
"""
)


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A finished run of a tiny world."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.toml").write_text(TINY, encoding="utf-8")
    recipe = load_recipe(folder / "tiny.toml")
    start_run(recipe, out=folder / "run", data=None, console=Console(rich.console.Console(quiet=True)))
    return folder / "run"
