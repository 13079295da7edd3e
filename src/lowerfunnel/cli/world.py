"""`lowerfunnel world`: make a synthetic world, describe it, and try policies in it."""

from pathlib import Path
from typing import Annotated

import rich.console
import typer

from lowerfunnel.errors import ConfigError

app = typer.Typer(
    name="world",
    help="A synthetic ad world with known truth: make its log, describe it, run A/B experiments in it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

LOGGING = "logging"


@app.command()
def make(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write the log into.")],
    preset: Annotated[str, typer.Option("--preset", help="Where the settings start: tiny, demo or standard.")] = "demo",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="a.b=c", help="Override a setting of the world; may be given many times."),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that make days side by side.")] = 1,
) -> None:
    """Make a world and write its log and tables; [bold]--set n_users=500[/bold] and the like change it."""
    from lowerfunnel.config import apply_overrides, load_settings, settings_to_dict
    from lowerfunnel.pipeline.console import Console
    from lowerfunnel.world import PRESETS, WorldConfig, make_world

    if preset not in PRESETS:
        raise ConfigError(f"there is no preset {preset!r}; choose one of {', '.join(PRESETS)}")
    settings = apply_overrides(settings_to_dict(PRESETS[preset]), overrides or [])
    config = load_settings(WorldConfig, settings, source="--set")
    console = rich.console.Console()
    with Console(console).counting("days", "making") as progress:
        make_world(config, out, workers=workers, progress=progress)
    console.out(str(out.resolve()), highlight=False)


@app.command()
def experiment(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of a finished run whose recipe has a [[world]].")
    ],
    against: Annotated[
        str,
        typer.Option(
            "--against", metavar="POLICY", help='"logging", which made the log, or the folder of another run.'
        ),
    ] = LOGGING,
    days: Annotated[int, typer.Option("--days", min=1, help="Days played, from the end of the log on.")] = 14,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where experiment.html and .json go; default: RUN/experiment."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the resamples behind the intervals.")] = 0,
    limit_s: Annotated[
        float | None,
        typer.Option("--limit-s", min=0.001, help="Seconds that a policy may take for the requests of an hour."),
    ] = None,
) -> None:
    """Let a run's model choose the ads of the days after its log, and compare it with another policy."""
    from lowerfunnel.pipeline.console import Console
    from lowerfunnel.pipeline.run_experiment import experiment_on_run
    from lowerfunnel.world.experiment import write_experiment
    from lowerfunnel.world.experiment.table import experiment_table

    console = rich.console.Console()
    folder = run / "experiment" if out is None else out
    with Console(console).counting("policy days", "playing") as progress:
        result = experiment_on_run(
            run,
            against=None if against == LOGGING else Path(against),
            days=days,
            seed=seed,
            limit_s=limit_s,
            progress=progress,
        )
    write_experiment(result, folder)
    console.print(experiment_table(result))
    console.out(f"page: {(folder / 'experiment.html').resolve()}", highlight=False)


@app.command()
def describe(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a world, as world make wrote it.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where describe.html and .json go; default: the world's folder."),
    ] = None,
) -> None:
    """Set the marginals of a world's log beside those of real logs."""
    from lowerfunnel.pipeline.console import Console
    from lowerfunnel.world.describe import describe as describe_world
    from lowerfunnel.world.describe import description_table

    console = rich.console.Console()
    target = folder if out is None else out
    with Console(console).waiting("Measuring the log"):
        description = describe_world(folder)
    description.write(target, title=folder.resolve().name)
    console.print(description_table(description.comparisons))
    console.out(f"page: {(target / 'describe.html').resolve()}", highlight=False)
