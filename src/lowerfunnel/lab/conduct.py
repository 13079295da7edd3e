"""Doing the runs of a study: as many side by side as the machine holds, shared steps once, failures told and passed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lowerfunnel.config import settings_to_dict
from lowerfunnel.files import disk_errors, write_text
from lowerfunnel.lab.crew import Crew, Ended
from lowerfunnel.lab.machine import Machine, Share, share_of
from lowerfunnel.lab.planned import SHARED_STEPS, PlannedRun
from lowerfunnel.lab.worker import Job
from lowerfunnel.pipeline import assemble


class Audience(Protocol):
    """Whoever watches runs being done."""

    def sharing(self, share: Share) -> None:
        """Take note of how the machine is shared from now on."""

    def begun(self, name: str) -> None:
        """Take note that a run has begun."""

    def happened(self, name: str, event: Mapping[str, Any]) -> None:
        """Take note of an event of a worker."""

    def ended(self, name: str, error: str | None) -> None:
        """Take note that a run has ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A run that could not be finished.

    Attributes:
        run: The run.
        error: Why, in one sentence.
        trace: Where more of it is written down.
    """

    run: PlannedRun
    error: str
    trace: Path | None = None


def conduct(
    runs: Sequence[PlannedRun],
    *,
    data: Path | None,
    traces: Path,
    machine: Machine,
    jobs: int | None,
    audience: Audience,
    crew: Callable[[], Crew] = Crew,
) -> list[Failure]:
    """Do the runs that are not finished; returns those that failed.

    Unless `jobs` says how many go side by side, the first one goes alone, to see how much memory it takes.

    Args:
        runs: All runs of the study, those to do first in front.
        data: The folder of the log's files.
        traces: Where the traceback of a bug is written down, in a file per run.
        machine: Where they run.
        jobs: Runs side by side; None to decide here.
        audience: Who is told.
        crew: Makes the workers.
    """
    waiting = [run for run in runs if not run.is_finished()]
    by_name = {run.name: run for run in runs}
    on_gpu = any(assemble.device_of(run.recipe.training).type != "cpu" for run in waiting)
    failures: list[Failure] = []
    most_bytes: int | None = None

    def shared(left: int) -> Share:
        return share_of(machine, runs=left, jobs=jobs, run_bytes=most_bytes, on_gpu=on_gpu)

    share = shared(len(waiting))
    alone = jobs is None and share.jobs > 1
    if waiting and not alone:
        audience.sharing(share)
    with crew() as workers:
        while waiting or workers.names:
            room = (1 if alone else share.jobs) - len(workers.names)
            for run in _ready(waiting, [by_name[name] for name in workers.names])[: max(0, room)]:
                # One at a time: what is begun may be what the next one waits for.
                waiting.remove(run)
                audience.begun(run.name)
                workers.start(run.name, _job(run, runs, data, share.threads))
                break
            else:
                name, what = workers.next()
                if not isinstance(what, Ended):
                    audience.happened(name, what)
                    continue
                audience.ended(name, what.error)
                if what.error is not None:
                    failures.append(
                        Failure(run=by_name[name], error=what.error, trace=_kept(by_name[name], what, traces))
                    )
                elif what.peak_bytes is not None:
                    most_bytes = max(most_bytes or 0, what.peak_bytes)
                    if alone and waiting:
                        alone, share = False, shared(len(waiting))
                        audience.sharing(share)
    return failures


def _ready(waiting: Sequence[PlannedRun], running: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Return the runs that need not wait for a step that a run at work is about to make."""

    def must_wait(run: PlannedRun) -> bool:
        return any(
            other.fingerprints[step] == run.fingerprints[step] and not other.holds(step) and not run.holds(step)
            for step in SHARED_STEPS
            for other in running
        )

    return [run for run in waiting if not must_wait(run)]


def _job(run: PlannedRun, runs: Sequence[PlannedRun], data: Path | None, threads: int) -> Job:
    sources = [
        other.path
        for other in runs
        if other.path != run.path
        and any(other.fingerprints[step] == run.fingerprints[step] and other.holds(step) for step in SHARED_STEPS)
    ]
    return Job(
        path=str(run.path),
        settings=settings_to_dict(run.recipe),
        data=None if data is None or run.recipe.world is not None else str(data),
        log=run.log,
        fingerprints=run.fingerprints,
        sources=tuple(map(str, sources)),
        threads=run.recipe.training.threads or threads,
    )


def _kept(run: PlannedRun, ended: Ended, traces: Path) -> Path | None:
    """Write down what a process said before it died of a bug; returns where."""
    if not ended.trace:
        return None
    with disk_errors(traces):
        traces.mkdir(parents=True, exist_ok=True)
    path = traces / f"{run.variant}-seed-{run.seed}.txt"
    write_text(path, ended.trace)
    return path
