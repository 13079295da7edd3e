"""Starting a run, and opening one that was made before."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lowerfunnel.config import load_settings, settings_to_dict
from lowerfunnel.pipeline import assemble
from lowerfunnel.pipeline.console import Console
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
    folder = RunFolder.create(out, name=recipe.name, settings=settings_to_dict(recipe))
    with folder.locked():
        Run(recipe, folder, data, console).execute()


@contextmanager
def reopen_run(path: Path, console: Console, *, needs: str) -> Iterator[Run]:
    """Open a run whose step `needs` is finished, to do one of its steps again.

    Raises:
        RunError: If there is no such run, or another process is at work in it.
    """
    folder = RunFolder.open(path)
    folder.require_step(needs)
    recipe = load_settings(Recipe, folder.settings(), source=str(path / "run.json"))
    with folder.locked():
        yield Run(recipe, folder, None, console)
