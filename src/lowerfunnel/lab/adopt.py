"""Steps that one run takes over from another, so that a study imports and labels its log once, and trains no model twice.

The files become hard links, or copies where the file system has none. A run reads every file and compares it with the
hash in its record before it builds on it, so a damaged one is made again and not believed.
"""

import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from lowerfunnel.files import disk_errors, write_folder, write_json
from lowerfunnel.pipeline.fingerprints import OUTPUTS
from lowerfunnel.pipeline.run_folder import RunFolder


def adopt(folder: RunFolder, steps: dict[str, str], sources: Iterable[Path]) -> list[str]:
    """Give a run those of `steps` that it has not and another run has; returns which.

    A step after one that nobody has is not taken.

    Args:
        folder: The run's, which the caller has locked.
        steps: The fingerprint that each must have, in their order.
        sources: Folders of runs that may have them.
    """
    others = [RunFolder(path) for path in sources if path != folder.path]
    taken = []
    for step, fingerprint in steps.items():
        own = folder.record(step)
        if own is not None and own.fingerprint == fingerprint:
            continue
        if not any(_take(folder, step, fingerprint, other) for other in others):
            break
        taken.append(step)
    return taken


def _take(folder: RunFolder, step: str, fingerprint: str, other: RunFolder) -> bool:
    record = other.record(step)
    if record is None or record.fingerprint != fingerprint:
        return False
    folder.forget([step])
    for output in OUTPUTS[step]:
        if output in record.files:
            temporary = folder.path / f".{output}.tmp"
            try:
                with disk_errors(folder.path):
                    temporary.unlink(missing_ok=True)
                    _link(other.path / output, temporary)
                    temporary.replace(folder.path / output)
            except FileNotFoundError:
                return False
            continue

        def fill(target: Path, output: str = output) -> None:
            for name in record.files:
                if name.startswith(f"{output}/"):
                    to = target / name.removeprefix(f"{output}/")
                    to.parent.mkdir(parents=True, exist_ok=True)
                    _link(other.path / name, to)

        try:
            write_folder(folder.path / output, fill)
        except FileNotFoundError:
            # The other run is making the step anew at this moment.
            return False
    with disk_errors(folder.path):
        (folder.path / "steps").mkdir(exist_ok=True)
    write_json(folder.path / "steps" / f"{step}.json", asdict(record))
    return True


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)
