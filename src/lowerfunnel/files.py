"""Files that are whole or not there: written under a temporary name, flushed to disk, renamed.

Every artefact of a run goes through here. A disk that is full or a folder that may not be written is one clear error.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from safetensors import SafetensorError

from lowerfunnel.errors import RunError

_OS_ERROR = re.compile(r"\(os error (\d+)\)")


def write_text(path: Path, text: str) -> None:
    """Replace the file at `path` by `text`, all at once."""
    temporary = path.with_name(f".{path.name}.tmp")
    with disk_errors(path):
        temporary.write_text(text, encoding="utf-8")
        flush(temporary)
        temporary.replace(path)
        flush(path.parent)


def write_json(path: Path, value: object) -> None:
    """Replace the file at `path` by `value` as indented JSON; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Replace the folder at `path` by one that `fill` fills, visible only when it is whole."""
    temporary = path.with_name(f".{path.name}.tmp")
    with disk_errors(path):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        fill(temporary)
        # Some libraries make files that only their owner may read; whoever may look into the folder may read them.
        readable = temporary.stat().st_mode & 0o666
        for child in sorted(temporary.rglob("*")):
            if child.is_file():
                child.chmod(readable)
            flush(child)
        flush(temporary)
        if path.exists():
            # A folder cannot be replaced by a rename; until the next line nothing is there, which reads as "not done".
            shutil.rmtree(path)
        temporary.rename(path)
        flush(path.parent)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or a forbidden folder, met while something is written to `path`, into a `RunError` that names it."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = _errno(error)
        if number in (errno.ENOSPC, errno.EDQUOT):
            raise RunError(
                f"no space left on the disk of {path}; free some and run again, finished steps are kept"
            ) from error
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise RunError(
                f"{path} cannot be written ({os.strerror(number)}); choose a folder that you may write to"
            ) from error
        if number in (errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EIO):
            raise RunError(f"{path} cannot be written ({os.strerror(number)}); choose another place") from error
        raise


def _errno(error: OSError | SafetensorError) -> int | None:
    """Return the number of a system error, which Safetensors puts into its message."""
    if isinstance(error, OSError):
        return error.errno
    found = _OS_ERROR.search(str(error))
    return None if found is None else int(found[1])


def flush(path: Path) -> None:
    """Flush a file or a folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_folder(path: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, by its path in it."""
    return {
        child.relative_to(path).as_posix(): sha256_of_file(child)
        for child in sorted(path.rglob("*"))
        if child.is_file()
    }
