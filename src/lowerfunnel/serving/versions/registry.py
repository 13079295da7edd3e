"""Which versions are published and which one is served.

    STATE/ versions/ID/  current.json  .lock

`current.json` names the version that is served and those before it; it is replaced as a whole, after the version that it
names is on disk as a whole. A version's folder never changes.
"""

import contextlib
import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lowerfunnel.errors import RunError, UnavailableError
from lowerfunnel.files import disk_errors, write_folder, write_json
from lowerfunnel.serving.versions.manifest import VersionManifest, read_manifest

_CURRENT = "current.json"
_KEPT = 10
"""Versions that a rollback can reach."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pointer:
    """The version that is served, when it was published, and those before it, the latest first."""

    version: str
    published_at_us: int
    before: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Registry:
    """The published versions of one server, or of several that share a folder."""

    root: Path

    @classmethod
    def open(cls, root: Path) -> "Registry":
        """Open a registry, making its folder if it is not there.

        Raises:
            RunError: If it cannot be made.
        """
        with disk_errors(root):
            (root / "versions").mkdir(parents=True, exist_ok=True)
        return cls(root)

    def folder(self, version: str) -> Path:
        """Return the folder of a version."""
        return self.root / "versions" / version

    def holds(self, version: str) -> bool:
        """Tell whether a version's folder is there."""
        return self.folder(version).is_dir()

    def add(self, version: str, fill: Callable[[Path], None]) -> None:
        """Let `fill` write the files of a version; the folder appears only when it is whole."""
        write_folder(self.folder(version), fill)

    def pointer(self) -> Pointer:
        """Return which version is served.

        Raises:
            UnavailableError: If nothing is published.
            RunError: If what is written down cannot be read.
        """
        path = self.root / _CURRENT
        try:
            written = json.loads(path.read_text(encoding="utf-8"))
            before = tuple((str(version), int(at_us)) for version, at_us in written["before"])
            return Pointer(
                version=str(written["version"]), published_at_us=int(written["published_at_us"]), before=before
            )
        except FileNotFoundError as error:
            raise UnavailableError(f"nothing is published in {self.root}; publish a finished run first") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path} is damaged ({error}); publish a finished run again") from error

    def point_to(self, version: str, *, at_us: int) -> Pointer:
        """Serve a version from now on; the one before stays for a rollback."""
        read_manifest(self.folder(version))
        before: tuple[tuple[str, int], ...] = ()
        with contextlib.suppress(UnavailableError):
            pointer = self.pointer()
            if pointer.version == version:
                return pointer
            before = ((pointer.version, pointer.published_at_us), *pointer.before)
        return self.write(Pointer(version=version, published_at_us=at_us, before=before[:_KEPT]))

    def one_back(self) -> Pointer:
        """Return what a rollback would point to: the version before the current one. Nothing is written.

        Raises:
            RunError: If there is none.
        """
        pointer = self.pointer()
        while pointer.before:
            (version, at_us), *rest = pointer.before
            pointer = Pointer(version=version, published_at_us=at_us, before=tuple(rest))
            if self.holds(version):
                return pointer
        raise RunError("there is no version before the one that is served; publish another run first")

    def manifests(self) -> list[VersionManifest]:
        """Return the manifests of all versions that can be read, the latest built first."""
        found = []
        for folder in (self.root / "versions").iterdir():
            if not folder.name.startswith("."):
                with contextlib.suppress(RunError):
                    found.append(read_manifest(folder))
        return sorted(found, key=lambda manifest: manifest.built_at_us, reverse=True)

    def remove_unreachable(self) -> list[str]:
        """Remove the versions that are neither served nor within reach of a rollback; return them."""
        pointer = self.pointer()
        reachable = {pointer.version, *(version for version, _ in pointer.before)}
        removed = [manifest.version for manifest in self.manifests() if manifest.version not in reachable]
        for version in removed:
            with disk_errors(self.root):
                shutil.rmtree(self.folder(version))
        return removed

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Keep every other process from publishing or rolling back meanwhile; what one that was killed left half built goes.

        Raises:
            RunError: If another process is at it.
        """
        with disk_errors(self.root):
            file = (self.root / ".lock").open("a")
        with file:
            try:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunError(
                    f"another publication is under way in {self.root}, by another process; wait for it and try again"
                ) from error
            for half_built in (self.root / "versions").glob(".*.tmp"):
                shutil.rmtree(half_built, ignore_errors=True)
            yield

    def write(self, pointer: Pointer) -> Pointer:
        """Serve what a pointer says, and return it."""
        write_json(
            self.root / _CURRENT,
            {
                "version": pointer.version,
                "published_at_us": pointer.published_at_us,
                "before": [list(pair) for pair in pointer.before],
            },
        )
        return pointer
