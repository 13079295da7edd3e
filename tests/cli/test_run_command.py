"""`lowerfunnel run`: what is written, what is skipped, what is redone, who is refused."""

import fcntl
import json
import os
import re
import shutil

import pytest

from lowerfunnel.cli import serve, world
from lowerfunnel.cli.main import app
from lowerfunnel.pipeline.run_folder import RunFolder

TITLES = {
    "import": "Import the log", "label": "Label and split", "train": "Train", "index": "Build the index",
    "evaluate": "Evaluate", "report": "Write the report",
}  # fmt: skip
STEPS = list(TITLES)


def redone(printed):
    """Steps that were not skipped, from what a command printed."""
    lines = re.findall(r"^✓ (.*) (unchanged, skipped|[\d.]+ s)$", printed, re.MULTILINE)
    steps = {title: step for step, title in TITLES.items()}
    return [steps[title] for title, how in lines if how != "unchanged, skipped"]


def metrics_of(run):
    return json.loads((run / "metrics.json").read_text())["rows"]


def test_a_run_writes_what_is_promised(finished):
    for name in ("run.json", "metrics.json", "manifest.json", "report.html"):
        assert (finished / name).stat().st_size > 0
    rows = metrics_of(finished)
    assert all(
        set(row) == {"metric", "task", "slice", "model", "value", "ci_low", "ci_high", "n", "data"} for row in rows
    )
    assert {row["data"] for row in rows} == {"synthetic"}
    assert {"recall@10", "hr@10", "ndcg@20", "mrr@5", "coverage@100"} <= {row["metric"] for row in rows}
    assert {"lowerfunnel", "popularity", "untrained", "own_history"} <= {row["model"] for row in rows}
    assert {"conversion", "engagement"} == {row["task"] for row in rows}


def test_nothing_half_written_is_left(finished):
    assert [path for path in finished.rglob("*") if path.name.endswith(".tmp")] == []
    assert not (finished / "checkpoints").exists()


def test_whoever_may_look_into_the_folder_may_read_its_files(finished):
    modes = {path.stat().st_mode & 0o777 for part in ("model", "index") for path in (finished / part).rglob("*.*")}
    assert len(modes) == 1


def test_piped_output_is_plain_and_not_wrapped(printed, finished):
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f]", printed) is None
    assert f"\nreport: {(finished / 'report.html').resolve()}\n" in printed
    assert re.search(r"^  positives: .* held out: .* to validate, .* to test$", printed, re.MULTILINE)
    assert max(map(len, printed.split("report: ")[0].splitlines()[-14:])) <= 80
    assert "…" not in printed


def test_a_finished_run_is_skipped_and_changes_nothing(finished, tiny, succeed):
    before = {
        path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file() and path.name != "run.json"
    }
    again = succeed("run", tiny, "--out", finished)
    assert redone(again.out) == []
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.usefixtures("fast_report")
@pytest.mark.parametrize(
    ("override", "steps"),
    [
        ("labels.weights.click=0.2", STEPS[1:]),
        ("retrieval.objective.temperature=0.2", STEPS[2:]),
        ("index.kind=faiss_flat", STEPS[3:]),
        ("evaluation.ks=[7, 10]", STEPS[4:]),
        ("description=other", STEPS[5:]),
    ],
)
def test_a_changed_setting_redoes_its_step_and_what_follows(override, steps, copy_of_finished, tiny, succeed):
    assert redone(succeed("run", tiny, "--out", copy_of_finished, "--set", override).out) == steps


@pytest.mark.usefixtures("fast_report")
def test_a_target_recall_is_measured_on_the_users_of_the_run(copy_of_finished, tiny, succeed):
    chosen = ["index.kind=faiss_ivf", "index.target_recall=0.9", "index.target_k=5"]
    done = succeed("run", tiny, "--out", copy_of_finished, *(part for each in chosen for part in ("--set", each)))
    assert redone(done.out) == STEPS[3:]
    curve = json.loads((copy_of_finished / "index" / "index.json").read_text())["curve"]
    assert curve[-1]["recall"] >= 0.9


@pytest.mark.usefixtures("fast_report")
def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(tiny, tmp_path, finished, succeed):
    again = tmp_path / "again"
    succeed("run", tiny, "--out", again, "--seed", 0)
    assert (again / "metrics.json").read_bytes() == (finished / "metrics.json").read_bytes()
    manifests = [json.loads((run / "manifest.json").read_text()) for run in (again, finished)]
    assert manifests[0] == manifests[1]
    assert redone(succeed("run", tiny, "--out", again, "--seed", 1).out) == STEPS[1:]
    assert (again / "metrics.json").read_bytes() != (finished / "metrics.json").read_bytes()
    other = json.loads((again / "manifest.json").read_text())
    assert other["model_version"] != manifests[0]["model_version"]


class Killed(BaseException):
    """Stands for a process that ends here."""


@pytest.mark.usefixtures("fast_report")
def test_killed_after_the_work_of_every_step_gives_the_same_metrics(
    tiny, tmp_path, finished, succeed, call, monkeypatch
):
    from lowerfunnel.pipeline import run_folder

    out, write_json, killed = tmp_path / "killed", run_folder.write_json, set()

    def dying(path, value):
        if path.parent.name == "steps" and path.name not in killed:
            killed.add(path.name)
            raise Killed
        write_json(path, value)

    monkeypatch.setattr(run_folder, "write_json", dying)
    for step in STEPS:
        with pytest.raises(Killed):
            call("run", tiny, "--out", out)
        assert killed == {f"{name}.json" for name in STEPS[: STEPS.index(step) + 1]}
    assert redone(succeed("run", tiny, "--out", out).out) == ["report"]
    assert (out / "metrics.json").read_bytes() == (finished / "metrics.json").read_bytes()
    assert json.loads((out / "manifest.json").read_text()) == json.loads((finished / "manifest.json").read_text())


def test_killed_before_its_first_file_a_run_can_be_started_again(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / ".run.json.tmp").write_text("{")
    RunFolder(tmp_path).require_free_for("tiny")


@pytest.mark.usefixtures("fast_report")
def test_a_run_with_other_settings_that_is_stopped_leaves_nothing_of_the_old_ones_behind(
    tiny, copy_of_finished, call, refuse, succeed, monkeypatch, finished
):
    def stop(*_, **__):
        raise KeyboardInterrupt

    out = copy_of_finished
    with monkeypatch.context() as patch:
        patch.setattr("lowerfunnel.pipeline.steps.train", stop)
        ended = call("run", tiny, "--out", out, "--set", "labels.weights.click=0.2")
    assert ended.status == 130
    assert ended.err.count("\n") == 1
    assert "the same command goes on" in ended.err
    assert not {"metrics.json", "manifest.json", "report.html"} & {path.name for path in out.iterdir()}
    for command in (["evaluate", out], ["report", out]):
        assert 'has not finished its step "train"' in refuse(*command).err
    succeed("run", tiny, "--out", out)
    assert (out / "metrics.json").read_bytes() == (finished / "metrics.json").read_bytes()


@pytest.mark.usefixtures("fast_report")
@pytest.mark.parametrize(
    ("damage", "step"),
    [
        ("store/items.parquet", "import"),
        ("labels/train.parquet", "label"),
        ("model/weights.safetensors", "train"),
        ("index/vectors.safetensors", "index"),
        ("evaluation", "evaluate"),
        ("metrics.json", "evaluate"),
        ("manifest.json", "report"),
        ("steps/train.json", "train"),
        ("steps/index.json", "index"),
    ],
)
def test_what_was_deleted_or_damaged_is_made_again(damage, step, copy_of_finished, finished, monkeypatch):
    from lowerfunnel.config import load_settings
    from lowerfunnel.pipeline.fingerprints import fingerprints
    from lowerfunnel.pipeline.recipe import Recipe

    path = copy_of_finished / damage
    if path.is_dir():
        shutil.rmtree(path)
    elif path.suffix == ".json":
        path.write_text("{}")
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1  # the size stays
        path.write_bytes(content)
    folder = RunFolder(copy_of_finished)
    recipe = load_settings(Recipe, folder.settings(), source="run.json")
    made = fingerprints(recipe, folder.record("import").fingerprint)
    assert RunFolder(finished).finished(made) == STEPS
    assert folder.finished(made) == STEPS[: STEPS.index(step)]


@pytest.mark.usefixtures("fast_report")
def test_a_damaged_model_is_refused_by_all_who_read_it_and_redone_by_run(
    tiny, copy_of_finished, refuse, succeed, finished, users_file, tmp_path
):
    out = copy_of_finished
    (out / "model" / "weights.safetensors").write_bytes(b"damaged")
    for command in (
        ["evaluate", out],
        ["report", out],
        ["recommend", out, "--users", users_file(["1"]), "--k", 3, "--out", tmp_path / "o.parquet"],
    ):
        assert 'weights.safetensors is not what the step "train" wrote' in refuse(*command).err
    assert redone(succeed("run", tiny, "--out", out).out) == STEPS[2:]
    assert (out / "metrics.json").read_bytes() == (finished / "metrics.json").read_bytes()


def test_the_second_of_two_runs_in_one_folder_is_refused_and_changes_nothing(tiny, copy_of_finished, refuse):
    before = (copy_of_finished / "run.json").read_bytes()
    with (copy_of_finished / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = refuse("run", tiny, "--out", copy_of_finished, "--seed", 5)
    assert "another process is at work" in second.err
    assert second.err.count("\n") == 1
    assert (copy_of_finished / "run.json").read_bytes() == before


def test_nobody_writes_while_somebody_reads_and_readers_do_not_mind_each_other(copy_of_finished, tiny, refuse):
    folder = RunFolder(copy_of_finished)
    with folder.reading(), folder.reading():
        assert "another process is at work" in refuse("run", tiny, "--out", copy_of_finished).err


def test_the_folder_of_another_run_is_refused(finished, shop, refuse):
    ended = refuse("run", shop, "--data", shop.parent / "log", "--out", finished)
    assert 'holds another run, of the recipe "tiny" and not "shop"' in ended.err


def test_somebodys_folder_is_refused_and_left_alone(tiny, tmp_path, refuse):
    (tmp_path / "letter.txt").write_text("dear")
    assert "is not empty and holds no run" in refuse("run", tiny, "--out", tmp_path).err
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_file_as_the_folder_is_refused(tiny, tmp_path, refuse):
    (tmp_path / "file").write_text("")
    assert "is a file; give a folder" in refuse("run", tiny, "--out", tmp_path / "file").err
    assert "cannot be written (Not a directory)" in refuse("run", tiny, "--out", tmp_path / "file" / "run").err
    assert "File name too long" in refuse("run", tiny, "--out", tmp_path / ("x" * 300)).err


@pytest.mark.parametrize("content", ["{", "[]", '{"settings": 3}', '{"lowerfunnel": "0.1.0"}', "\xff"])
def test_a_damaged_run_file_is_refused(content, copy_of_finished, tiny, refuse):
    (copy_of_finished / "run.json").write_text(content, encoding="latin-1")
    for command in (
        ["run", tiny, "--out", copy_of_finished],
        ["evaluate", copy_of_finished],
        ["report", copy_of_finished],
    ):
        assert "run.json is damaged" in refuse(*command).err


def test_a_run_of_another_version_is_refused(copy_of_finished, refuse):
    path = copy_of_finished / "run.json"
    path.write_text(path.read_text().replace('"feedforward"', '"feedback"'))
    assert "of another version of lowerfunnel" in refuse("report", copy_of_finished).err


def test_settings_changed_by_hand_are_found(copy_of_finished, refuse):
    path = copy_of_finished / "run.json"
    path.write_text(path.read_text().replace('"temperature": 0.1', '"temperature": 0.3'))
    assert 'the step "train" in' in refuse("evaluate", copy_of_finished).err


@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_what_is_no_run_is_refused(command, tmp_path, refuse):
    assert "holds no run (run.json is missing)" in refuse(command, tmp_path).err
    assert "holds no run" in refuse(command, tmp_path / "nowhere").err
    (tmp_path / "file").touch()
    assert "holds no run" in refuse(command, tmp_path / "file").err


@pytest.mark.usefixtures("fast_report")
def test_evaluate_and_report_do_their_steps_again_alike(copy_of_finished, finished, succeed, tiny):
    out = copy_of_finished
    ended = succeed("evaluate", out)
    assert redone(ended.out) == ["evaluate", "report"]
    assert (out / "metrics.json").read_bytes() == (finished / "metrics.json").read_bytes()
    assert json.loads((out / "manifest.json").read_text()) == json.loads((finished / "manifest.json").read_text())
    ended = succeed("report", out)
    assert redone(ended.out) == ["report"]
    assert ended.out.endswith(f"\n{(out / 'report.html').resolve()}\n")
    assert redone(succeed("run", tiny, "--out", out).out) == []


@pytest.mark.usefixtures("fast_report")
def test_a_run_of_a_given_log_can_be_evaluated_and_reported_without_the_log(shop_run, tmp_path, succeed):
    out = shutil.copytree(shop_run, tmp_path / "copy")
    before = json.loads((out / "manifest.json").read_text())
    succeed("evaluate", out)
    succeed("report", out)
    assert json.loads((out / "manifest.json").read_text()) == before


@pytest.mark.usefixtures("fast_report")
def test_the_content_of_a_file_counts_and_its_time_and_place_do_not(shop, shop_run, tmp_path, succeed):
    out = shutil.copytree(shop_run, tmp_path / "copy")
    log = shutil.copytree(shop.parent / "log", tmp_path / "moved")
    os.utime(log / "events.csv", (1, 1))
    assert redone(succeed("run", shop, "--data", log, "--out", out).out) == []
    lines = (log / "events.csv").read_text(encoding="utf-8").splitlines()
    (log / "events.csv").write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")
    assert redone(succeed("run", shop, "--data", log, "--out", out).out) == STEPS


def test_a_manifest_binds_everything(finished):
    manifest = json.loads((finished / "manifest.json").read_text())
    assert re.fullmatch(r"[0-9a-f]{16}", manifest["model_version"])
    assert {"model/weights.safetensors", "model/model.json", "model/items.parquet", "index/index.json"} <= set(
        manifest["files"]
    )
    assert "model/training.json" not in manifest["files"]
    for name in ("data_fingerprint", "settings_sha256", "store_sha256", "metrics_sha256"):
        assert re.fullmatch(r"[0-9a-f]{64}", manifest[name])
    assert manifest["lowerfunnel"]
    assert manifest["torch"]
    assert manifest["data"] == "synthetic"


def test_every_command_explains_itself(call):
    commands = {command.callback.__name__ for command in app.registered_commands}
    assert commands == {
        "version", "run", "recommend", "evaluate", "report", "check", "settings", "ablate", "tune", "serve",
        "publish", "replay",
    }  # fmt: skip
    of_world = {command.callback.__name__ for command in world.app.registered_commands}
    assert of_world == {"make", "describe", "experiment"}
    of_keys = {command.name for command in serve.keys.registered_commands}
    assert of_keys == {"make", "list", "revoke"}
    groups = {"world": of_world, "keys": of_keys}
    within = [[group, name] for group, names in groups.items() for name in names]
    for words in [*([name] for name in commands), *([group] for group in groups), *within]:
        assert call(*words, "--help").status == 0


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), RuntimeError("Query interrupted")])
def test_ctrl_c_is_one_sentence_however_it_arrives(interruption, tiny, tmp_path, call, monkeypatch):
    def interrupted(*_, **__):
        raise interruption

    monkeypatch.setattr("lowerfunnel.pipeline.steps.import_log", interrupted)
    ended = call("run", tiny, "--out", tmp_path / "run")
    assert ended.status == 130
    assert ended.err == "stopped; the same command goes on from there, finished steps are kept\n"
