"""Whether the input of an import is still the same: a hash over the settings and over every file's content."""

import hashlib
import json
from pathlib import Path

from lowerfunnel.config import settings_fingerprint
from lowerfunnel.events.build import resolve_log
from lowerfunnel.events.inputs import find_files
from lowerfunnel.events.settings import LogConfig
from lowerfunnel.events.store import STORE_VERSION
from lowerfunnel.files import sha256_of_file


def fingerprint(config: LogConfig, data_dir: Path) -> str:
    """Return 64 hexadecimal digits that change with the settings and with any file's name or content.

    Times and places of files do not count: a copied data folder has the same fingerprint.

    Raises:
        DataError: If a file is missing.
    """
    data_dir = data_dir.resolve()
    config = resolve_log(config, data_dir)
    # One file may serve several sources; it is read once.
    files: set[Path] = set()
    for table, sources in (
        ("events", config.events), ("test", config.test), ("items", config.items), ("users", config.users),
    ):  # fmt: skip
        for number, source in enumerate(sources):
            for pattern in (source.patterns, *((each,) for each in source.tables.values())):
                files |= set(find_files(pattern, data_dir, where=f"{table}.{number}"))
    content = [
        [path.relative_to(data_dir).as_posix(), path.stat().st_size, sha256_of_file(path)] for path in sorted(files)
    ]
    text = json.dumps([STORE_VERSION, settings_fingerprint(config), content])
    return hashlib.sha256(text.encode()).hexdigest()
