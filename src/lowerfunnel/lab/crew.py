"""Worker processes, one per run: starting them, hearing of them, stopping them.

They are started anew and never forked: a fork would share the threads and locks of whoever starts them. They end with
the process that started them, however that ends.
"""

import contextlib
import json
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Any, Self

from lowerfunnel.lab.worker import Job

_SHOWN_CHARACTERS = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a worker ended.

    Attributes:
        error: What went wrong in one sentence; None where it finished.
        trace: What it wrote to standard error, where the error is a bug or the process was killed.
        peak_bytes: The most memory that it held; None if it did not say.
    """

    error: str | None
    trace: str | None = None
    peak_bytes: int | None = None


@dataclass(slots=True)
class _Worker:
    process: subprocess.Popen[str]
    errors: IO[str]
    last: dict[str, Any] = field(default_factory=dict)


class Crew:
    """Workers by a name that the caller gives them. Leaving the `with` block stops those that are still at work."""

    def __init__(self) -> None:
        self._workers: dict[str, _Worker] = {}
        self._said: queue.SimpleQueue[tuple[str, dict[str, Any] | None]] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self._workers):
            self.stop(name)
            self._end(name)

    @property
    def names(self) -> list[str]:
        """Those at work."""
        return list(self._workers)

    def start(self, name: str, job: Job) -> None:
        """Start a worker."""
        errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed when it ends
        process = subprocess.Popen(
            [sys.executable, "-m", "lowerfunnel.lab.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
        )
        self._workers[name] = _Worker(process, errors)
        threading.Thread(target=self._listen, args=(name, process), daemon=True).start()
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(BrokenPipeError):  # it has died already, which `next` tells
            process.stdin.write(job.to_line())
            process.stdin.flush()

    def _listen(self, name: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        with process.stdout:
            for line in process.stdout:
                if line.endswith("\n"):  # one that was cut off as it died says nothing
                    self._said.put((name, json.loads(line)))
        self._said.put((name, None))

    def stop(self, name: str) -> None:
        """Kill a worker; `next` still tells of its end."""
        self._workers[name].process.kill()

    def next(self) -> tuple[str, Mapping[str, Any] | Ended]:
        """Wait for what happens next: an event of a worker, or its end."""
        name, event = self._said.get()
        if event is None:
            return name, self._end(name)
        self._workers[name].last = event
        return name, event

    def _end(self, name: str) -> Ended:
        worker = self._workers.pop(name)
        process, last = worker.process, worker.last
        status = process.wait()
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(BrokenPipeError):  # what it died before reading
            process.stdin.close()
        worker.errors.seek(0)
        trace = worker.errors.read()
        worker.errors.close()
        peak = last.get("peak_bytes")
        if last.get("event") == "finished" and status == 0:
            return Ended(error=None, peak_bytes=peak)
        if last.get("event") == "failed":
            return Ended(error=str(last["error"]), peak_bytes=peak)
        if status < 0:
            killed = " (was the memory all taken?)" if -status == signal.SIGKILL else ""
            return Ended(error=f"its process was ended by {signal.Signals(-status).name}{killed}", trace=trace)
        lines = [line for line in trace.splitlines() if line.strip()] or [f"its process ended with status {status}"]
        return Ended(error=lines[-1][:_SHOWN_CHARACTERS], trace=trace)
