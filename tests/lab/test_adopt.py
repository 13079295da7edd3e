"""Steps that one run takes over from another."""

from pathlib import Path

from lab_samples import do_step, planned

from lowerfunnel.lab.adopt import adopt
from lowerfunnel.lab.planned import SHARED_STEPS, PlannedRun
from lowerfunnel.pipeline.run_folder import RunFolder


def shared(run: PlannedRun) -> dict[str, str]:
    return {step: run.fingerprints[step] for step in SHARED_STEPS}


def both(tmp_path: Path, **fingerprints: str) -> tuple[PlannedRun, PlannedRun]:
    """A run that has imported and labelled, and one that has not begun."""
    first, second = planned(tmp_path, "a"), planned(tmp_path, "b", **fingerprints)
    do_step(first, "import", store__deep__x="events")
    do_step(first, "label", labels__y="labels")
    RunFolder.create(second.path)
    return first, second


def test_what_is_taken_over_counts_as_finished_and_is_no_second_copy(tmp_path: Path) -> None:
    first, second = both(tmp_path)
    assert adopt(RunFolder(second.path), shared(second), [first.path]) == ["import", "label"]
    assert RunFolder(second.path).finished(shared(second)) == ["import", "label"]
    assert (second.path / "store/deep/x").samefile(first.path / "store/deep/x")
    assert RunFolder(second.path).record("import") == RunFolder(first.path).record("import")


def test_removing_it_in_one_run_leaves_the_other_whole(tmp_path: Path) -> None:
    first, second = both(tmp_path)
    adopt(RunFolder(second.path), shared(second), [first.path])
    (first.path / "store/deep/x").unlink()
    assert RunFolder(second.path).finished(shared(second)) == ["import", "label"]


def test_a_step_made_from_something_else_is_not_taken_nor_what_follows(tmp_path: Path) -> None:
    first, second = both(tmp_path, label="other labels")
    assert adopt(RunFolder(second.path), shared(second), [first.path]) == ["import"]
    first, second = both(tmp_path / "other", **{"import": "other log"})
    assert adopt(RunFolder(second.path), shared(second), [first.path]) == []
    assert not (second.path / "labels").exists()


def test_what_a_run_has_itself_is_kept(tmp_path: Path) -> None:
    first, second = both(tmp_path)
    do_step(second, "import", store__own="mine")
    assert adopt(RunFolder(second.path), shared(second), [first.path]) == ["label"]
    assert (second.path / "store/own").read_text() == "mine"


def test_damaged_files_are_not_believed(tmp_path: Path) -> None:
    first, second = both(tmp_path)
    (first.path / "store/deep/x").write_text("damaged")
    adopt(RunFolder(second.path), shared(second), [first.path])
    assert RunFolder(second.path).finished(shared(second)) == []


def test_files_that_have_just_gone_are_not_taken(tmp_path: Path) -> None:
    first, second = both(tmp_path)
    (first.path / "store/deep/x").unlink()
    assert adopt(RunFolder(second.path), shared(second), [first.path]) == []


def test_without_links_the_files_are_copied(tmp_path: Path, monkeypatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(1, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    first, second = both(tmp_path)
    assert adopt(RunFolder(second.path), shared(second), [first.path]) == ["import", "label"]
    assert not (second.path / "store/deep/x").samefile(first.path / "store/deep/x")
    assert RunFolder(second.path).finished(shared(second)) == ["import", "label"]


def test_a_run_made_from_the_same_takes_over_the_model_and_its_figures(tmp_path: Path) -> None:
    same = {step: f"{step} of both" for step in ("train", "index", "evaluate")}
    first, second = planned(tmp_path, "a", **same), planned(tmp_path, "b", **same)
    for step, files in {
        "import": {"store__x": "events"},
        "label": {"labels__y": "labels"},
        "train": {"model__weights": "weights"},
        "index": {"index__vectors": "vectors"},
        "evaluate": {"evaluation__ranks": "ranks", "metrics_json": "{}"},
    }.items():
        do_step(first, step, **files)
    RunFolder.create(second.path)
    assert adopt(RunFolder(second.path), shared(second), [first.path]) == list(SHARED_STEPS)
    assert RunFolder(second.path).finished(shared(second)) == list(SHARED_STEPS)
    assert (second.path / "metrics.json").samefile(first.path / "metrics.json")
    assert not list(second.path.glob(".*.tmp"))
