"""An index as a folder: its parameters in `index.json`, its data in one file whose SHA-256 the former holds.

The data are checked before they are parsed: reading a damaged FAISS file can corrupt memory. A hash beside a file finds
damage and mix-ups, not an attacker who can write both.

Shape letters: I items, D width of the vectors.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from lowerfunnel.errors import RunError
from lowerfunnel.index.ranking import Float32Array

DESCRIPTION_FILE = "index.json"
VERSION = 1
_EXACT_FILE = "vectors.safetensors"


def write_exact(folder: Path, vector_ID: Tensor) -> None:
    """Write the vectors of an exact index."""
    write_index(folder, _EXACT_FILE, safetensors.torch.save({"vectors": vector_ID}), {"kind": "exact"})


def vectors_of_exact(content: bytes, folder: Path) -> Float32Array:
    """Parse what `write_exact` wrote."""
    try:
        vector_ID: Float32Array = safetensors.torch.load(content)["vectors"].numpy()
    except (SafetensorError, KeyError) as error:
        raise RunError(f"{folder / _EXACT_FILE} does not hold item vectors ({error}): build the index again") from error
    return vector_ID


def write_index(folder: Path, data_file: str, content: bytes, description: dict[str, Any]) -> None:
    """Write an index's data, then its description, each to a temporary name that is then renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_atomically(folder / data_file, content)
    full = {"version": VERSION, "file": data_file, "sha256": hashlib.sha256(content).hexdigest(), **description}
    _write_atomically(folder / DESCRIPTION_FILE, (json.dumps(full, indent=2, sort_keys=True) + "\n").encode())


def read_index(folder: Path) -> tuple[dict[str, Any], bytes]:
    """Read an index's description and its data, checked.

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
        content = (folder / name).read_bytes()
    except OSError as error:
        raise RunError(f"{folder / name} cannot be read ({error}): build the index again") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise RunError(
            f"{folder / name} is damaged or belongs to another index (its SHA-256 begins with {found[:12]}, "
            f"{DESCRIPTION_FILE} says {str(sha256)[:12]}): build the index again"
        )
    return description, content


def _write_atomically(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the rename itself must outlive a power failure
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)
