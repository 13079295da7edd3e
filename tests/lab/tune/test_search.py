"""The search: what it tries, gives up, remembers and writes. Training is acted: its value follows from the settings."""

import io
import json
import math
import tomllib
from pathlib import Path
from typing import Any

import pytest
import rich.console

from lowerfunnel.config import load_settings
from lowerfunnel.errors import RunError
from lowerfunnel.lab.crew import Ended
from lowerfunnel.lab.machine import Machine
from lowerfunnel.lab.tune.search import tune
from lowerfunnel.lab.tune.space import load_space
from lowerfunnel.lab.tune.table import tune_table
from lowerfunnel.lab.tune.trial import TuneResult
from lowerfunnel.lab.worker import Job
from lowerfunnel.pipeline.recipe import Recipe, load_recipe

optuna = pytest.importorskip("optuna")

RECIPE = """
name = "base"
[world]
[log]
synthetic = true
[[log.events]]
files = "events/*.parquet"
[training]
device = "cpu"
[retrieval.objective]
temperature = 0.9
"""
SPACE = """
seeds = [0, 1]
[[ranges]]
setting = "retrieval.objective.temperature"
low = 0.001
high = 1.0
log = true
[[ranges]]
setting = "training.schedule"
choices = ["constant", "linear"]
"""
EPOCHS = 4


def value_of(recipe: Recipe) -> float:
    """Best at a temperature of 0.1 with a linear schedule."""
    away = abs(math.log10(recipe.retrieval.objective.temperature) + 1)
    return 0.8 - 0.2 * away - (0.1 if recipe.training.schedule == "constant" else 0.0) + 0.001 * recipe.seed


class Actors:
    """Stand in for workers: each turn one of them, in rotation, validates an epoch more; then it is done."""

    def __init__(self, failing: float = 0.0, cut_off_after: int | None = None) -> None:
        self._failing = failing
        self._left = cut_off_after
        self._jobs: dict[str, tuple[Job, Recipe, int]] = {}
        self._stopped: set[str] = set()
        self.begun: list[str] = []
        self.most = 0

    def __enter__(self) -> "Actors":
        return self

    def __exit__(self, *_: object) -> None: ...

    @property
    def names(self) -> list[str]:
        return list(self._jobs)

    def start(self, name: str, job: Job) -> None:
        assert job.until == "train"
        self._jobs[name] = job, load_settings(Recipe, job.settings, source="job"), 0
        self.begun.append(job.path)
        self.most = max(self.most, len(self._jobs))

    def stop(self, name: str) -> None:
        self._stopped.add(name)

    def next(self) -> tuple[str, Any]:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise KeyboardInterrupt
        name = next(iter(self._jobs))
        job, recipe, epoch = self._jobs.pop(name)
        if name in self._stopped:
            self._stopped.remove(name)
            return name, Ended(error="its process was ended by SIGKILL")
        if recipe.retrieval.objective.temperature < self._failing:
            return name, Ended(error="the loss is nan")
        history = [{"epoch": e + 1.0, "recall@100": value_of(recipe) * (e + 1) / EPOCHS} for e in range(EPOCHS)]
        if epoch < EPOCHS:
            self._jobs[name] = job, recipe, epoch + 1
            return name, {"event": "validated", "row": history[epoch]}
        model = Path(job.path) / "model"
        model.mkdir(parents=True)
        (model / "training.json").write_text(json.dumps({"history": history, "trained_s": 1.5}))
        return name, Ended(error=None, peak_bytes=10**9)


def searched(
    folder: Path, actors: Actors, *, trials: int = 40, jobs: int | None = 2, space: str = SPACE
) -> tuple[TuneResult, str]:
    folder.mkdir(exist_ok=True)
    (folder / "base.toml").write_text(RECIPE)
    (folder / "space.toml").write_text(space)
    console = rich.console.Console(file=io.StringIO(), width=100)
    result = tune(
        load_space(folder / "base.toml", folder / "space.toml"),
        out=folder / "out",
        data=None,
        trials=trials,
        console=console,
        jobs=jobs,
        machine=Machine(cores=4, available_bytes=10**10),
        crew=lambda: actors,
    )
    console.print(tune_table(result))
    return result, console.file.getvalue()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TuneResult, str, Actors]:
    folder, actors = tmp_path_factory.mktemp("tune"), Actors()
    result, said = searched(folder, actors)
    return folder / "out", result, said, actors


def test_it_finds_the_best_and_writes_a_recipe_with_it(done: tuple) -> None:
    out, result, said, _ = done
    best = result.best
    assert best is not None
    assert best.values["training.schedule"] == "linear"
    assert 0.04 < best.values["retrieval.objective.temperature"] < 0.25
    assert best.value == max(trial.value for trial in result.trials if trial.state == "finished")
    recipe = load_recipe(out / "best.toml")
    assert recipe.retrieval.objective.temperature == best.values["retrieval.objective.temperature"]
    assert recipe.training.schedule == "linear"
    assert recipe.name == "base"
    assert value_of(recipe) + 0.0005 == pytest.approx(best.value)
    assert f"{best.value:.4f}" in said


def test_the_recipe_as_it_is_comes_first(done: tuple) -> None:
    _, result, _, _ = done
    assert result.trials[0].values == {"retrieval.objective.temperature": 0.9, "training.schedule": "constant"}


def test_every_trial_is_in_its_ranges_and_a_finished_one_is_the_mean_of_its_seeds(done: tuple) -> None:
    _, result, _, actors = done
    assert [trial.number for trial in result.trials] == list(range(40))
    for trial in result.trials:
        assert all(one.holds(trial.values[one.setting]) for one in result.space.ranges)
        if trial.state == "finished":
            assert set(trial.by_seed) == {"0", "1"}
            assert trial.value == pytest.approx(sum(trial.by_seed.values()) / 2)
            assert trial.epochs == 2 * EPOCHS
            assert trial.trained_s == 3.0
    assert actors.most == 2


def test_trials_that_lie_behind_are_given_up_in_their_first_seed(done: tuple) -> None:
    _, result, _, _ = done
    stopped = [trial for trial in result.trials if trial.state == "stopped"]
    assert stopped
    assert all(set(trial.by_seed) == {"0"} and trial.epochs <= EPOCHS for trial in stopped)
    assert min(trial.number for trial in stopped) >= 8


def test_what_is_written_is_what_was_found(done: tuple) -> None:
    out, result, _, _ = done
    written = json.loads((out / "tune.json").read_text())
    assert written["best"] == result.best.number
    assert len(written["trials"]) == 40
    assert written["data"] == "synthetic"
    assert tomllib.loads((out / "best.toml").read_text())["name"] == "base"
    assert not list(out.glob("runs/*/*/model"))


def test_a_search_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path, Actors(cut_off_after=30), trials=8)
    actors = Actors()
    result, _ = searched(tmp_path, actors, trials=8)
    assert len(result.trials) == 8
    numbers = [trial.number for trial in result.trials]
    assert numbers == sorted(set(numbers))
    again, _ = searched(tmp_path, Actors(cut_off_after=0), trials=8)
    assert again.trials == result.trials
    more, _ = searched(tmp_path, Actors(), trials=10)
    assert more.trials[:8] == result.trials
    assert len({tuple(trial.values.values()) for trial in more.trials}) == 10


def test_a_trial_that_was_cut_off_is_done_again_in_its_own_folder(tmp_path: Path) -> None:
    first = Actors(cut_off_after=2)
    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path, first, trials=3)
    second = Actors()
    searched(tmp_path, second, trials=3)
    assert second.begun[0] == first.begun[0]


def test_a_trial_that_fails_is_remembered_and_the_others_go_on(tmp_path: Path) -> None:
    result, said = searched(tmp_path, Actors(failing=0.02), trials=12)
    failed = [trial for trial in result.trials if trial.state == "failed"]
    assert failed
    assert {trial.error for trial in failed} == {"the loss is nan"}
    assert all(trial.value is None for trial in failed)
    assert "failed" in said


def test_a_search_of_which_nothing_comes_ends(tmp_path: Path) -> None:
    actors = Actors(failing=2.0)
    with pytest.raises(RunError, match="the first 3 trials failed; the last said: the loss is nan"):
        searched(tmp_path, actors)


def test_another_search_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    searched(tmp_path, Actors(), trials=1)
    with pytest.raises(RunError, match="holds a search over other ranges"):
        searched(tmp_path, Actors(), trials=1, space=SPACE.replace("high = 1.0", "high = 2.0"))


def test_if_nobody_says_how_many_memory_decides(tmp_path: Path) -> None:
    actors = Actors()
    _, said = searched(tmp_path, actors, trials=6, jobs=None)
    assert actors.most == 4
    assert "4 runs side by side, 1 thread each (4 cores, 1.0 GB for a run, 10.0 GB free)" in said
