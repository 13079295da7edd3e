"""The folder of one run: who may write to it, which steps are finished, what belongs together.

    DIR/
      run.json          the run's name, version and resolved settings
      steps/NAME.json   one per finished step: what it was made from (its fingerprint), how long it took
      store/ labels/ model/ index/ evaluation/    what the steps made
      metrics.json  report.html  manifest.json
"""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lowerfunnel import __version__
from lowerfunnel.errors import RunError
from lowerfunnel.files import disk_errors, write_json

_RUN = "run.json"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run's folder."""

    path: Path

    @classmethod
    def create(cls, path: Path, *, name: str, settings: dict[str, object]) -> "RunFolder":
        """Open the folder of the run `name`, making it if it is not there, and write down its settings.

        Raises:
            RunError: If the folder holds another run, or files that are no run's.
        """
        with disk_errors(path):
            if path.exists() and not path.is_dir():
                raise RunError(f"--out {path} is a file; give a folder")
            path.mkdir(parents=True, exist_ok=True)
        if (path / _RUN).exists():
            held = cls.open(path).settings().get("name")
            if held != name:
                raise RunError(
                    f'{path} holds another run, of the recipe "{held}" and not "{name}"; choose another --out or remove it'
                )
        elif any(child.name not in {".lock"} for child in path.iterdir()):
            raise RunError(f"{path} is not empty and holds no run; choose another --out")
        (path / "steps").mkdir(exist_ok=True)
        folder = cls(path)
        folder.write_settings(settings)
        return folder

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open the folder of a run.

        Raises:
            RunError: If there is none.
        """
        if not (path / _RUN).is_file():
            raise RunError(f"{path} holds no run ({_RUN} is missing); make one with: lowerfunnel run RECIPE --out {path}")
        return cls(path)

    def settings(self) -> dict[str, object]:
        """Return the settings of the run, resolved."""
        try:
            written = json.loads((self.path / _RUN).read_text(encoding="utf-8"))
            settings = written["settings"]
        except (json.JSONDecodeError, KeyError, UnicodeDecodeError) as error:
            raise RunError(f"{self.path / _RUN} is damaged ({error}); remove the folder and run again") from error
        if not isinstance(settings, dict):
            raise RunError(f"{self.path / _RUN} is damaged (settings are no table); remove the folder and run again")
        return settings

    def write_settings(self, settings: dict[str, object]) -> None:
        """Write down the settings of the run."""
        write_json(self.path / _RUN, {"lowerfunnel": __version__, "settings": settings})

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process from writing to the folder. The lock goes with the process, however it ends.

        Raises:
            RunError: If another process holds it.
        """
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunError(
                    f"another process is at work in {self.path}; wait for it or choose another --out"
                ) from error
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield

    def finished(self, step: str, fingerprint: str, outputs: list[str]) -> bool:
        """Return whether a step was finished from the same inputs and what it made is still there."""
        record = self.step_record(step)
        made = all((self.path / output).exists() for output in outputs)
        return made and record is not None and record.get("fingerprint") == fingerprint

    def step_record(self, step: str) -> dict[str, object] | None:
        """Return what is written down of a finished step, None if it is not finished."""
        try:
            record = json.loads((self.path / "steps" / f"{step}.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return record if isinstance(record, dict) else None

    def run_step(self, step: str, fingerprint: str, outputs: list[str], work: Callable[[], None]) -> bool:
        """Do the work of a step unless it is finished, and write down that it is. Returns whether work was done."""
        if self.finished(step, fingerprint, outputs):
            return False
        record = self.path / "steps" / f"{step}.json"
        record.unlink(missing_ok=True)
        started_s = time.monotonic()
        with disk_errors(self.path):
            work()
        write_json(record, {"fingerprint": fingerprint, "seconds": round(time.monotonic() - started_s, 3)})
        return True

    def require_step(self, step: str) -> None:
        """Raise a `RunError` unless the step is finished."""
        if self.step_record(step) is None:
            raise RunError(
                f'the run in {self.path} has not finished its step "{step}"; finish it with: lowerfunnel run RECIPE '
                f"--out {self.path}"
            )


def chain(*parts: object) -> str:
    """Return a fingerprint of JSON values; a step's is made of its settings and of the fingerprints before it."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
