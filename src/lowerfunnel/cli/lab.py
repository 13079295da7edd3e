"""`lowerfunnel ablate` and `lowerfunnel tune`: many runs of variants of a recipe."""

from pathlib import Path
from typing import Annotated

import rich.console
import typer

from lowerfunnel.errors import ConfigError, RunError

DataPath = Annotated[
    Path | None, typer.Option("--data", metavar="PATH", help="The folder of the log's files, as the recipe names them.")
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", min=1, help="Runs side by side; default: as many as cores and free memory allow."),
]


def ablate(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="A study, such as studies/losses.toml.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder of the study; made if not there.")],
    data: DataPath = None,
    jobs: Jobs = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", metavar="0,1,2", help="Seeds in place of those of the study.")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", metavar="PATH", help="Base recipe in place of that of the study.")
    ] = None,
) -> None:
    """Train variants of a recipe with several seeds, and compare them. Finished runs are skipped."""
    from lowerfunnel.lab.ablate import ablate as do_study
    from lowerfunnel.lab.study import load_study
    from lowerfunnel.lab.table import study_table
    from lowerfunnel.lab.words import failure_sentence

    console = rich.console.Console()
    loaded = load_study(study, recipe=recipe, seeds=None if seeds is None else _seeds(seeds))
    result = do_study(loaded, out=out, data=data, console=console, jobs=jobs)
    console.print(study_table(result))
    console.out(f"page: {(out / 'study.html').resolve()}", highlight=False)
    if result.unfinished:
        raise RunError(failure_sentence(result.unfinished))


def tune(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe, such as recipes/demo.toml.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder of the search; made if not there.")],
    space: Annotated[
        Path | None, typer.Option("--space", metavar="FILE", help="Ranges; default: the recipe's own table \\[tune].")
    ] = None,
    data: DataPath = None,
    trials: Annotated[int, typer.Option("--trials", min=1, help="Trials in all, those done before included.")] = 30,
    jobs: Jobs = None,
) -> None:
    """Search for the settings that do best on the validation. The test is never looked at."""
    from lowerfunnel.lab.tune.search import tune as search
    from lowerfunnel.lab.tune.space import load_space
    from lowerfunnel.lab.tune.table import tune_table

    console = rich.console.Console()
    result = search(load_space(recipe, space), out=out, data=data, trials=trials, console=console, jobs=jobs)
    console.print(tune_table(result))
    console.out(f"recipe: {(out / 'best.toml').resolve()}", highlight=False)


def _seeds(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise ConfigError(f'--seeds must be whole numbers with commas between them, such as 0,1,2, got "{text}"')
    return [int(part) for part in parts]
