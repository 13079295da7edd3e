"""The steps of a run, what each writes, and what each is made from.

A step's fingerprint is made of the settings that it reads and of the fingerprint before it, so a changed setting redoes
its own step and what follows, and nothing else.
"""

from pathlib import Path

from lowerfunnel import __version__
from lowerfunnel.config import settings_to_dict
from lowerfunnel.errors import DataError
from lowerfunnel.events.fingerprint import fingerprint
from lowerfunnel.events.store import STORE_VERSION
from lowerfunnel.pipeline import assemble
from lowerfunnel.pipeline.recipe import Recipe
from lowerfunnel.pipeline.run_folder import chain
from lowerfunnel.world.make import VERSION as WORLD_VERSION

OUTPUTS: dict[str, tuple[str, ...]] = {
    "import": ("store",),
    "label": ("labels",),
    "train": ("model",),
    "index": ("index",),
    "evaluate": ("evaluation", "metrics.json"),
    "report": ("manifest.json", "report.html"),
}
"""The steps in their order, and the files and folders that each writes."""
STEPS = tuple(OUTPUTS)
_FORMAT = 1
"""Raised when a step writes something else from the same settings, so that finished steps are not reused."""

_EVALUATION_FORMAT = 3
"""The same of the evaluation alone: another slice, another file."""


def log_fingerprint(recipe: Recipe, data: Path | None) -> str:
    """Return a fingerprint of the log that a recipe imports: of every file's content, or of the world's settings.

    Raises:
        DataError: If a file is missing or cannot be read.
    """
    if recipe.world is not None:
        return chain(WORLD_VERSION, settings_to_dict(recipe.world), settings_to_dict(recipe.log))
    assert data is not None  # noqa: S101 - checked before a run begins
    try:
        return fingerprint(recipe.log, data)
    except OSError as error:
        raise DataError(f"{error.filename or data} cannot be read ({error.strerror or error})") from error


def import_fingerprint(log: str) -> str:
    """Return what the import step is made from: a log, the layout of stores and this program."""
    return chain(_FORMAT, STORE_VERSION, __version__, log)


def fingerprints(recipe: Recipe, imported: str) -> dict[str, str]:
    """Return what each step is made from, given the fingerprint of the import."""
    settings = settings_to_dict(recipe)
    evaluation = recipe.evaluation
    reads: dict[str, object] = {
        "label": [settings["labels"], recipe.seed],
        "train": [settings["retrieval"], settings["training"], evaluation.headline, evaluation.validation_users],
        "index": [settings["index"]],
        # A floor whose package has been installed since is measured then.
        "evaluate": [_EVALUATION_FORMAT, settings["evaluation"], assemble.missing_floors(evaluation)],
        "report": [recipe.name, recipe.description],
    }
    made = {"import": imported}
    before = imported
    for step, part in reads.items():
        before = made[step] = chain(step, before, part)
    return made
