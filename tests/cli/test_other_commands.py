"""`check`, `world`, `settings`, `version`: what they print and write."""

import re

import pyarrow.parquet as pq

from lowerfunnel import __version__


def test_version_is_the_packages(succeed):
    assert succeed("version").out == f"{__version__}\n"


def test_check_prints_the_quality_of_a_log_and_keeps_nothing(succeed, shop, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    for page in (succeed("check", shop, "--data", shop.parent / "log").out, succeed("check", tiny).out):
        assert "checkout" in page
        assert re.search(r"[\x00-\x09\x0b-\x1f\x7f]", page) is None
    assert list(tmp_path.iterdir()) == []


def test_world_writes_a_log_once(succeed, refuse, tmp_path):
    options = ["--set", "n_users=20", "--set", "n_items=30", "--set", "n_advertisers=3", "--set", "days=3"]
    out = tmp_path / "world"
    assert succeed("world", "make", "--out", out, *options).out == f"{out.resolve()}\n"
    written = (out / "events" / "day-000.parquet").read_bytes()
    assert pq.read_metadata(out / "users.parquet").num_rows == 20
    succeed("world", "make", "--out", out, *options)
    assert (out / "events" / "day-000.parquet").read_bytes() == written
    assert "already holds something else" in refuse("world", "make", "--out", out, *options, "--set", "seed=1").err
    assert "did you mean n_users?" in refuse("world", "make", "--out", out, "--set", "n_user=3", settings=True).err


def test_a_world_runs_as_a_log_of_files_too(succeed, tiny, tmp_path, fast_report):
    options = ["--set", "n_users=60", "--set", "n_items=40", "--set", "n_advertisers=3", "--set", "days=20"]
    succeed("world", "make", "--out", tmp_path / "log", *options)
    recipe = tmp_path / "files.toml"
    before, _, rest = tiny.read_text().partition("[world]")
    recipe.write_text(before + "[log]" + rest.partition("[log]")[2])
    overrides = ["--set", "training.epochs=1", "--set", "evaluation.floors=[]"]
    succeed("run", recipe, "--data", tmp_path / "log", "--out", tmp_path / "run", *overrides)
    assert (tmp_path / "run" / "metrics.json").is_file()
    assert not (tmp_path / "run" / "world").exists()


def test_settings_lists_every_setting_with_type_default_and_meaning(succeed):
    rows = [line.split("\t") for line in succeed("settings").out.splitlines()]
    assert all(len(row) == 4 for row in rows)
    assert all(row[3] for row in rows), [row[0] for row in rows if not row[3]]
    named = {row[0]: row for row in rows}
    assert named["training.epochs"][1:3] == ["int", "20"]
    assert named["labels.weights"][1] == "dict[str, float]"  # brackets are no markup
    assert named["name"][2] == "(required)"
    assert "world.n_users" in named
    assert "log.events.N.columns" in named
