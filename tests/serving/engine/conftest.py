"""Engines over a finished run, in this process."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lowerfunnel.serving.engine.engine import CandidateEngine
from lowerfunnel.serving.metrics import ServerMetrics
from lowerfunnel.serving.recent import RecentAnswers
from lowerfunnel.serving.server import Runs, ServerConfig, load_server_config, start_engine
from lowerfunnel.serving.store.open import open_store

UNHURRIED = ("engine.probe.every_s=0", "engine.store.timeout_ms=10000")
"""Settings of a server on a machine that has other things to do: no answer goes without its timeline."""

StartEngine = Callable[..., CandidateEngine]


@pytest.fixture
def start(run: Path, runs_folder: Path, served_before: Path, tmp_path: Path) -> Iterator[StartEngine]:
    """Start an engine over the run: `start()`, `start(settings=["engine.probe.every_s=0"], engagement=run)`.

    All engines of a test share one state, which begins as `served_before`; with further generators it begins empty.
    """
    with contextlib.ExitStack() as stack:

        def begin(*, settings: list[str] | None = None, **generators: Path) -> CandidateEngine:
            folder = tmp_path / "state"
            if not folder.exists() and generators:
                folder.mkdir()
            elif not folder.exists():
                shutil.copytree(served_before, folder)
            config: ServerConfig = load_server_config(None, [*UNHURRIED, *(settings or [])])
            opened = open_store(str(folder / "store.sqlite"))
            engine = start_engine(
                run,
                folder,
                opened,
                config,
                runs=Runs(folder=runs_folder, others=generators),
                metrics=ServerMetrics(),
                recent=RecentAnswers(),
                told=lambda _: None,
            )
            stack.callback(opened.close)
            stack.callback(engine.close)
            return engine

        yield begin


@pytest.fixture
def engine(start: StartEngine) -> CandidateEngine:
    """An engine that answers."""
    return start()
