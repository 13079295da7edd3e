"""One run in a process of its own: `python -m lowerfunnel.lab.worker`.

It reads one line of JSON from standard input, the `Job`, and writes one line of JSON to standard output for each thing
that happens. When its standard input closes, whoever started it is gone, and it stops at once: finished steps are kept.
A mistake of the user ends in an event "failed" and status 1; any other exception is a bug, with its traceback on
standard error.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import rich.console
import torch

from lowerfunnel.config import load_settings, settings_to_dict
from lowerfunnel.errors import LowerfunnelError
from lowerfunnel.lab.adopt import adopt
from lowerfunnel.lab.planned import SHARED_STEPS
from lowerfunnel.pipeline import assemble
from lowerfunnel.pipeline.console import Console
from lowerfunnel.pipeline.fingerprints import STEPS
from lowerfunnel.pipeline.recipe import Recipe
from lowerfunnel.pipeline.run_folder import RunFolder
from lowerfunnel.pipeline.steps import Run
from lowerfunnel.training.loop import Progress
from lowerfunnel.training.memory import peak_bytes

Emit = Callable[..., None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What a worker is to do.

    Attributes:
        path: The run's folder.
        settings: Its recipe, resolved.
        data: The folder of the log's files.
        log: Fingerprint of the log.
        fingerprints: What each step is made from.
        sources: Folders of other runs whose finished steps may be taken over.
        threads: CPU threads, where the recipe does not say.
        until: The last step to do.
    """

    path: str
    settings: dict[str, object]
    data: str | None
    log: str
    fingerprints: dict[str, str]
    sources: tuple[str, ...]
    threads: int
    until: str = STEPS[-1]

    def to_line(self) -> str:
        """Return the job as one line of JSON."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def of_line(cls, line: str) -> "Job":
        """Read what `to_line` wrote."""
        return load_settings(cls, json.loads(line), source="the job")


class Reporter(Console):
    """A run's console that tells another process what happens."""

    def __init__(self, emit: Emit) -> None:
        super().__init__(rich.console.Console(file=sys.stderr, quiet=True))
        self._emit = emit

    @contextmanager
    def step(self, step: str) -> Iterator[None]:
        """Tell that a step begins and how long it took."""
        self._emit("step", step=step)
        started_s = time.monotonic()
        yield
        self._emit("done_step", step=step, seconds=round(time.monotonic() - started_s, 3))

    def skipped(self, step: str) -> None:
        """Tell nothing: a study says what it takes over."""

    def warn(self, sentence: str) -> None:
        """Pass a warning on."""
        self._emit("warning", sentence=sentence)

    @contextmanager
    def training(self) -> Iterator[Progress]:
        """Tell how far training is."""
        yield _Course(self._emit)


class _Course:
    """Implements `lowerfunnel.training.loop.Progress`."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit

    def advance(self, *, step: int, steps: int, epoch: int, loss: float, examples_per_s: float) -> None:
        """Tell the share that is done."""
        self._emit("training", share=round(step / steps, 4))

    def validated(self, row: Mapping[str, float]) -> None:
        """Tell a validation's figures."""
        self._emit("validated", row=dict(row))


def work(job: Job, emit: Emit) -> None:
    """Do the unfinished steps of a run, taking over what other runs have.

    Raises:
        LowerfunnelError: For everything that the user can mend; finished steps are kept.
    """
    recipe = load_settings(Recipe, job.settings, source="run.json")
    assemble.device_of(recipe.training)
    assemble.require_packages(recipe)
    torch.set_num_threads(job.threads)
    folder = RunFolder.create(Path(job.path))
    with folder.locked():
        folder.require_free_for(recipe.name)
        # In this order, so that a kill at any moment leaves no record beside settings that it does not belong to.
        records = {step: folder.record(step) for step in STEPS}
        folder.forget(
            [s for s, record in records.items() if record is not None and record.fingerprint != job.fingerprints[s]]
        )
        folder.write_settings(settings_to_dict(recipe))
        taken = adopt(folder, {step: job.fingerprints[step] for step in SHARED_STEPS}, map(Path, job.sources))
        if taken:
            emit("taken", steps=taken)
        data = None if job.data is None else Path(job.data)
        run = Run(
            recipe=recipe,
            folder=folder,
            data=data,
            log=job.log,
            fingerprints=job.fingerprints,
            console=Reporter(emit),
        )
        run.execute(until=job.until)
    emit("finished", peak_bytes=peak_bytes())


def _stop_with_parent(stream: TextIO) -> None:
    """End this process when `stream` closes."""

    def watch() -> None:
        stream.read()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Do the job on standard input."""
    # Ctrl-C reaches all processes of a terminal; the one that started this ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    # What libraries print is no event.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def emit(event: str, **values: object) -> None:
        out.write(json.dumps({"event": event, **values}) + "\n")
        out.flush()

    job = Job.of_line(sys.stdin.readline())
    _stop_with_parent(sys.stdin)
    status = 0
    try:
        work(job, emit)
    except LowerfunnelError as error:
        emit("failed", error=str(error), peak_bytes=peak_bytes())
        status = 1
    # At once: the thread that waits for the end of standard input would keep the process.
    out.close()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
