"""The import step: a recipe's log, generated first if the recipe says so, becomes a store."""

from pathlib import Path

from lowerfunnel.errors import ConfigError
from lowerfunnel.events.build import build_store
from lowerfunnel.pipeline.recipe import Recipe
from lowerfunnel.world import make_world


def import_log(recipe: Recipe, data: Path | None, folder: Path) -> None:
    """Import the log of a recipe into `folder`/store, generating it first if the recipe says so."""
    require_data(recipe, data)
    if recipe.world is not None:
        data = folder / "world"
        make_world(recipe.world, data)
    assert data is not None  # noqa: S101 - checked above
    build_store(recipe.log, data, folder / "store")


def require_data(recipe: Recipe, data: Path | None) -> None:
    """Raise a `ConfigError` unless the recipe has a log: a folder of files, or a world to generate."""
    if recipe.world is not None:
        if data is not None:
            raise ConfigError(f'the recipe "{recipe.name}" generates its own log; leave out --data {data}')
        return
    if data is None:
        raise ConfigError(f'the recipe "{recipe.name}" needs the folder of its log: add --data PATH')
    if not data.is_dir():
        raise ConfigError(
            f"--data {data} is {'no folder' if data.exists() else 'not there'}; give the folder of the log's files"
        )
