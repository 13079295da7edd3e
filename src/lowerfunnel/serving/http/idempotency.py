"""Results of admin requests, kept for a repeat with the same `Idempotency-Key`.

    FOLDER/HASH.json  the result      FOLDER/HASH.lock  held while the first request runs

They are files, so that a repeat finds them after a restart, and through another process of the same server. A lock goes with
the process that holds it: what was killed half way is begun anew.
"""

import base64
import contextlib
import fcntl
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from lowerfunnel.files import disk_errors, write_json
from lowerfunnel.serving.http.refusals import RefusalError

MOST_KEY_CHARACTERS = 255


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What was answered."""

    status: int
    body: bytes


class IdempotentResults:
    """Results by key, bounded. May be used from many threads and processes.

    Args:
        folder: Where they are kept; made when the first comes.
        most: Results and running requests, at most; the oldest results go first.
    """

    def __init__(self, folder: Path, *, most: int) -> None:
        self._folder = folder
        self._most = most
        self._held: dict[str, tuple[int, str]] = {}
        """By key, of requests that run in this process: the descriptor of the lock, and the print of what was asked."""

    def begin(self, key: str, *, asked: bytes) -> Result | None:
        """Return the result of the first request with this key; None if this one is the first, and is begun by that.

        Raises:
            RefusalError: 422 if the first one asked for something else, 409 if it is not done yet, 503 if as many requests
                are not done yet as results are kept.
            RunError: If the folder cannot be written.
        """
        print_of_asked = hashlib.sha256(asked).hexdigest()
        path, lock = self._paths(key)
        with disk_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                self._make_room()
            descriptor = _locked(lock)
            if descriptor is None:
                # It runs, or ended a moment ago.
                raise _reused() if _text(lock) not in ("", print_of_asked) else _in_progress()
            with contextlib.ExitStack() as unless_it_is_the_first:
                unless_it_is_the_first.callback(_let_go, lock, descriptor)
                found = _read(path)
                if found is None:
                    os.truncate(descriptor, 0)
                    os.write(descriptor, print_of_asked.encode())
                    self._held[key] = (descriptor, print_of_asked)
                    unless_it_is_the_first.pop_all()
                    return None
            first_print, result = found
            if first_print != print_of_asked:
                raise _reused()
            return result

    def finish(self, key: str, result: Result) -> None:
        """Keep a result.

        Raises:
            RunError: If it cannot be written.
        """
        path, _ = self._paths(key)
        body = base64.b64encode(result.body).decode("ascii")
        try:
            write_json(path, {"asked": self._held[key][1], "status": result.status, "body": body})
        finally:
            self.forget(key)

    def forget(self, key: str) -> None:
        """Let the next request with this key be the first, if this one has no result."""
        descriptor, _ = self._held.pop(key)
        _let_go(self._paths(key)[1], descriptor)

    def __len__(self) -> int:
        return len(self._files())

    def _paths(self, key: str) -> tuple[Path, Path]:
        name = hashlib.sha256(key.encode()).hexdigest()
        return self._folder / f"{name}.json", self._folder / f"{name}.lock"

    def _files(self) -> list[Path]:
        return [path for path in self._folder.iterdir() if path.suffix in (".json", ".lock") and path.name[0] != "."]

    def _make_room(self) -> None:
        files = self._files()
        if len(files) < self._most:
            return
        results = [path for path in files if path.suffix == ".json"]
        if not results:
            raise RefusalError(
                503, "overloaded", "Too many admin requests are not done yet.", headers={"retry-after": "1"}
            )
        ages = {path: status.st_mtime_ns for path in results if (status := _status(path)) is not None}
        for path in sorted(ages, key=ages.__getitem__)[: len(files) - self._most + 1]:
            path.unlink(missing_ok=True)


def _reused() -> RefusalError:
    return RefusalError(
        422, "idempotency_key_reused", "This Idempotency-Key came before with another request; choose a new one."
    )


def _in_progress() -> RefusalError:
    return RefusalError(
        409,
        "in_progress",
        "The first request with this Idempotency-Key is not done yet; ask again.",
        headers={"retry-after": "1"},
    )


def _locked(path: Path) -> int | None:
    """Return a descriptor that holds a lock; None if another one holds it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        there = _status(path)
        if there is not None and os.path.samestat(there, os.fstat(descriptor)):
            return descriptor
        os.close(descriptor)  # whoever held it has removed it since it was opened


def _let_go(path: Path, descriptor: int) -> None:
    path.unlink(missing_ok=True)
    os.close(descriptor)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8")
    return ""


def _read(path: Path) -> tuple[str, Result] | None:
    """Return the print of what was asked and the result; None without a result that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return str(found["asked"]), Result(status=int(found["status"]), body=base64.b64decode(found["body"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
