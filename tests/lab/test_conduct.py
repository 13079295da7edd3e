"""Which runs go when: shared steps once, the first one alone, failures passed over. Workers are acted, one step a turn."""

from collections.abc import Callable
from pathlib import Path

from lab_samples import do_step, planned

from lowerfunnel.lab.conduct import Failure, conduct
from lowerfunnel.lab.crew import Ended
from lowerfunnel.lab.machine import Machine, Share
from lowerfunnel.lab.planned import PlannedRun
from lowerfunnel.lab.worker import Job
from lowerfunnel.pipeline.fingerprints import STEPS

MACHINE = Machine(cores=4, available_bytes=10 * 10**9)


class Actors:
    """Stand in for workers: each turn one of them, in rotation, finishes its next step or fails."""

    def __init__(self, runs: list[PlannedRun], failing: tuple[str, ...] = ()) -> None:
        self._runs = {str(run.path): run for run in runs}
        self._failing = failing
        self._left: dict[str, list[str]] = {}
        self.done: list[tuple[str, str]] = []
        self.sources: dict[str, list[str]] = {}
        self.threads: dict[str, int] = {}
        self.most = 0

    def __enter__(self) -> "Actors":
        return self

    def __exit__(self, *_: object) -> None:
        assert not self._left

    @property
    def names(self) -> list[str]:
        return list(self._left)

    def start(self, name: str, job: Job) -> None:
        run = self._runs[job.path]
        self._left[name] = [step for step in STEPS if not run.holds(step)]
        self.sources[name] = [self._runs[source].name for source in job.sources]
        self.threads[name] = job.threads
        if self.sources[name]:
            for step in ("import", "label"):
                if any(self._runs[s].holds(step) and self._runs[s].fingerprints[step] == run.fingerprints[step]
                       for s in job.sources):  # fmt: skip
                    do_step(run, step)
                    self._left[name] = [left for left in self._left[name] if left != step]
        self.most = max(self.most, len(self._left))

    def next(self) -> tuple[str, object]:
        name = next(iter(self._left))
        steps = self._left.pop(name)
        if name in self._failing and steps[0] in ("import", "train"):
            return name, Ended(error="it broke", trace="Traceback", peak_bytes=10**12)
        if not steps:
            return name, Ended(error=None, peak_bytes=2 * 10**9)
        self._left[name] = steps[1:]
        run = next(run for run in self._runs.values() if run.name == name)
        do_step(run, steps[0])
        self.done.append((name, steps[0]))
        return name, {"event": "done_step", "step": steps[0]}


class Listener:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.shares: list[Share] = []
        self.errors: dict[str, str | None] = {}

    def sharing(self, share: Share) -> None:
        self.shares.append(share)

    def begun(self, name: str) -> None:
        assert name not in self.errors

    def happened(self, name: str, event: object) -> None: ...

    def ended(self, name: str, error: str | None) -> None:
        self.errors[name] = error


def conducted(
    runs: list[PlannedRun], tmp_path: Path, *, jobs: int | None = 2, failing: tuple[str, ...] = ()
) -> tuple[Actors, Listener, list[Failure]]:
    actors, listener = Actors(runs, failing), Listener()
    crew: Callable[[], Actors] = lambda: actors  # noqa: E731
    failures = conduct(
        runs, data=None, traces=tmp_path / "errors", machine=MACHINE, jobs=jobs, audience=listener, crew=crew
    )
    return actors, listener, failures


def test_a_shared_log_is_imported_and_labelled_once(tmp_path: Path) -> None:
    runs = [planned(tmp_path, name) for name in "abcd"]
    actors, listener, failures = conducted(runs, tmp_path)
    assert [name for name, step in actors.done if step in ("import", "label")] == ["a, seed 0"] * 2
    assert actors.sources["b, seed 0"] == ["a, seed 0"]
    assert failures == []
    assert set(listener.errors.values()) == {None}
    assert all(run.is_finished() for run in runs)
    assert actors.most == 2


def test_runs_of_different_logs_do_not_wait_for_each_other(tmp_path: Path) -> None:
    runs = [planned(tmp_path, name, **{"import": name, "label": name}) for name in "ab"]
    actors, _, _ = conducted(runs, tmp_path)
    assert actors.done[1] == ("a, seed 0", "label") or actors.done[1] == ("b, seed 0", "import")
    assert actors.most == 2
    assert actors.sources == {"a, seed 0": [], "b, seed 0": []}


def test_labels_of_its_own_wait_for_the_import_alone(tmp_path: Path) -> None:
    runs = [planned(tmp_path, "a"), planned(tmp_path, "b", label="others")]
    actors, _, _ = conducted(runs, tmp_path)
    assert [step for name, step in actors.done if name == "b, seed 0"] == [step for step in STEPS if step != "import"]


def test_what_is_finished_is_not_done_again(tmp_path: Path) -> None:
    runs = [planned(tmp_path, name) for name in "ab"]
    conducted(runs, tmp_path)
    actors, listener, failures = conducted(runs, tmp_path)
    assert (actors.done, listener.errors, listener.shares, failures) == ([], {}, [], [])


def test_if_nobody_says_how_many_the_first_goes_alone_and_its_memory_decides(tmp_path: Path) -> None:
    runs = [planned(tmp_path, name) for name in "abcdefgh"]
    actors, listener, _ = conducted(runs, tmp_path, jobs=None)
    assert [(share.jobs, share.threads) for share in listener.shares] == [(4, 1)]
    assert "2.0 GB for a run, 10.0 GB free" in listener.shares[0].reason
    first_end = [name for name, _ in actors.done].index("b, seed 0")
    assert {name for name, _ in actors.done[:first_end]} == {"a, seed 0"}


def test_a_run_that_fails_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    runs = [planned(tmp_path, name) for name in "abcd"]
    _, listener, failures = conducted(runs, tmp_path, jobs=None, failing=("a, seed 0", "c, seed 0"))
    assert [(failure.run.name, failure.error) for failure in failures] == [
        ("a, seed 0", "it broke"),
        ("c, seed 0", "it broke"),
    ]
    assert [run.is_finished() for run in runs] == [False, True, False, True]
    assert failures[0].trace is not None
    assert failures[0].trace.read_text() == "Traceback"
    # The failed run's memory says nothing of how many fit.
    assert all("2.0 GB for a run" in share.reason for share in listener.shares)


def test_a_damaged_file_that_the_study_reads_makes_a_run_unfinished(tmp_path: Path) -> None:
    run = planned(tmp_path, "a")
    for step in STEPS:
        do_step(run, step, **({"metrics_json": "{}"} if step == "evaluate" else {}))
    assert run.is_finished()
    (run.path / "metrics.json").write_text("{ }")
    assert not run.is_finished()
