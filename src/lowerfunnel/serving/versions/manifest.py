"""What a published version says of itself: its files with their hashes, and what they were made from.

    VERSION/ manifest.json  items.parquet  lists.safetensors
             generators/NAME/ model/  index/  query_tower.onnx  item_inputs.safetensors  golden.json

A hash finds damage and mix-ups. Against somebody who can write the files and the manifest alike, the manifest carries a
signature where a key is configured.
"""

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lowerfunnel.config import load_settings, settings_to_dict
from lowerfunnel.errors import ConfigError, RunError
from lowerfunnel.events.schema import IdType
from lowerfunnel.events.timeline import Order
from lowerfunnel.files import sha256_of_file, write_json
from lowerfunnel.pipeline.run_folder import chain

FILE = "manifest.json"
CATALOGUE_FILE = "items.parquet"
LISTS_FILE = "lists.safetensors"
TOWER_FILE = "query_tower.onnx"
ITEM_INPUTS_FILE = "item_inputs.safetensors"
GOLDEN_FILE = "golden.json"
FORMAT = 1
"""Raised when the layout of a version changes; a server refuses versions of another format."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorManifest:
    """One generator of a version: a trained model."""

    recipe: str
    """Name of the recipe of its run."""
    model_version: str
    """The version of its model, as the run's own manifest has it."""
    head: str
    """The head whose vectors are served."""
    feature_schema: str
    """SHA-256 of all that features and tower have to agree in."""
    conversions: tuple[str, ...]
    """Actions that count as having bought."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionManifest:
    """A version."""

    format: int
    version: str
    built_at_us: int
    lowerfunnel: str
    """The version of the program that built it."""
    order: Order
    """What orders events: "time", "sequence" or "none"."""
    end_of_log_us: int
    """Right after the last event of the log that it was built from."""
    items: int
    item_id_type: IdType
    user_id_type: IdType
    synthetic: bool
    generators: dict[str, GeneratorManifest]
    files: dict[str, str]
    """SHA-256 of every file by its path in the folder, the manifest itself excepted."""
    signature: str | None = None
    """HMAC-SHA256 of the rest, where it was built with a key."""

    def signed(self, key: bytes) -> "VersionManifest":
        """Return the same with its signature."""
        return replace(self, signature=_signature(self, key))

    def write(self, folder: Path) -> None:
        """Write the manifest, the last file of a version."""
        write_json(folder / FILE, settings_to_dict(self))


def version_id(parts: Sequence[object]) -> str:
    """Return the id of what is built from `parts`: 16 hexadecimal digits."""
    return chain(*parts)[:16]


def read_manifest(folder: Path) -> VersionManifest:
    """Read a manifest, unverified.

    Raises:
        RunError: If there is none, or it cannot be read, or is of another format.
    """
    path = folder / FILE
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(written, dict):
            raise ValueError("it is no table")
        if written.get("format") != FORMAT:
            raise RunError(
                f"{path} is of format {written.get('format')!r}, this program reads {FORMAT}; publish the run again"
            )
        return load_settings(VersionManifest, written, source=str(path))
    except (OSError, ValueError, ConfigError) as error:
        raise RunError(f"{path} is no manifest of a version ({error}); publish the run again") from error


def verify_files(folder: Path, manifest: VersionManifest, *, key: bytes | None) -> None:
    """Make sure that a version's files are those that were published, before anything is parsed.

    Raises:
        RunError: If a file is missing, changed or not named, or the signature does not fit.
    """
    if folder.name != manifest.version:
        raise RunError(
            f"{folder} holds the manifest of version {manifest.version}; a version stays in the folder of its name"
        )
    if key is not None and not hmac.compare_digest(manifest.signature or "", _signature(manifest, key)):
        raise RunError(
            f"the manifest of version {manifest.version} is not signed with the configured key; publish the run again"
        )
    present = {child.relative_to(folder).as_posix() for child in folder.rglob("*") if not child.is_dir()} - {FILE}
    for name, digest in manifest.files.items():
        # A link could be changed to lead elsewhere after it was hashed, and names must not lead out of the folder.
        if name not in present or (folder / name).is_symlink():
            raise RunError(f"version {manifest.version} lacks its file {name}; publish the run again")
        if sha256_of_file(folder / name) != digest:
            raise RunError(
                f"{folder / name} is not what was published as version {manifest.version}: it was damaged, changed or taken "
                "from another version; publish the run again"
            )
    if unknown := sorted(present - manifest.files.keys()):
        raise RunError(
            f"version {manifest.version} holds {unknown[0]}, which was not published with it; remove that file"
        )


def _signature(manifest: VersionManifest, key: bytes) -> str:
    unsigned = {**asdict(manifest), "signature": None}
    text = json.dumps(unsigned, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
