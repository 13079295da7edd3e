"""`lowerfunnel serve`, `publish`, `replay` and `keys`: candidates over HTTP."""

from pathlib import Path
from typing import Annotated

import rich.console
import typer

from lowerfunnel.errors import ConfigError

RunPath = Annotated[
    Path | None, typer.Argument(metavar="DIR", help="A finished run; not needed where one is published.")
]
StatePath = Annotated[
    Path | None,
    typer.Option("--state", metavar="DIR", help="Where versions, store and keys are kept; default: DIR/serving."),
]
StoreUrl = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="sqlite:FILE or redis://HOST:PORT/DB; default: STATE/store.sqlite."),
]
ConfigPath = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Settings of the server, TOML.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="a.b=c", help="Override a setting of the server; may be given many times."),
]
Generators = Annotated[
    list[str] | None,
    typer.Option(
        "--generator", metavar="NAME=DIR", help="A further run that answers beside the first; may be given many times."
    ),
]

keys = typer.Typer(name="keys", help="Bearer keys of a server.", no_args_is_help=True)


def serve(
    run: RunPath = None,
    state: StatePath = None,
    store: StoreUrl = None,
    config: ConfigPath = None,
    overrides: Overrides = None,
    generators: Generators = None,
    runs: Annotated[
        Path | None,
        typer.Option(
            "--runs", metavar="DIR", help="Where runs are published from by name; default: the folder of DIR."
        ),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at; other than loopback needs keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8080,
) -> None:
    """Serve candidates of a finished run over HTTP: filtered, fresh, by one version at a time."""
    from lowerfunnel.serving.server import serve_forever

    console = rich.console.Console(stderr=True)
    status = serve_forever(
        run,
        state=_state(run, state),
        store_url=store,
        config=_config(config, overrides),
        generators=_generators(generators),
        runs=runs,
        host=host,
        port=port,
        console=console,
    )
    raise typer.Exit(status)


def publish(
    run: Annotated[Path, typer.Argument(metavar="DIR", help="A finished run.")],
    state: StatePath = None,
    config: ConfigPath = None,
    overrides: Overrides = None,
    generators: Generators = None,
) -> None:
    """Build and verify the version of a finished run, and point servers of the same state to it."""
    from lowerfunnel.serving.server import publish_run

    version = publish_run(
        run,
        state=_state(run, state),
        config=_config(config, overrides),
        generators=_generators(generators),
        told=lambda words: typer.echo(words, err=True),
    )
    typer.echo(version)


def replay(
    state: Annotated[Path, typer.Argument(metavar="STATE", help="The folder of a server's state.")],
    store: StoreUrl = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Requests to look at, at most.")] = None,
    config: ConfigPath = None,
    overrides: Overrides = None,
) -> None:
    """Gather the features of served requests again offline, and report any difference. Ends with status 1 if there is one."""
    from lowerfunnel.serving.replay_table import replay_table
    from lowerfunnel.serving.server import replay_requests

    report = replay_requests(state, store_url=store, config=_config(config, overrides), limit=limit)
    rich.console.Console().print(replay_table(report))
    if report.skewed:
        raise typer.Exit(1)


@keys.command("make")
def make(
    state: Annotated[Path, typer.Argument(metavar="STATE")],
    scopes: Annotated[
        str, typer.Option("--scopes", metavar="serve,ingest,admin", help="What the key is good for.")
    ] = "serve",
) -> None:
    """Make a key and print it, once: only its hash is kept."""
    from lowerfunnel.serving.http.keys import SCOPES, make_key

    wanted = [scope for scope in SCOPES if scope in scopes.split(",")]
    unknown = sorted(set(scopes.split(",")) - set(SCOPES))
    if unknown or not wanted:
        raise ConfigError(f'--scopes must be some of {",".join(SCOPES)}, got "{scopes}"')
    state.mkdir(parents=True, exist_ok=True)
    typer.echo(make_key(state / "keys.json", scopes=wanted))


@keys.command("list")
def list_all(state: Annotated[Path, typer.Argument(metavar="STATE")]) -> None:
    """List the keys: id, scopes, when made."""
    from lowerfunnel.serving.http.keys import list_keys

    for key in list_keys(state / "keys.json"):
        typer.echo("\t".join((key.id, ",".join(sorted(key.scopes)), key.made_at)))


@keys.command("revoke")
def revoke(
    state: Annotated[Path, typer.Argument(metavar="STATE")],
    key_id: Annotated[str, typer.Argument(metavar="ID")],
) -> None:
    """Revoke a key; running servers notice."""
    from lowerfunnel.serving.http.keys import revoke_key

    revoke_key(state / "keys.json", key_id)


def _state(run: Path | None, state: Path | None) -> Path:
    if state is not None:
        return state
    if run is None:
        raise ConfigError(
            "give the folder of a finished run, or --state with the folder of a server that served before"
        )
    return run / "serving"


def _generators(named: list[str] | None) -> dict[str, Path]:
    found = {}
    for text in named or []:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise ConfigError(f'--generator must be NAME=DIR, got "{text}"')
        found[name] = Path(folder)
    return found


def _config(path: Path | None, overrides: list[str] | None):  # type: ignore[no-untyped-def]
    from lowerfunnel.serving.server import load_server_config

    return load_server_config(path, overrides or [])
