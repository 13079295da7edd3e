"""What tests of the server share: a real Redis on a free port of loopback, and two finished runs of one tiny world."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import rich.console
from tests.tiny_world import tiny_world

from lowerfunnel.pipeline.console import Console
from lowerfunnel.pipeline.recipe import load_recipe
from lowerfunnel.pipeline.run import start_run
from lowerfunnel.serving.metrics import ServerMetrics
from lowerfunnel.serving.recent import RecentAnswers
from lowerfunnel.serving.server import Runs, load_server_config, start_engine
from lowerfunnel.serving.store.open import open_store
from lowerfunnel.serving.versions.build import build_version
from lowerfunnel.serving.versions.registry import Registry

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


class RedisProcess:
    """A redis-server that can be stopped, killed and started again on the same port and folder."""

    def __init__(self, folder: Path, options: tuple[str, ...] = DURABLE) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.folder = folder
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "RedisProcess":
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--save", "", "--enable-debug-command", "yes", *self.options]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        began = time.monotonic()
        while not self.answers():
            assert self.process.poll() is None, (self.folder / "redis.log").read_text()[-2000:]
            assert time.monotonic() - began < 30, "redis-server did not start"
            time.sleep(0.02)
        return self

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")  # not while it is still reading its log
        except OSError:
            return False

    def say(self, *command: str) -> None:
        """Send a command as an administrator would."""
        done = subprocess.run(["redis-cli", "-p", str(self.port), *command], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "OK", done.stdout

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait()


@pytest.fixture(scope="session")
def start_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RedisProcess]]:
    """Start a Redis of one's own: `start_redis()`, or with other options than durable ones."""
    if shutil.which("redis-server") is None:
        pytest.skip("needs a Redis server; install it with: apt-get install redis-server")
    started = []

    def start(options: tuple[str, ...] = DURABLE) -> RedisProcess:
        started.append(RedisProcess(tmp_path_factory.mktemp("redis"), options))
        return started[-1].start()

    yield start
    for server in started:
        server.kill()


@pytest.fixture(scope="session")
def redis_server(start_redis: Callable[..., RedisProcess]) -> RedisProcess:
    """The Redis that tests share: each takes a prefix of its own, and nobody stops it."""
    return start_redis()


RECIPE = (
    'name = "served"'
    + tiny_world(users=80, items=120, advertisers=8, days=20, visits_per_day=1.0)
    + """
[labels]
weights = { checkout = 1.0, add_to_cart = 0.5, click = 0.1 }
[labels.split]
test_days = 4
validation_days = 3
[retrieval.tower]
width = 16
hidden = [16]
cross_rank = 4
popularity = true
activity = true
counters = true
[retrieval.history]
length = 20
feedforward = 16
[retrieval.context]
subject = true
query = true
[retrieval.objective]
batch_size = 256
heads = "multi"
[training]
epochs = 3
threads = 1
[evaluation]
bootstrap = 100
ks = [5, 10, 20]
headline = "recall@10"
floors = ["popularity"]
"""
)


def make_run(folder: Path, name: str, *, recipe: str = RECIPE) -> Path:
    """Train the recipe in `folder/name`, without its report."""
    path = folder / f"{name}.toml"
    path.write_text(recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lowerfunnel.pipeline.report.render_report", lambda _: "<html></html>\n")
        start_run(
            load_recipe(path),
            out=folder / name,
            data=None,
            console=Console(rich.console.Console(quiet=True)),
        )
    return folder / name


@pytest.fixture(scope="session")
def runs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two finished runs of one log, `first` and `second`, of differently trained models. Read only."""
    folder = tmp_path_factory.mktemp("runs")
    first = make_run(folder, "first")
    # Another seed would be another world, with other items.
    make_run(folder, "second", recipe=RECIPE.replace("width = 16", "width = 16\ninit_std = 0.2"))
    assert first.is_dir()
    return folder


@pytest.fixture(scope="session")
def run(runs_folder: Path) -> Path:
    """The first run."""
    return runs_folder / "first"


@pytest.fixture(scope="session")
def served_before(run: Path, runs_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a server that has published the run, and the second one beside it, and stored its log. Read only."""
    state = tmp_path_factory.mktemp("served")
    config = load_server_config(None, ["engine.request_log.share=0"])
    store = open_store(str(state / "store.sqlite"))
    engine = start_engine(
        run, state, store, config, runs=Runs(folder=runs_folder), metrics=ServerMetrics(), recent=RecentAnswers(),
        told=lambda _: None,
    )  # fmt: skip
    engine.close()
    store.close()
    registry = Registry.open(state)
    build_version({"conversion": runs_folder / "second"}, registry, index=None, key=None, told=lambda _: None)
    return state
