"""`lowerfunnel ablate` from a study's file to its page, with a variant that cannot run."""

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from lowerfunnel.evaluation.metrics_json import read_metrics

PROGRAM = "import sys; from lowerfunnel.cli.main import main; main()"
STUDY = """
name = "small"
recipe = "{recipe}"
seeds = [1]
[settings]
evaluation = {{ floors = [], oracle = false }}
world = {{ n_users = 80, days = 12 }}
training = {{ epochs = 1 }}
[[variants]]
name = "base"
[[variants]]
name = "sharp"
settings = {{ "retrieval.objective.temperature" = 0.02 }}
[[variants]]
name = "broken"
settings = {{ "labels.split.test_days" = 100 }}
"""


@pytest.fixture(scope="module")
def study(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("studies") / "small.toml"
    path.write_text(STUDY.format(recipe=tiny))
    return path


@pytest.fixture(scope="module")
def done(study, call, tmp_path_factory):
    """The folder of the study, and how its command ended. Read only."""
    out = tmp_path_factory.mktemp("ablate") / "out"
    return out, call("ablate", study, "--out", out, "--jobs", 2)


def test_the_others_go_on_and_what_failed_is_named(done):
    out, ended = done
    assert ended.status == 1
    assert "Traceback" not in ended.err
    assert ended.err.startswith("error: 1 run of the study is missing (broken, seed 1: ")
    written = json.loads((out / "study.json").read_text())
    states = {run["variant"]: (run["state"], run["error"]) for run in written["runs"]}
    assert states["base"] == states["sharp"] == ("finished", None)
    assert states["broken"][0] == "failed"
    assert states["broken"][1] in ended.err
    assert "is missing" not in ended.out
    assert (out / "study.html").read_text().startswith("<!doctype html>")


def test_values_are_those_of_the_runs_and_differences_are_between_them(done):
    out, ended = done
    written = json.loads((out / "study.json").read_text())
    assert written["metrics"] == ["recall@10", "hr@10", "ndcg@10"]
    assert written["data"] == "synthetic"
    rows = {
        name: {
            (row.task, row.slice, row.metric): row.value
            for row in read_metrics(out / "runs" / name / "seed-1" / "metrics.json")
            if row.model == "lowerfunnel"
        }
        for name in ("base", "sharp")
    }
    assert written["values"]
    for value in written["values"]:
        key = value["task"], value["slice"], value["metric"]
        assert value["figure"]["value"] == pytest.approx(rows[value["variant"]][key], abs=1e-6)
        assert value["by_seed"] == {"1": pytest.approx(value["figure"]["value"])}
    assert {one["variant"] for one in written["comparisons"]} == {"sharp"}
    for one in written["comparisons"]:
        key = one["task"], one["slice"], one["metric"]
        assert one["difference"]["value"] == pytest.approx(rows["sharp"][key] - rows["base"][key], abs=2e-6)
        assert one["difference"]["low"] <= one["difference"]["value"] <= one["difference"]["high"]
    assert "undecided" in ended.out or "worse" in ended.out or "better" in ended.out


def test_the_log_is_imported_and_labelled_once(done):
    out, _ = done
    base, sharp = (out / "runs" / name / "seed-1" for name in ("base", "sharp"))
    for name in ("store/store.json", "labels/train.parquet"):
        assert (base / name).samefile(sharp / name)
    assert not (base / "model/weights.safetensors").samefile(sharp / "model/weights.safetensors")


def test_each_run_is_one_that_other_commands_take(done, succeed, users_file, tmp_path):
    out, _ = done
    run = shutil.copytree(out / "runs" / "sharp" / "seed-1", tmp_path / "run")
    users = users_file(["1", "2"])
    succeed("recommend", run, "--users", users, "--k", 3, "--out", tmp_path / "found.parquet")
    assert json.loads((run / "run.json").read_text())["settings"]["retrieval"]["objective"]["temperature"] == 0.02


def test_finished_runs_are_skipped_and_the_same_is_found(done, study, call, tmp_path):
    out, _ = done
    copy = shutil.copytree(out, tmp_path / "copy", copy_function=shutil.copy2)
    whole = tmp_path / "whole.toml"
    whole.write_text(study.read_text().partition('[[variants]]\nname = "broken"')[0])
    before = (copy / "runs/base/seed-1/metrics.json").stat().st_mtime_ns
    ended = call("ablate", whole, "--out", copy)
    assert ended.status == 0, ended.err
    assert "2 runs, 2 finished already" in ended.out
    assert (copy / "runs/base/seed-1/metrics.json").stat().st_mtime_ns == before
    again, first = (json.loads((folder / "study.json").read_text()) for folder in (copy, out))
    assert (again["values"], again["comparisons"]) == (first["values"], first["comparisons"])


def test_what_cannot_begin_is_one_clear_error(study, done, refuse, tmp_path):
    assert "no study" in refuse("ablate", tmp_path / "none.toml", "--out", tmp_path / "x", settings=True).err
    assert "--seeds" in refuse("ablate", study, "--out", tmp_path / "x", "--seeds", "a,b", settings=True).err
    assert (
        "generates its own log"
        in refuse("ablate", study, "--out", tmp_path / "x", "--data", tmp_path, settings=True).err
    )
    (tmp_path / "file").write_text("")
    assert "is a file" in refuse("ablate", study, "--out", tmp_path / "file").err
    assert "holds no study" in refuse("ablate", study, "--out", tmp_path).err
    assert not (tmp_path / "x").exists()


def start(*arguments):
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_of_two_studies_at_once_in_one_folder_the_second_is_refused(study, tmp_path):
    first = start("ablate", study, "--out", tmp_path / "out", "--jobs", 1)
    while not (tmp_path / "out" / "runs").exists():
        time.sleep(0.05)
    second = start("ablate", study, "--out", tmp_path / "out", "--jobs", 1)
    _, err = second.communicate(timeout=120)
    assert second.returncode == 1
    assert re.fullmatch(r"error: another process is at work in [^\n]*\n", err)
    first.communicate(timeout=300)
    assert first.returncode == 1


@pytest.mark.slow
def test_killed_at_random_moments_it_loses_nothing_finished_and_ends_the_same(study, done, tmp_path):
    rng, out, finished = random.Random(1), tmp_path / "out", {}  # noqa: S311 - no secret
    for _ in range(4):
        process = start("ablate", study, "--out", out, "--jobs", 2)
        time.sleep(rng.uniform(4, 14))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        for path, written_ns in finished.items():
            assert path.stat().st_mtime_ns == written_ns, "a finished run was done again"
        finished = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*/report.html")}
    process = start("ablate", study, "--out", out, "--jobs", 2)
    process.communicate(timeout=300)
    ours, theirs = (json.loads((folder / "study.json").read_text()) for folder in (out, done[0]))
    assert (ours["values"], ours["comparisons"]) == (theirs["values"], theirs["comparisons"])


@pytest.mark.slow
def test_ctrl_c_ends_in_one_sentence_and_leaves_nobody_at_work(study, tmp_path):
    process = start("ablate", study, "--out", tmp_path / "out", "--jobs", 2)
    while not list((tmp_path / "out").glob("runs/*/*/run.json")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.fullmatch(r"stopped; [^\n]*\n", err)
    # Nobody holds a run's lock any more.
    again = start("ablate", study, "--out", tmp_path / "out", "--jobs", 2)
    _, err = again.communicate(timeout=300)
    assert "another process" not in err
