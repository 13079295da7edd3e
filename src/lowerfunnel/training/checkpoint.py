"""Checkpoints: tensors as safetensors, everything else as JSON, visible only when whole.

A checkpoint is a folder that is written under a temporary name, flushed to disk and renamed. The newest whole one wins;
older ones are removed after that, so a kill at any moment leaves at least one to resume from.
"""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lowerfunnel.errors import RunError

_TENSORS = "tensors.safetensors"
_STATE = "state.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What training needs to go on as if it had never stopped."""

    tensors: dict[str, Tensor]
    state: dict[str, object]


def save_checkpoint(folder: Path, name: str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint as `folder`/`name` and remove the older ones in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    save_file({key: tensor.contiguous() for key, tensor in checkpoint.tensors.items()}, temporary / _TENSORS)
    digest = _sha256(temporary / _TENSORS)
    (temporary / _STATE).write_text(json.dumps({"tensors_sha256": digest, "state": checkpoint.state}))
    for path in (temporary / _TENSORS, temporary / _STATE, temporary):
        _flush(path)
    final = folder / name
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
    _flush(folder)
    for other in folder.iterdir():
        if other != final:
            shutil.rmtree(other, ignore_errors=True)


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the newest checkpoint of `folder`, or None if there is none.

    Raises:
        RunError: If the newest one is damaged.
    """
    names = sorted(path.name for path in folder.glob("[!.]*")) if folder.is_dir() else []
    if not names:
        return None
    newest = folder / names[-1]
    try:
        written = json.loads((newest / _STATE).read_text())
        if _sha256(newest / _TENSORS) != written["tensors_sha256"]:
            raise RunError(f"the checkpoint {newest} does not match its hash; remove it to train from the start")
        return Checkpoint(tensors=load_file(newest / _TENSORS), state=written["state"])
    except (OSError, KeyError, json.JSONDecodeError, SafetensorError) as error:
        raise RunError(
            f"the checkpoint {newest} cannot be read ({error}); remove it to train from the start"
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
