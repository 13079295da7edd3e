"""A tiny world and a tiny log, the command line in this process, and one finished run of each that the tests share."""

import contextlib
import io
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.tiny_world import tiny_world

from lowerfunnel.cli.main import main

TINY = (
    'name = "tiny"'
    + tiny_world(users=150, items=80, advertisers=8, days=20)
    + """
[labels]
weights = { checkout = 1.0, add_to_cart = 0.5, click = 0.1 }
[labels.split]
test_days = 4
validation_days = 3
[retrieval.tower]
width = 8
hidden = [8]
cross_rank = 4
[retrieval.history]
length = 8
feedforward = 8
[retrieval.objective]
batch_size = 256
[training]
epochs = 2
threads = 1
[evaluation]
bootstrap = 100
ks = [5, 10, 20]
headline = "recall@10"
"""
)

SHOP = """
name = "shop"
[log]
buckets = 2
[[log.events]]
files = "events.csv"
time_unit = "iso"
[[log.items]]
files = "items.csv"
[[log.test]]
files = "test.csv"
constants = { action = "checkout" }
[labels]
weights = { checkout = 1.0, view = 0.2 }
[labels.split]
strategy = "given"
[retrieval.tower]
width = 8
popularity = true
arrangement = "none"
[retrieval.history]
length = 8
encoder = "pooling"
[training]
epochs = 2
threads = 1
[evaluation]
bootstrap = 100
ks = [5, 10]
headline = "recall@10"
floors = ["popularity"]
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


Command = Callable[..., Ended]


def _call(*arguments: object) -> Ended:
    """Run the command line in this process. What no sentence was made of comes out as an exception, that is a bug."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["lowerfunnel", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    # The end of `main` makes Python deaf to Ctrl-C, and child processes would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    status = ended.value.code
    assert isinstance(status, int)
    return Ended(status, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def call() -> Command:
    """Run a command to its end: `call("run", recipe, "--out", folder)`."""
    return _call


@pytest.fixture(scope="session")
def succeed() -> Command:
    """Run a command that has to succeed."""

    def run(*arguments: object) -> Ended:
        ended = _call(*arguments)
        assert ended.status == 0, ended.err
        assert ended.err == ""
        return ended

    return run


@pytest.fixture(scope="session")
def refuse() -> Command:
    """Run a command that has to end with status 1 (2 if `settings`) and a clear message; returns that message."""

    def run(*arguments: object, settings: bool = False) -> Ended:
        ended = _call(*arguments)
        assert ended.status == (2 if settings else 1), ended.err
        assert ended.err.startswith("error: ")
        assert "Traceback" not in ended.err
        assert len(ended.err) < 1500
        return ended

    return run


@pytest.fixture
def fast_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out drawing the report, which takes half of a tiny run and has its own tests."""
    monkeypatch.setattr("lowerfunnel.pipeline.report.render_report", lambda _: "<html></html>\n")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe that generates a tiny world."""
    path = tmp_path_factory.mktemp("recipes") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def _finished(tiny: Path, tmp_path_factory: pytest.TempPathFactory, succeed: Command) -> tuple[Path, Ended]:
    out = tmp_path_factory.mktemp("runs") / "tiny"
    return out, succeed("run", tiny, "--out", out)


@pytest.fixture(scope="session")
def finished(_finished: tuple[Path, Ended]) -> Path:
    """A finished run of the tiny world. Read only: change a `copy_of_finished`."""
    return _finished[0]


@pytest.fixture(scope="session")
def printed(_finished: tuple[Path, Ended]) -> str:
    """What the command of `finished` printed."""
    return _finished[1].out


@pytest.fixture
def copy_of_finished(finished: Path, tmp_path: Path) -> Path:
    """A finished run to change."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe, with its log beside it in `log`, of a shop whose ids are texts, with a given test file."""
    folder = tmp_path_factory.mktemp("shop")
    write_shop_log(folder / "log")
    (folder / "shop.toml").write_text(SHOP)
    return folder / "shop.toml"


def write_shop_log(folder: Path) -> None:
    """Write 40 users with a taste for one of four shelves, 32 items of which one is no longer in the catalogue."""
    folder.mkdir()
    rng = np.random.default_rng(7)
    users = [f"{number:04d}" for number in range(38)] + ["größe", "用户"]
    items = [f"{number:03d}" for number in range(31)] + ["écharpe"]
    events, test = ["user_id,item_id,action,ts"], ["user_id,item_id"]
    for number, user in enumerate(users):
        liked = rng.permutation(np.arange(number % 4, 32, 4))
        for place, item in enumerate(liked[:6]):
            action = "checkout" if place % 2 else "view"
            day = 1 + place * 4 + int(rng.integers(3))
            events.append(f"{user},{items[item]},{action},2026-01-{day:02d}T{int(rng.integers(24)):02d}:30:00Z")
        test += [f"{user},{items[item]}" for item in liked[6:]]
    test.append("never-trained,000")
    catalogue = [
        "item_id,advertiser_id,price",
        *(f"{item},{'ab'[n % 2]},{n + 1}.5" for n, item in enumerate(items[1:])),
    ]
    for name, lines in (("events.csv", events), ("test.csv", test), ("items.csv", catalogue)):
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def shop_run(shop: Path, tmp_path_factory: pytest.TempPathFactory, succeed: Command) -> Path:
    """A finished run of the shop. Read only."""
    out = tmp_path_factory.mktemp("runs") / "shop"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lowerfunnel.pipeline.report.render_report", lambda _: "<html></html>\n")
        succeed("run", shop, "--data", shop.parent / "log", "--out", out)
    return out


@pytest.fixture
def users_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a users file: `users_file(["1", "2"])` as CSV, `users_file(pa.array([1, 2]))` as Parquet."""

    def write(users: list[str] | pa.Array, name: str = "users") -> Path:
        if isinstance(users, list):
            path = tmp_path / f"{name}.csv"
            path.write_text("\n".join(["user_id", *users]) + "\n", encoding="utf-8")
        else:
            path = tmp_path / f"{name}.parquet"
            pq.write_table(pa.table({"user_id": users}), path)
        return path

    return write
