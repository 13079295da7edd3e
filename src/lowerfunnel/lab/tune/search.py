"""A search from its ranges to the best recipe: trials side by side, on the validation alone.

A trial does the steps import, label and train; no test pair is ever looked at.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rich.console

from lowerfunnel import __version__
from lowerfunnel.config import settings_to_dict, to_toml
from lowerfunnel.errors import ConfigError, RunError
from lowerfunnel.files import write_json, write_text
from lowerfunnel.lab.ablate import JOURNAL, RUNS, require_free
from lowerfunnel.lab.crew import Crew, Ended
from lowerfunnel.lab.machine import Machine, share_of
from lowerfunnel.lab.planned import PlannedRun
from lowerfunnel.lab.tune.draws import Draws
from lowerfunnel.lab.tune.space import LoadedSpace
from lowerfunnel.lab.tune.trial import Trial, TuneResult
from lowerfunnel.lab.view import View, view
from lowerfunnel.lab.worker import Job
from lowerfunnel.pipeline import assemble
from lowerfunnel.pipeline.console import Console
from lowerfunnel.pipeline.fingerprints import fingerprints, import_fingerprint, log_fingerprint
from lowerfunnel.pipeline.import_log import require_data
from lowerfunnel.pipeline.run_folder import RunFolder, chain

_LAST_STEP = "train"


@dataclass(slots=True)
class _Course:
    """A trial at work: the runs of its seeds go one after another."""

    number: int
    folder: Path
    values: dict[str, object]
    left: list[PlannedRun] = field(default_factory=list)
    best: dict[str, float] = field(default_factory=dict)
    epochs: int = 0
    trained_s: float = 0.0
    given_up: bool = False

    @property
    def run(self) -> PlannedRun:
        return self.left[0]

    def trial(self, **how: Any) -> Trial:
        value = sum(self.best.values()) / len(self.best) if self.best else None
        known = {"number": self.number, "values": self.values, "value": value, "by_seed": dict(self.best)}
        return Trial(**{**known, "epochs": self.epochs, **how})


def tune(
    loaded: LoadedSpace,
    *,
    out: Path,
    data: Path | None,
    trials: int,
    console: rich.console.Console,
    jobs: int | None = None,
    machine: Machine | None = None,
    crew: Callable[[], Crew] = Crew,
) -> TuneResult:
    """Try settings until there are `trials` of them in all, and write `tune.json` and `best.toml`.

    Args:
        loaded: The recipe and its ranges.
        out: The search's folder; made if it is not there. Trials that it holds count.
        data: The folder of the log's files; None where the recipe makes its log.
        trials: How many, those that are over included.
        console: Shows how far it is.
        jobs: Trials side by side; None to decide by cores and memory.
        machine: Where they run; None for this machine.
        crew: Makes the workers.

    Raises:
        LowerfunnelError: For what keeps all trials from being done; those that are over are kept.
        RunError: If no trial could be finished.
    """
    recipe = loaded.recipe
    require_data(recipe, data)
    assemble.require_packages(recipe)
    on_gpu = assemble.device_of(recipe.training).type != "cpu"
    require_free(out, what="search")
    folder = RunFolder.create(out)
    with folder.locked():
        with Console(console).waiting("Reading the log's files"):
            log = log_fingerprint(recipe, data)
        draws = Draws(out / JOURNAL, loaded.space, made_from=_made_from(loaded, log))
        (out / RUNS).mkdir(exist_ok=True)
        draws.begin(settings_to_dict(recipe))
        with view(console, done=min(draws.told, trials), total=trials) as shown, crew() as workers:
            search = _Search(loaded, draws, workers, shown, out=out, data=data, log=log)
            search.run(trials, jobs=jobs, machine=Machine.here() if machine is None else machine, on_gpu=on_gpu)
        result = TuneResult(
            recipe=recipe.name,
            data="synthetic" if recipe.world is not None or recipe.log.synthetic else "real",
            lowerfunnel=__version__,
            metric=recipe.evaluation.headline,
            space=loaded.space,
            trials=tuple(draws.trials()),
        )
        write_json(out / "tune.json", result.to_json())
        if result.best is None:
            errors = [trial.error for trial in result.trials if trial.error is not None]
            raise RunError(
                f"none of {len(result.trials)} trials could be finished; the last said: {(errors or ['nothing'])[-1]}"
            )
        write_text(out / "best.toml", _best_recipe(loaded, result, result.best))
    return result


def _made_from(loaded: LoadedSpace, log: str) -> str:
    """Return a fingerprint of all that decides what a trial's value is and which settings there are."""
    made = fingerprints(loaded.recipe, import_fingerprint(log))
    return chain(made[_LAST_STEP], settings_to_dict(loaded.space))


def _best_recipe(loaded: LoadedSpace, result: TuneResult, best: Trial) -> str:
    text = to_toml(loaded.changed(best.values))
    found = f"{result.metric} {best.value:.4f} on the validation, {result.data} data"
    return f"# Trial {best.number} of {len(result.trials)} of a search over {result.recipe}: {found}.\n{text}"


class _Search:
    """The loop: draws trials, has them done, listens, gives up those that lie behind."""

    def __init__(
        self, loaded: LoadedSpace, draws: Draws, crew: Crew, shown: View, *, out: Path, data: Path | None, log: str
    ) -> None:
        self._loaded = loaded
        self._draws = draws
        self._crew = crew
        self._shown = shown
        self._out = out
        self._data = data
        self._log = log
        self._metric = loaded.recipe.evaluation.headline
        self._courses: dict[str, _Course] = {}
        self._done: list[Path] = [path.parent for path in out.glob(f"{RUNS}/*/*/steps")]

    def run(self, trials: int, *, jobs: int | None, machine: Machine, on_gpu: bool) -> None:
        """Do trials until there are enough."""
        most_bytes: int | None = None
        left = trials - self._draws.told
        share = share_of(machine, runs=left, jobs=jobs, run_bytes=None, on_gpu=on_gpu)
        # The first one imports and labels for all, and shows how much memory a trial takes.
        alone = True
        while left > 0 or self._crew.names:
            room = (1 if alone else share.jobs) - len(self._crew.names)
            if room > 0 and left > 0:
                left -= 1
                if not self._begin(share.threads):
                    self._check_failures()
                continue
            name, what = self._crew.next()
            if isinstance(what, Ended):
                if what.error is None and what.peak_bytes is not None:
                    most_bytes = max(most_bytes or 0, what.peak_bytes)
                if self._ended(name, what, share.threads) and alone and left > 0:
                    share = share_of(machine, runs=left, jobs=jobs, run_bytes=most_bytes, on_gpu=on_gpu)
                    self._shown.sharing(share)
                    alone = False
                self._check_failures()
            else:
                self._shown.happened(name, what)
                self._heard(name, what)

    def _check_failures(self) -> None:
        """Stop a search of which nothing comes: its first trials have all failed."""
        over = self._draws.trials()
        if len(over) >= 3 and all(trial.state == "failed" for trial in over):
            raise RunError(f"the first {len(over)} trials failed; the last said: {over[-1].error}")

    def _begin(self, threads: int) -> bool:
        number, folder, values = self._draws.ask()
        course = _Course(number=number, folder=self._out / RUNS / folder, values=values)
        try:
            course.left = [self._planned(course, seed) for seed in self._loaded.space.seeds]
        except ConfigError as error:
            # Each range alone is usable; two of them together may not be.
            self._draws.tell(course.trial(state="failed", error=str(error)))
            return False
        name = f"trial {number}"
        self._courses[name] = course
        self._shown.begun(name)
        self._start(name, threads)
        return True

    def _planned(self, course: _Course, seed: int) -> PlannedRun:
        recipe = self._loaded.recipe_of(course.values, seed)
        made = fingerprints(recipe, import_fingerprint(self._log))
        path = course.folder / f"seed-{seed}"
        return PlannedRun(
            variant=course.folder.name, seed=seed, recipe=recipe, path=path, log=self._log, fingerprints=made
        )

    def _start(self, name: str, threads: int) -> None:
        run = self._courses[name].run
        job = Job(
            path=str(run.path),
            settings=settings_to_dict(run.recipe),
            data=None if self._data is None else str(self._data),
            log=self._log,
            fingerprints=run.fingerprints,
            sources=tuple(map(str, self._done)),
            threads=run.recipe.training.threads or threads,
            until=_LAST_STEP,
        )
        self._crew.start(name, job)

    def _heard(self, name: str, event: Mapping[str, Any]) -> None:
        course = self._courses[name]
        if event["event"] != "validated" or course.given_up:
            return
        row, seed = event["row"], str(course.run.seed)
        value = row.get(self._metric)
        if value is None:
            return
        course.best[seed] = max(value, course.best.get(seed, value))
        # Seeds differ by chance, so only the first one is measured against those of other trials.
        first = seed == str(self._loaded.space.seeds[0])
        if first and self._draws.report(course.number, course.best[seed], epoch=round(row["epoch"])):
            course.given_up = True
            course.epochs += round(row["epoch"])
            self._crew.stop(name)

    def _ended(self, name: str, ended: Ended, threads: int) -> bool:
        """Take note of the end of a run; returns whether its trial is over and was finished."""
        course = self._courses[name]
        run = course.run
        if course.given_up:
            return self._over(name, course.trial(state="stopped"), "given up")
        if ended.error is not None:
            return self._over(name, course.trial(state="failed", value=None, error=ended.error), None)
        training = json.loads((run.path / "model" / "training.json").read_text(encoding="utf-8"))
        values = [row[self._metric] for row in training["history"] if self._metric in row]
        if not values:
            raise RunError("nothing is held out for validation, so there is nothing to search by; see labels.split")
        course.best[str(run.seed)] = max(values)
        course.epochs += round(training["history"][-1]["epoch"])
        course.trained_s += training["trained_s"]
        self._done.append(run.path)
        course.left.pop(0)
        if course.left:
            self._start(name, threads)
            return False
        trial = course.trial(state="finished", trained_s=round(course.trained_s, 3))
        return self._over(name, trial, f"{self._metric} {trial.value:.4f}")

    def _over(self, name: str, trial: Trial, said: str | None) -> bool:
        course = self._courses.pop(name)
        self._draws.tell(trial)
        for part in course.folder.glob("seed-*"):
            # Its labels may serve others. A model that no one will use is large.
            shutil.rmtree(part / "model", ignore_errors=True)
            shutil.rmtree(part / "checkpoints", ignore_errors=True)
        self._shown.ended(name, trial.error, said=said or "")
        return trial.state == "finished"
