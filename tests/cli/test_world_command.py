"""`lowerfunnel world`: worlds by preset, and experiments with the models of finished runs."""

import json
import re
import shutil

import pyarrow.parquet as pq
import pytest


@pytest.fixture(scope="session")
def other_model(tiny, tmp_path_factory, succeed):
    """A run on the same world whose model began from other weights and was trained for one epoch."""
    recipe = tmp_path_factory.mktemp("recipes") / "hasty.toml"
    recipe.write_text(tiny.read_text().replace('name = "tiny"', 'name = "hasty"'))
    out = tmp_path_factory.mktemp("runs") / "hasty"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lowerfunnel.pipeline.report.render_report", lambda _: "<html></html>\n")
        hasty = ["--seed", 3, "--set", "training.epochs=1", "--set", "evaluation.floors=[]"]
        succeed("run", recipe, "--out", out, *hasty)
    return out


def rows_of(folder):
    written = json.loads((folder / "experiment.json").read_text())
    assert written["data"] == "synthetic"
    return written, {row["metric"]: row for row in written["rows"] if row["slice"] == "all"}


def test_a_model_is_tried_against_the_logging_policy_on_the_days_after_the_log(finished, succeed, tmp_path):
    printed = succeed("world", "experiment", finished, "--days", 3, "--out", tmp_path / "out").out
    written, rows = rows_of(tmp_path / "out")
    assert (written["policy_a"], written["policy_b"]) == ("logging", "tiny")
    assert [day["day"] for day in written["days"]] == [20, 21, 22]
    assert written["days"][0]["date"] == "2026-01-25"
    assert rows["conversions"]["value_a"] > 0
    assert re.search(r"^ Conversions +\d+ +\d+ ", printed, re.MULTILINE)
    assert printed.rstrip().endswith(f"page: {(tmp_path / 'out' / 'experiment.html').resolve()}")
    assert "tiny against logging" in (tmp_path / "out" / "experiment.html").read_text()


def test_a_model_against_itself_differs_by_exactly_nothing(copy_of_finished, succeed):
    printed = succeed("world", "experiment", copy_of_finished, "--against", copy_of_finished, "--days", 2).out
    _, rows = rows_of(copy_of_finished / "experiment")
    assert {row["difference"] for row in rows.values()} == {0}
    assert "0% to 0%" in printed


def test_two_models_of_one_world_are_compared_under_their_recipes_names(finished, other_model, succeed, tmp_path):
    succeed("world", "experiment", finished, "--against", other_model, "--days", 2, "--out", tmp_path)
    written, rows = rows_of(tmp_path)
    assert (written["policy_a"], written["policy_b"]) == ("hasty", "tiny")
    assert rows["ctr"]["difference"] != 0


def test_the_same_experiment_gives_the_same_files_and_another_seed_other_intervals(finished, succeed, tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        succeed("world", "experiment", finished, "--days", 1, "--seed", seed, "--out", tmp_path / name)
    one, two, three = ((tmp_path / name / "experiment.json").read_bytes() for name in ("one", "two", "three"))
    assert one == two
    assert one != three


def test_what_cannot_be_tried_is_one_sentence(finished, shop_run, other_model, refuse, tmp_path):
    assert "is not on a synthetic world" in refuse("world", "experiment", shop_run).err
    assert "is not on a synthetic world" in refuse("world", "experiment", finished, "--against", shop_run).err
    assert "holds no run" in refuse("world", "experiment", tmp_path / "nothing").err
    assert "holds no run" in refuse("world", "experiment", finished, "--against", tmp_path / "nothing").err
    late = refuse("world", "experiment", finished, "--days", 1, "--limit-s", 0.001, "--out", tmp_path / "late").err
    assert "took longer than 0.001 s" in late
    assert not (tmp_path / "late").exists()
    elsewhere = shutil.copytree(other_model, tmp_path / "elsewhere")
    settings = json.loads((elsewhere / "run.json").read_text())
    settings["settings"]["world"]["seed"] = 5
    (elsewhere / "run.json").write_text(json.dumps(settings))
    assert "are on different worlds" in refuse("world", "experiment", finished, "--against", elsewhere).err
    shutil.rmtree(elsewhere / "world")
    assert "holds no synthetic world" in refuse("world", "experiment", elsewhere).err


def test_days_that_are_none_are_refused_by_the_command_line(finished, call):
    ended = call("world", "experiment", finished, "--days", 0)
    assert ended.status == 2
    assert "--days" in ended.err


def test_a_preset_is_where_settings_start(succeed, refuse, tmp_path):
    few = ["--set", "days=2", "--set", "n_users=30"]
    succeed("world", "make", "--preset", "tiny", "--out", tmp_path / "world", *few, "--workers", 2)
    settings = json.loads((tmp_path / "world" / "world.json").read_text())["settings"]
    assert (settings["days"], settings["n_users"], settings["n_items"]) == (2, 30, 200)
    assert pq.read_metadata(tmp_path / "world" / "items.parquet").num_rows == 200
    assert (
        "choose one of tiny, demo, standard"
        in refuse("world", "make", "--preset", "huge", "--out", tmp_path / "x", settings=True).err
    )
