"""`lowerfunnel tune` from ranges to a recipe that runs."""

import json

import pytest

from lowerfunnel.pipeline.recipe import load_recipe

SPACE = """
settings = { "world.days" = 14, "evaluation.floors" = [] }
[[ranges]]
setting = "retrieval.objective.temperature"
low = 0.01
high = 1.0
log = true
"""


@pytest.mark.slow
def test_a_search_ends_with_a_recipe_that_runs_and_never_looks_at_the_test(tiny, succeed, fast_report, tmp_path):
    (tmp_path / "space.toml").write_text(SPACE)
    out = tmp_path / "out"
    ended = succeed("tune", tiny, "--space", tmp_path / "space.toml", "--out", out, "--trials", 3, "--jobs", 2)
    assert "Best of 3 trials (3 finished), validation, synthetic data" in " ".join(ended.out.split())
    written = json.loads((out / "tune.json").read_text())
    assert {trial["state"] for trial in written["trials"]} == {"finished"}
    assert written["metric"] == "recall@10"
    assert [path.name for path in out.glob("runs/*/seed-0/evaluation")] == []
    first, *others = sorted(out.glob("runs/*/seed-0/store/store.json"))
    assert all(first.samefile(other) for other in others)
    best = written["trials"][written["best"]]
    recipe = load_recipe(out / "best.toml")
    assert recipe.retrieval.objective.temperature == best["values"]["retrieval.objective.temperature"]
    succeed("run", out / "best.toml", "--out", tmp_path / "run")
    history = json.loads((tmp_path / "run/model/training.json").read_text())["history"]
    assert max(row["recall@10"] for row in history) == best["value"]
    again = succeed("tune", tiny, "--space", tmp_path / "space.toml", "--out", out, "--trials", 3)
    assert json.loads((out / "tune.json").read_text()) == written
    assert "Best of 3 trials" in again.out


def test_what_cannot_begin_is_one_clear_error(tiny, refuse, tmp_path):
    assert "no table [tune]" in refuse("tune", tiny, "--out", tmp_path / "x", settings=True).err
    (tmp_path / "space.toml").write_text(SPACE.replace("temperature", "temprature"))
    said = refuse("tune", tiny, "--out", tmp_path / "x", "--space", tmp_path / "space.toml", settings=True).err
    assert "retrieval.objective.temprature" in said
    (tmp_path / "space.toml").write_text(SPACE)
    assert "holds no search" in refuse("tune", tiny, "--out", tmp_path, "--space", tmp_path / "space.toml").err
