"""The whole server: store, engine, HTTP edge and page put together from settings.

STATE/ versions/  current.json  store.sqlite  keys.json  requests/  results/  servers/  loaded.json
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import rich.console

from lowerfunnel.config import apply_overrides, load_settings, read_toml
from lowerfunnel.errors import ConfigError, RunError, UnavailableError, require
from lowerfunnel.events.store import EventStore
from lowerfunnel.files import disk_errors
from lowerfunnel.index.settings import IndexConfig
from lowerfunnel.serving.console.settings import ConsoleConfig
from lowerfunnel.serving.engine.engine import CandidateEngine
from lowerfunnel.serving.http.settings import HttpConfig
from lowerfunnel.serving.log_loading import Progress, load_log, loading_bar
from lowerfunnel.serving.metrics import ServerMetrics
from lowerfunnel.serving.recent import RecentAnswers
from lowerfunnel.serving.replay import ReplayReport, replay
from lowerfunnel.serving.settings import LIST_SOURCES, EngineConfig
from lowerfunnel.serving.store.contract import OnlineStore
from lowerfunnel.serving.store.open import open_store
from lowerfunnel.serving.versions.build import build_version
from lowerfunnel.serving.versions.golden import check_golden
from lowerfunnel.serving.versions.loaded import LoadedVersion
from lowerfunnel.serving.versions.registry import Registry

SERVED = "conversion"
"""The generator that a run becomes."""

_SWITCH_S = 0.0005
_NEEDED_TO_PUBLISH = ("onnxruntime", "onnx", "onnxscript")
_NEEDED_TO_SERVE = ("fastapi", "uvicorn", "httptools", "uvloop", "prometheus_client", *_NEEDED_TO_PUBLISH)

STORE_FILE = "store.sqlite"
KEYS_FILE = "keys.json"
REQUESTS = "requests"
RESULTS = "results"
LOADED = "loaded.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerConfig:
    """Everything that `lowerfunnel serve` can be told, as one TOML file."""

    engine: EngineConfig = field(default_factory=EngineConfig)
    """What answers."""
    http: HttpConfig = field(default_factory=HttpConfig)
    """The HTTP edge."""
    index: IndexConfig | None = None
    """The index that is built when a run is published; left out, that of the run itself."""
    console: ConsoleConfig = field(default_factory=ConsoleConfig)
    """The page at `/`."""
    manifest_key_env: str | None = None
    """Name of an environment variable that holds a key; versions are signed with it, and unsigned ones refused."""


def load_server_config(path: Path | None, overrides: Sequence[str]) -> ServerConfig:
    """Read the settings of a server from a TOML file, with overrides such as "engine.store.timeout_ms=5".

    Raises:
        ConfigError: If the file cannot be read or a setting cannot be used.
    """
    settings: Mapping[str, object] = {} if path is None else read_toml(path)
    return load_settings(
        ServerConfig, apply_overrides(dict(settings), list(overrides)), source="serve" if path is None else path.name
    )


def manifest_key(config: ServerConfig) -> bytes | None:
    """Return the key that versions are signed with.

    Raises:
        ConfigError: If a variable is named and is not set.
    """
    if config.manifest_key_env is None:
        return None
    key = os.environ.get(config.manifest_key_env, "")
    if not key:
        raise ConfigError(f"manifest_key_env names {config.manifest_key_env}, which is not set; export it with the key")
    return key.encode()


@dataclass(frozen=True, kw_only=True, slots=True)
class Runs:
    """Where the runs of a name lie, for publishing by name."""

    folder: Path
    """The folder whose sub-folders are runs."""
    others: Mapping[str, Path] = field(default_factory=dict)
    """Runs of the further generators, which stay when the first is published anew."""

    def named(self, name: str) -> dict[str, Path]:
        """Return the folders of the runs that make up the version of a name.

        Raises:
            RunError: If the name is no name of a folder, or there is no such run.
        """
        if not name or name != Path(name).name or name in (".", ".."):
            raise RunError(
                f"{name!r} is not the name of a run; give the name of a folder in {self.folder}, without its path"
            )
        run = self.folder / name
        if not (run / "run.json").is_file() or run.is_symlink():
            raise RunError(f"there is no run {name} in {self.folder}; runs lie there as folders")
        return {SERVED: run, **self.others}


def check_generators(config: ServerConfig, others: Mapping[str, Path]) -> None:
    """Make sure that quotas and generators name each other.

    Raises:
        ConfigError: If a quota has no generator, or a generator no quota.
    """
    quotas = config.engine.blend.quotas
    unknown = sorted(set(quotas) - {SERVED, *LIST_SOURCES, *others})
    if unknown:
        raise ConfigError(
            f'engine.blend.quotas names "{unknown[0]}"; say which run it is with --generator {unknown[0]}=DIR'
        )
    unused = sorted(set(others) - set(quotas))
    if unused:
        raise ConfigError(f'--generator names "{unused[0]}", which has no share in engine.blend.quotas; give it one')


def start_engine(
    run: Path | None,
    state: Path,
    store: OnlineStore,
    config: ServerConfig,
    *,
    runs: Runs,
    metrics: ServerMetrics,
    recent: RecentAnswers,
    told: Callable[[str], None],
    progress: Progress | None = None,
) -> CandidateEngine:
    """Return an engine that answers: by what is published in `state`, or by `run` where nothing is.

    The first time, the log of the run is stored, so that its users are known.

    Raises:
        LowerfunnelError: For a run that is not finished, a version that is damaged, a store that is out of reach.
    """
    registry = Registry.open(state)
    engine = CandidateEngine(
        registry,
        store,
        config.engine,
        runs=runs.named,
        metrics=metrics,
        recent=recent,
        requests_folder=state / REQUESTS,
        index=config.index,
        key=manifest_key(config),
        told=told,
    )
    with contextlib.ExitStack() as unless_it_answers:
        unless_it_answers.callback(engine.close)
        try:
            version = engine.open_current().version
            told(f"version {version}, published before")
        except UnavailableError as error:
            if run is None:
                raise RunError(f"{error}: lowerfunnel serve DIR --state {state}") from error
            version = engine.publish_runs({SERVED: run, **runs.others}).version
            told(f"version {version}, published now")
        if run is not None:
            log = EventStore.open(run / "store")
            new = load_log(log, store, done=state / LOADED, progress=progress)
            if new:
                told(f"{new:,} events of the log stored")
        unless_it_answers.pop_all()
    return engine


def serve_forever(
    run: Path | None,
    *,
    state: Path,
    store_url: str | None,
    config: ServerConfig,
    generators: Mapping[str, Path],
    runs: Path | None,
    host: str,
    port: int,
    console: rich.console.Console,
) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status of `run_server`.

    Raises:
        LowerfunnelError: For everything that the user can mend, before the address is bound.
    """
    _require_packages(_NEEDED_TO_SERVE)
    from lowerfunnel.serving.console.router import console_router
    from lowerfunnel.serving.http.app import create_app
    from lowerfunnel.serving.http.keys import KeyRing, require_keys_for_public_bind
    from lowerfunnel.serving.http.run import run_server

    check_generators(config, generators)
    keys_file = state / KEYS_FILE
    keys = KeyRing(keys_file) if keys_file.exists() else None
    require_keys_for_public_bind(host, keys)
    with disk_errors(state):
        state.mkdir(parents=True, exist_ok=True)
    folder = runs if runs is not None else Path() if run is None else run.resolve().parent
    metrics, recent = ServerMetrics(), RecentAnswers()
    # The interpreter's lock changes hands 10 times as often as by default: a request waits for no thread's 5 ms.
    sys.setswitchinterval(_SWITCH_S)
    with contextlib.ExitStack() as stack:
        store = open_store(store_url or str(state / STORE_FILE))
        stack.callback(store.close)
        with loading_bar(console) as progress:
            engine = start_engine(
                run,
                state,
                store,
                config,
                runs=Runs(folder=folder, others=generators),
                metrics=metrics,
                recent=recent,
                told=lambda words: console.out(words, highlight=False),
                progress=progress,
            )
        stack.callback(engine.close)
        allows = (
            None if keys is None else lambda bearer: (key := keys.find(bearer)) is not None and "serve" in key.scopes
        )
        app = create_app(
            engine,
            config=config.http,
            metrics=metrics,
            log_stream=sys.stdout,
            results=state / RESULTS,
            keys=keys,
            on_shed=recent.observe_shed,
            routers=[console_router(engine, recent, config=config.console, allows=allows)],
        )
        return run_server(app, host, port, announce=lambda line: console.out(line, highlight=False))


def _require_packages(packages: Sequence[str]) -> None:
    """Say what is not installed before minutes are spent on encoding items."""
    for package in packages:
        require(package, extra="serve")


def publish_run(
    run: Path, *, state: Path, config: ServerConfig, generators: Mapping[str, Path], told: Callable[[str], None]
) -> str:
    """Build and verify the version of a run and point to it; servers of the same state follow. Return its id.

    Raises:
        RunError: If the run is not finished, or the version does not answer as it did offline.
    """
    _require_packages(_NEEDED_TO_PUBLISH)
    check_generators(config, generators)
    registry, key = Registry.open(state), manifest_key(config)
    with registry.changing():
        version = build_version({SERVED: run, **generators}, registry, index=config.index, key=key, told=told)
        recall = check_golden(LoadedVersion.load(registry.folder(version), key=key))
        told(", ".join(f"{name}: golden queries answered, recall {share:.3f}" for name, share in recall.items()))
        registry.point_to(version, at_us=time.time_ns() // 1000)
        registry.remove_unreachable()
    return version


def replay_requests(state: Path, *, store_url: str | None, config: ServerConfig, limit: int | None) -> ReplayReport:
    """Compare the requests that a server wrote down with what training would have seen.

    Raises:
        RunError: If there are none, or a version is damaged.
        StoreError: If the store does not answer.
    """
    store = open_store(store_url or str(state / STORE_FILE))
    try:
        return replay(state / REQUESTS, Registry.open(state), store, key=manifest_key(config), limit=limit)
    finally:
        store.close()
