"""Benchmarks are programs beside the package; their parts are imported as those programs import them."""

import sys
from pathlib import Path

import pytest
import rich.console

from lowerfunnel.pipeline.console import Console
from lowerfunnel.pipeline.recipe import load_recipe
from lowerfunnel.pipeline.run import start_run

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

TINY = """
name = "tiny"
[world]
n_users = 150
n_items = 400
n_advertisers = 60
n_categories = 4
days = 14
[world.users]
visits_per_day = 1.5
[world.advertisers]
daily_budget_clicks = 1e6
[world.response]
click_logit = -4.0
cart_logit = -3.0
[log]
synthetic = true
buckets = 2
[[log.events]]
files = "events/day-*.parquet"
[[log.items]]
files = "items.parquet"
[[log.users]]
files = "users.parquet"
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


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A finished run of a tiny world."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.toml").write_text(TINY, encoding="utf-8")
    recipe = load_recipe(folder / "tiny.toml")
    start_run(recipe, out=folder / "run", data=None, console=Console(rich.console.Console(quiet=True)))
    return folder / "run"
