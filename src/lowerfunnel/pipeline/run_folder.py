"""The folder of one run: who may use it, which steps are finished, what they wrote.

    DIR/
      run.json          the settings of the run, resolved
      steps/NAME.json   one per finished step: what it was made from (its fingerprint) and what it wrote (with hashes)
      store/ labels/ model/ index/ evaluation/    what the steps made
      metrics.json  report.html  manifest.json

A record in `steps` always belongs to the settings in `run.json`: records of other settings are removed before new
settings are written down.
"""

import contextlib
import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lowerfunnel import __version__
from lowerfunnel.errors import RunError
from lowerfunnel.files import disk_errors, sha256_of_file, sha256_of_folder, write_json

_RUN = "run.json"
_LOCK = ".lock"
_BEFORE_RUN = {_LOCK, f".{_RUN}.tmp"}
"""What a run that was killed before it wrote its first file may leave."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepRecord:
    """What is written down of a finished step.

    Attributes:
        fingerprint: What it was made from.
        seconds: How long it took.
        files: The SHA-256 of every file that it wrote, by the file's path in the run's folder.
        facts: What later steps ask of it.
    """

    fingerprint: str
    seconds: float
    files: dict[str, str]
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run's folder."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> "RunFolder":
        """Open a run's folder, making it if it is not there.

        Raises:
            RunError: If it cannot be made.
        """
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open the folder of a run.

        Raises:
            RunError: If there is none.
        """
        with disk_errors(path):
            if not (path / _RUN).is_file():
                raise RunError(
                    f"{path} holds no run ({_RUN} is missing); make one with: lowerfunnel run RECIPE --out {path}"
                )
        return cls(path)

    def require_free_for(self, name: str) -> None:
        """Make sure that the folder, if it is there, holds the run `name` or nothing.

        Raises:
            RunError: If it is a file, holds another run, or files that are no run's.
        """
        path = self.path
        with disk_errors(path):
            if not path.exists():
                return
            if not path.is_dir():
                raise RunError(f"--out {path} is a file; give a folder")
            if not (path / _RUN).exists():
                if any(child.name not in _BEFORE_RUN for child in path.iterdir()):
                    raise RunError(f"{path} is not empty and holds no run; choose another --out")
                return
        held = self.settings().get("name")
        if held != name:
            raise RunError(
                f'{path} holds another run, of the recipe "{held}" and not "{name}"; choose another --out or remove it'
            )

    def settings(self) -> dict[str, object]:
        """Return the settings of the run, resolved."""
        try:
            written = json.loads((self.path / _RUN).read_text(encoding="utf-8"))
            settings = written["settings"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{self.path / _RUN} is damaged ({error}); remove the folder and run again") from error
        if not isinstance(settings, dict):
            raise RunError(f"{self.path / _RUN} is damaged (settings are no table); remove the folder and run again")
        return settings

    def write_settings(self, settings: dict[str, object]) -> None:
        """Write down the settings of the run, and tidy away what a killed run left half written."""
        write_json(self.path / _RUN, {"lowerfunnel": __version__, "settings": settings})
        with disk_errors(self.path):
            (self.path / "steps").mkdir(exist_ok=True)
            for leftover in [*self.path.glob(".*.tmp"), *self.path.glob("steps/.*.tmp")]:
                if leftover.is_dir():
                    shutil.rmtree(leftover)
                else:
                    leftover.unlink()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process out of the folder. The lock goes with the process, however it ends.

        Raises:
            RunError: If another process is at work in it, or reads it.
        """
        with disk_errors(self.path):
            file = (self.path / _LOCK).open("a")
        with file:
            self._lock(file.fileno(), fcntl.LOCK_EX)
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Keep every process from writing to the folder, while others may read it.

        Raises:
            RunError: If a process is writing to it.
        """
        with contextlib.ExitStack() as stack:
            # A run from elsewhere may lie where nobody may write; without a lock file nobody is at work in it.
            with contextlib.suppress(FileNotFoundError):
                self._lock(stack.enter_context((self.path / _LOCK).open()).fileno(), fcntl.LOCK_SH)
            yield

    def _lock(self, descriptor: int, kind: int) -> None:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(
                f"another process is at work in {self.path}; wait for it or choose another folder"
            ) from error

    def record(self, step: str) -> StepRecord | None:
        """Return what is written down of a finished step, None if it is not finished."""
        try:
            record = StepRecord(**json.loads((self.path / "steps" / f"{step}.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return record if isinstance(record.files, dict) and isinstance(record.facts, dict) else None

    def finished(self, fingerprints: Mapping[str, str]) -> list[str]:
        """Return the steps, from the first on, that were finished from the same inputs and whose files are untouched.

        Every file is read and compared with its hash. Behind a step that has to be done, none counts as finished.
        """
        done = []
        for step, fingerprint in fingerprints.items():
            record = self.record(step)
            if record is None or record.fingerprint != fingerprint or self._touched(record) is not None:
                break
            done.append(step)
        return done

    def _touched(self, record: StepRecord) -> str | None:
        """Return a file of a step that is missing or is not what the step wrote."""
        for name, digest in record.files.items():
            path = self.path / name
            if not path.is_file() or sha256_of_file(path) != digest:
                return name
        return None

    def forget(self, steps: Sequence[str]) -> None:
        """Remove the records of steps, so that they count as not finished."""
        with disk_errors(self.path):
            for step in reversed(steps):
                (self.path / "steps" / f"{step}.json").unlink(missing_ok=True)

    def discard(self, name: str) -> None:
        """Remove a file that belongs to settings which are no longer the run's."""
        with disk_errors(self.path):
            (self.path / name).unlink(missing_ok=True)

    def run_step(
        self, step: str, fingerprint: str, outputs: Sequence[str], work: Callable[[], None], facts: dict[str, str]
    ) -> None:
        """Do the work of a step, and write down that it is finished and what it wrote (`outputs`, files or folders)."""
        self.forget([step])
        started_s = time.monotonic()
        with disk_errors(self.path):
            work()
        seconds = round(time.monotonic() - started_s, 3)
        files: dict[str, str] = {}
        for output in outputs:
            path = self.path / output
            if path.is_dir():
                files |= {f"{output}/{name}": digest for name, digest in sha256_of_folder(path).items()}
            else:
                files[output] = sha256_of_file(path)
        record = StepRecord(fingerprint=fingerprint, seconds=seconds, files=files, facts=facts)
        write_json(self.path / "steps" / f"{step}.json", asdict(record))

    def require(self, steps: Sequence[str], fingerprints: Mapping[str, str], *, untouched: Sequence[str]) -> None:
        """Make sure that `steps` were finished from these inputs, and that the files of those in `untouched` are intact.

        Raises:
            RunError: If not; it says how to mend it.
        """
        again = f"finish it with: lowerfunnel run RECIPE --out {self.path}"
        for step in steps:
            record = self.record(step)
            if record is None:
                raise RunError(f'the run in {self.path} has not finished its step "{step}"; {again}')
            if record.fingerprint != fingerprints[step]:
                raise RunError(
                    f'the step "{step}" in {self.path} was made from other settings than {_RUN} holds; {again}'
                )
            touched = self._touched(record) if step in untouched else None
            if touched is not None:
                raise RunError(
                    f'{self.path / touched} is not what the step "{step}" wrote: it was damaged, removed or taken from '
                    f"another run; redo the step with: lowerfunnel run RECIPE --out {self.path}"
                )


def chain(*parts: object) -> str:
    """Return a fingerprint of JSON values; a step's is made of its settings and of the fingerprints before it."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
