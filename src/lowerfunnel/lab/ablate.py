"""A study from its file to its page: all runs, the comparisons, `study.json` and `study.html`."""

from pathlib import Path
from typing import Literal

import rich.console
from rich.text import Text

from lowerfunnel.errors import RunError
from lowerfunnel.files import disk_errors, write_json, write_text
from lowerfunnel.lab.collect import collect
from lowerfunnel.lab.conduct import Failure, conduct
from lowerfunnel.lab.machine import Machine
from lowerfunnel.lab.planned import PlannedRun, plan
from lowerfunnel.lab.render import render_study
from lowerfunnel.lab.result import StudyResult
from lowerfunnel.lab.study import LoadedStudy
from lowerfunnel.lab.view import view
from lowerfunnel.pipeline import assemble
from lowerfunnel.pipeline.console import Console
from lowerfunnel.pipeline.import_log import require_data
from lowerfunnel.pipeline.run_folder import RunFolder

RUNS, TRACES = "runs", "errors"
JOURNAL = "trials.log"
"""Where a search is remembered; a study has none."""
_LOCK = ".lock"


def ablate(
    loaded: LoadedStudy,
    *,
    out: Path,
    data: Path | None,
    console: rich.console.Console,
    jobs: int | None = None,
    machine: Machine | None = None,
) -> StudyResult:
    """Do all runs of a study that are not finished in the folder `out`, compare them, and write what was found.

    A run that fails is named in the result, and the others go on.

    Args:
        loaded: The study.
        out: Its folder; made if it is not there.
        data: The folder of the log's files; None where the recipe makes its log.
        console: Shows how far it is.
        jobs: Runs side by side; None to decide by cores and memory.
        machine: Where it runs; None for this machine.

    Raises:
        LowerfunnelError: For what keeps all runs from being done; finished runs are kept.
    """
    for recipe in loaded.recipes.values():
        require_data(recipe, data)
        assemble.device_of(recipe.training)
        assemble.require_packages(recipe)
    require_free(out, what="study")
    with RunFolder.create(out).locked():
        with Console(console).waiting("Reading the log's files"):
            runs = plan(loaded, out, data)
        for run in runs:
            RunFolder(run.path).require_free_for(run.recipe.name)
        failures = _conducted(runs, loaded, out=out, data=data, console=console, jobs=jobs, machine=machine)
        with Console(console).counting("variants", "comparing") as progress:
            result = collect(loaded, runs, failures, out, progress=progress)
        write_json(out / "study.json", result.to_json())
        write_text(out / "study.html", render_study(result))
    return result


def require_free(out: Path, *, what: Literal["study", "search"]) -> None:
    """Make sure that a folder, if it is there, holds a study, or a search, or nothing.

    Raises:
        RunError: If it is a file, or holds something else.
    """
    with disk_errors(out):
        if not out.exists():
            return
        if not out.is_dir():
            raise RunError(f"--out {out} is a file; give a folder")
        names = {child.name for child in out.iterdir()} - {_LOCK}
    if names and (RUNS not in names or (JOURNAL in names) != (what == "search")):
        raise RunError(f"{out} is not empty and holds no {what}; choose another --out")


def _conducted(
    runs: list[PlannedRun],
    loaded: LoadedStudy,
    *,
    out: Path,
    data: Path | None,
    console: rich.console.Console,
    jobs: int | None,
    machine: Machine | None,
) -> list[Failure]:
    done = sum(run.is_finished() for run in runs)
    study = loaded.study
    seeds = f"{len(study.seeds)} seed{'s' if len(study.seeds) != 1 else ''}"
    finished = f", {done} finished already" if done else ""
    console.print(
        Text.assemble((study.name, "bold"), f": {len(study.variants)} variants, {seeds}, {len(runs)} runs{finished}"),
        highlight=False,
    )
    with view(console, done=done, total=len(runs)) as shown:
        return conduct(
            runs,
            data=data,
            traces=out / TRACES,
            machine=Machine.here() if machine is None else machine,
            jobs=jobs,
            audience=shown,
        )
