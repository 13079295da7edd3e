"""`lowerfunnel`: from raw event logs to served candidates.

A mistake of the user ends in one sentence on standard error and exit status 2 (settings) or 1 (anything else), never in
a traceback; a traceback is a bug. Ctrl-C ends with 130.
"""

import io
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated, NoReturn

import rich.console
import typer

from lowerfunnel import __version__
from lowerfunnel.cli import lab, serve, world
from lowerfunnel.errors import ConfigError, LowerfunnelError

app = typer.Typer(
    name="lowerfunnel",
    help="Conversion-first ads retrieval: from raw event logs to evaluated, served candidates.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

app.add_typer(world.app)
app.command()(lab.ablate)
app.command()(lab.tune)
app.command()(serve.serve)
app.command()(serve.publish)
app.command()(serve.replay)
app.add_typer(serve.keys)

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe, such as recipes/demo.toml.")]
RunPath = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.")]
DataPath = Annotated[
    Path | None, typer.Option("--data", metavar="PATH", help="The folder of the log's files, as the recipe names them.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="a.b=c", help="Override a setting of the recipe; may be given many times."),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Override the recipe's seed.")]


_STOPPED = 130
"""The exit status that a shell expects of a program ended by Ctrl-C; typer gives it too."""


def main() -> None:
    """Run the command line; the entry point of the package."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a sign gets a question mark, not a traceback.
            stream.reconfigure(errors="replace")
    console = rich.console.Console(stderr=True)
    try:
        status = app(standalone_mode=False)
    except LowerfunnelError as error:
        console.print("[bold red]error:[/bold red]", end=" ")
        console.out(str(error), highlight=False)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except (KeyboardInterrupt, typer.Abort):
        status = _STOPPED
    except typer.Exit as done:
        status = done.exit_code
    except BrokenPipeError:
        # Whoever reads the output has closed it. What is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if isinstance(error, RuntimeError) and str(error) == "Query interrupted":
            # How DuckDB takes Ctrl-C.
            _say_stopped(console)
        # Click reports a wrong option or argument by exceptions of its own, which know how to show themselves.
        if type(error).__module__.split(".")[0] not in ("click", "typer"):
            raise
        error.show()  # type: ignore[attr-defined]
        sys.exit(2)
    if status == _STOPPED:
        _say_stopped(console)
    # The work is done. While Python shuts down, a Ctrl-C would only turn this into a death by signal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(status if isinstance(status, int) else 0)


def _say_stopped(console: rich.console.Console) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    console.out("stopped; the same command goes on from there, finished steps are kept", highlight=False)
    sys.exit(_STOPPED)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@app.command()
def run(
    recipe: RecipePath,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder of the run; made if it is not there.")],
    data: DataPath = None,
    overrides: Overrides = None,
    seed: Seed = None,
) -> None:
    """Import, label, train, index, evaluate and report. Steps that are finished and unchanged are skipped."""
    from lowerfunnel.pipeline.console import Console
    from lowerfunnel.pipeline.recipe import load_recipe
    from lowerfunnel.pipeline.run import start_run

    console = rich.console.Console()
    start_run(load_recipe(recipe, overrides or [], seed=seed), out=out, data=data, console=Console(console))
    _print_summary(console, out)


@app.command()
def recommend(
    folder: RunPath,
    users: Annotated[
        Path, typer.Option("--users", metavar="FILE", help="Parquet or CSV with a column user_id; repeats count once.")
    ],
    k: Annotated[int, typer.Option("--k", min=1, help="Items per user.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Parquet: user_id, item_id, rank (from 1), score.")
    ],
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="Use what was known before this time (ISO 8601, UTC); default: all."),
    ] = None,
    exclude_purchased: Annotated[
        bool,
        typer.Option("--exclude-purchased/--include-purchased", help="Leave out what a user has already bought."),
    ] = True,
) -> None:
    """Find the best items for a list of users, best first."""
    from lowerfunnel.pipeline.console import Console
    from lowerfunnel.pipeline.recommend import recommend_to_file

    console = rich.console.Console()
    with Console(console).recommending() as progress:
        written = recommend_to_file(
            folder, users, k=k, out=out, at=at, exclude_purchased=exclude_purchased, progress=progress
        )
    console.out(
        f"{out}: {written.rows:,} rows for {written.users:,} users"
        + (f", {written.unknown_users:,} of whom the model does not know" if written.unknown_users else ""),
        highlight=False,
    )


@app.command()
def evaluate(folder: RunPath) -> None:
    """Measure a finished run again and rewrite its metrics.json."""
    from lowerfunnel.pipeline.console import Console
    from lowerfunnel.pipeline.run import reopen_run

    console = rich.console.Console()
    with reopen_run(folder, Console(console), needs="index") as reopened:
        reopened.redo(["evaluate", "report"])
    _print_summary(console, folder)


@app.command()
def report(folder: RunPath) -> None:
    """Write the report of a run again."""
    from lowerfunnel.pipeline.console import Console
    from lowerfunnel.pipeline.run import reopen_run

    console = rich.console.Console()
    with reopen_run(folder, Console(console), needs="evaluate") as reopened:
        reopened.redo(["report"])
    console.out(str((folder / "report.html").resolve()), highlight=False)


@app.command()
def check(recipe: RecipePath, data: DataPath = None, overrides: Overrides = None) -> None:
    """Import a log and print how good its data are. Nothing is kept."""
    from lowerfunnel.events.quality import read_quality
    from lowerfunnel.events.quality_page import render_quality
    from lowerfunnel.pipeline.import_log import import_log
    from lowerfunnel.pipeline.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or [])
    with tempfile.TemporaryDirectory(prefix="lowerfunnel-check-") as scratch:
        import_log(loaded, data, Path(scratch))
        quality = read_quality(Path(scratch) / "store")
    render_quality(quality, rich.console.Console())


@app.command()
def settings(
    server: Annotated[bool, typer.Option("--server", help="Those of `lowerfunnel serve`.")] = False,
) -> None:
    """List every setting of a recipe, or of the server, with its default and meaning."""
    import rich.box
    from rich.table import Table
    from rich.text import Text

    from lowerfunnel.config import describe_settings
    from lowerfunnel.pipeline.recipe import Recipe
    from lowerfunnel.serving.server import ServerConfig

    described = describe_settings(ServerConfig if server else Recipe)
    console = rich.console.Console()
    if not console.is_terminal:
        # One line each, for grep and the like.
        for setting in described:
            default = "(required)" if setting.required else repr(setting.default)
            typer.echo("\t".join((setting.name, setting.type, default, setting.description)))
        return
    table = Table("setting", "type", "default", "meaning", box=rich.box.SIMPLE_HEAD, header_style="bold")
    for setting in described:
        default = "(required)" if setting.required else repr(setting.default)
        # As texts: the brackets of a type are no markup.
        table.add_row(*(Text(cell) for cell in (setting.name, setting.type, default, setting.description)))
    console.print(table)


def _print_summary(console: rich.console.Console, out: Path) -> None:
    from lowerfunnel.pipeline.summary import summary_table

    console.print(summary_table(out))
    console.out(f"report: {(out / 'report.html').resolve()}", highlight=False)


if __name__ == "__main__":
    main()
