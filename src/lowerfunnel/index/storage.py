"""An index as a folder: its parameters in `index.json`, its data in one file whose SHA-256 the former holds.

The data are checked before they are parsed: reading a damaged FAISS file can corrupt memory. A hash beside a file finds
damage and mix-ups, not an attacker who can write both. What was checked is what is read, for both go through one open
file; and neither holds a second copy of it in memory.

Shape letters: I items, D width of the vectors.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from torch import Tensor

from lowerfunnel.errors import RunError
from lowerfunnel.index.ranking import Float32Array

DESCRIPTION_FILE = "index.json"
VERSION = 1
_EXACT_FILE = "vectors.safetensors"
_LONGEST_HEADER = 1 << 20


def write_exact(folder: Path, vector_ID: Tensor) -> None:
    """Write the vectors of an exact index."""

    def write(path: Path) -> None:
        safetensors.torch.save_file({"vectors": vector_ID.contiguous()}, path)

    write_index(folder, _EXACT_FILE, write, {"kind": "exact"})


def vectors_of_exact(file: BufferedReader, folder: Path) -> Float32Array:
    """Read what `write_exact` wrote, straight into its place."""
    try:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(min(size, _LONGEST_HEADER)))["vectors"]
        (items, width), (start, stop) = header["shape"], header["data_offsets"]
        if header["dtype"] != "F32" or min(items, width) < 0 or stop - start != items * width * 4:
            raise ValueError(f"{header} does not describe a float32 matrix")
        file.seek(8 + size + start)
        vector_ID: Float32Array = np.empty((items, width), np.float32)
        if file.readinto(vector_ID.reshape(-1).view(np.uint8).data) != vector_ID.nbytes:
            raise ValueError("the file ends too early")
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder / _EXACT_FILE} does not hold item vectors ({error}): build the index again") from error
    return vector_ID


def write_index(folder: Path, data_file: str, write: Callable[[Path], None], description: dict[str, Any]) -> None:
    """Write an index's data, then its description, each to a temporary name that is then renamed.

    Args:
        folder: Made if it is not there.
        data_file: Name of the file of data.
        write: Writes the data to a path.
        description: What is kept beside the file's name and hash.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digest = _write_atomically(folder / data_file, write)
    full = {"version": VERSION, "file": data_file, "sha256": digest, **description}
    text = json.dumps(full, indent=2, sort_keys=True) + "\n"
    _write_atomically(folder / DESCRIPTION_FILE, lambda path: path.write_bytes(text.encode()))


@contextmanager
def open_index(folder: Path) -> Iterator[tuple[dict[str, Any], BufferedReader]]:
    """Give an index's description and its file of data, open at its start and checked.

    Raises:
        RunError: If the folder holds no index, one of another version, or a damaged one.
    """
    path = folder / DESCRIPTION_FILE
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        version, name, sha256 = description["version"], description["file"], description["sha256"]
    except FileNotFoundError as error:
        raise RunError(f"{folder} holds no index ({DESCRIPTION_FILE} is missing): build it first") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} cannot be read ({error}): build the index again") from error
    if version != VERSION:
        raise RunError(f"{path} is of version {version!r}, this program reads {VERSION}: build the index again")
    if not isinstance(name, str) or Path(name).name != name:
        raise RunError(f"{path} names {name!r} as its data, which is not a file of its folder: build the index again")
    try:
        file = (folder / name).open("rb")
    except OSError as error:
        raise RunError(f"{folder / name} cannot be read ({error}): build the index again") from error
    with file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            raise RunError(
                f"{folder / name} is damaged or belongs to another index (its SHA-256 begins with {found[:12]}, "
                f"{DESCRIPTION_FILE} says {str(sha256)[:12]}): build the index again"
            )
        file.seek(0)
        yield description, file


def _write_atomically(path: Path, write: Callable[[Path], object]) -> str:
    """Write a file under a temporary name, make it durable, rename it; return its SHA-256."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the rename itself must outlive a power failure
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)
    return digest
