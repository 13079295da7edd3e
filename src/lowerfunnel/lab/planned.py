"""The runs of a study: where each lies, what its steps are made from, and whether it is finished."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lowerfunnel.config import settings_to_dict
from lowerfunnel.files import sha256_of_file
from lowerfunnel.lab.study import LoadedStudy
from lowerfunnel.pipeline.fingerprints import STEPS, fingerprints, import_fingerprint, log_fingerprint
from lowerfunnel.pipeline.recipe import Recipe
from lowerfunnel.pipeline.run_folder import RunFolder

SHARED_STEPS = ("import", "label", "train", "index", "evaluate")
"""Steps that runs take over from each other where they are made from the same."""
_FILES_CHECKED = ("model/training.json", "evaluation/ranks.parquet", "metrics.json")
"""What a study reads of a finished run. The other files are large, and whoever uses a run checks them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedRun:
    """One run of a study.

    Attributes:
        variant: Name of the variant.
        seed: Seed of the run.
        recipe: Its settings.
        path: Its folder.
        log: Fingerprint of its log.
        fingerprints: What each of its steps is made from.
    """

    variant: str
    seed: int
    recipe: Recipe
    path: Path
    log: str
    fingerprints: dict[str, str]

    @property
    def name(self) -> str:
        """How the run is called on the terminal."""
        return f"{self.variant}, seed {self.seed}"

    def holds(self, step: str) -> bool:
        """Tell whether the run's folder has this step, made from what the plan says; its files are not read."""
        record = RunFolder(self.path).record(step)
        return record is not None and record.fingerprint == self.fingerprints[step]

    def is_finished(self, steps: Sequence[str] = STEPS) -> bool:
        """Tell whether these steps are done, with the files that a study reads as they were written."""
        records = [RunFolder(self.path).record(step) for step in steps]
        for step, record in zip(steps, records, strict=True):
            if record is None or record.fingerprint != self.fingerprints[step]:
                return False
            for name in record.files:
                file = self.path / name
                if name in _FILES_CHECKED and (not file.is_file() or sha256_of_file(file) != record.files[name]):
                    return False
        return True


def plan(loaded: LoadedStudy, out: Path, data: Path | None) -> list[PlannedRun]:
    """Return the runs of a study, all variants of the first seed first; logs of equal settings are read once.

    Raises:
        DataError: If a file of the log is missing or cannot be read.
    """
    logs: dict[str, str] = {}
    runs = []
    for seed in loaded.study.seeds:
        for variant in loaded.study.variants:
            recipe = loaded.recipe(variant.name, seed)
            settings = settings_to_dict(recipe)
            key = json.dumps([settings["log"], settings["world"]], sort_keys=True)
            if key not in logs:
                logs[key] = log_fingerprint(recipe, data)
            runs.append(
                PlannedRun(
                    variant=variant.name,
                    seed=seed,
                    recipe=recipe,
                    path=out / "runs" / variant.name / f"seed-{seed}",
                    log=logs[key],
                    fingerprints=fingerprints(recipe, import_fingerprint(logs[key])),
                )
            )
    return runs
