"""Starting a run, and opening one that was made before."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lowerfunnel.config import load_settings
from lowerfunnel.errors import ConfigError, RunError
from lowerfunnel.pipeline import assemble
from lowerfunnel.pipeline.console import Console
from lowerfunnel.pipeline.fingerprints import STEPS, fingerprints, import_fingerprint, log_fingerprint
from lowerfunnel.pipeline.import_log import require_data
from lowerfunnel.pipeline.recipe import Recipe
from lowerfunnel.pipeline.run_folder import RunFolder
from lowerfunnel.pipeline.steps import Run


def start_run(recipe: Recipe, *, out: Path, data: Path | None, console: Console) -> None:
    """Do all steps of a recipe in the folder `out` that are not finished there.

    Raises:
        LowerfunnelError: For everything that the user can mend; finished steps are kept.
    """
    require_data(recipe, data)
    assemble.device_of(recipe.training)
    assemble.require_packages(recipe)
    RunFolder(out).require_free_for(recipe.name)
    with console.waiting("Reading the log's files"):
        log = log_fingerprint(recipe, data)
    folder = RunFolder.create(out)
    with folder.locked():
        # Again, as another run may have begun here meanwhile.
        folder.require_free_for(recipe.name)
        made = fingerprints(recipe, import_fingerprint(log))
        Run(recipe=recipe, folder=folder, data=data, log=log, fingerprints=made, console=console).execute()


@contextmanager
def reopen_run(path: Path, console: Console, *, needs: str) -> Iterator[Run]:
    """Open a run whose step `needs` is finished, to do some of its steps again.

    Raises:
        RunError: If there is no such run, it is not finished or damaged, or another process is at work in it.
    """
    folder = RunFolder.open(path)
    with folder.locked():
        needed = STEPS[: STEPS.index(needs) + 1]
        recipe, log, made = open_finished(folder, needed, untouched=needed)
        yield Run(recipe=recipe, folder=folder, data=None, log=log, fingerprints=made, console=console)


def open_finished(
    folder: RunFolder, steps: Sequence[str], *, untouched: Sequence[str]
) -> tuple[Recipe, str, dict[str, str]]:
    """Return the recipe of a run, the fingerprint of its log and those of its steps, after making sure of `steps`.

    Args:
        folder: The run's, which the caller has locked.
        steps: Those that must be finished, the import first.
        untouched: Those among them whose files are compared with their hashes.

    Raises:
        RunError: If a step is not finished, or its files are not those that it wrote.
    """
    settings = folder.settings()
    try:
        recipe = load_settings(Recipe, settings, source=str(folder.path / "run.json"))
    except ConfigError as error:
        raise RunError(
            f"{error}\nthe run is damaged or of another version of lowerfunnel; run its recipe again"
        ) from error
    imported = folder.record("import")
    made = fingerprints(recipe, "" if imported is None else imported.fingerprint)
    folder.require(steps, made, untouched=untouched)
    return recipe, "" if imported is None else imported.facts.get("log", ""), made
