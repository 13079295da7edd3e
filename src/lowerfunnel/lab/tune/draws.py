"""The one place where the search meets Optuna: which settings to try, which trials to give up, what is remembered.

Everything is remembered in a journal of Optuna's, one line of JSON for each thing that happens.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowerfunnel.errors import RunError, require
from lowerfunnel.lab.tune.space import Range, Space, value_at
from lowerfunnel.lab.tune.trial import State, Trial

_MADE_FROM = "made_from"
_STARTUP_TRIALS = 8
"""Trials drawn without looking at the others, and before any is given up."""


class Draws:
    """The trials of one search, remembered in a file in a folder that the caller has locked."""

    def __init__(self, path: Path, space: Space, *, made_from: str) -> None:
        """Open the search of a file, or begin it.

        Args:
            path: The file in which it is remembered.
            space: What is searched.
            made_from: Fingerprint of everything else that a trial's value depends on.

        Raises:
            MissingPackageError: If Optuna is not installed.
            RunError: If the folder holds another search.
        """
        self._optuna: Any = require("optuna", extra="tune")
        journal: Any = require("optuna.storages.journal", extra="tune")
        self._space = space
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        # Whoever held Optuna's own lock is gone, or the folder would not be ours.
        path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
        self._study: Any = self._optuna.create_study(
            storage=self._optuna.storages.JournalStorage(journal.JournalFileBackend(str(path))),
            study_name="tune",
            direction="maximize",
            load_if_exists=True,
            pruner=self._optuna.pruners.MedianPruner(n_startup_trials=_STARTUP_TRIALS, n_warmup_steps=1),
        )
        # As many draws on: a search that goes on would else repeat the first of them.
        self._study.sampler = self._optuna.samplers.TPESampler(
            n_startup_trials=_STARTUP_TRIALS, seed=space.search_seed + 1000 * len(self._study.trials)
        )
        held = self._study.user_attrs.get(_MADE_FROM)
        if held is None:
            self._study.set_user_attr(_MADE_FROM, made_from)
        elif held != made_from:
            raise RunError(
                f"{path.parent} holds a search over other ranges, of another recipe or on another log; choose another --out"
            )
        self._running: dict[int, Any] = {}

    def begin(self, settings: Mapping[str, object]) -> None:
        """Queue what comes first: trials that were cut off, and in a new search the recipe as it is.

        Args:
            settings: The recipe's.
        """
        states = self._optuna.trial.TrialState
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state != states.RUNNING:
                continue
            kept = trial.user_attrs.get("kept")
            if kept is not None:  # cut off between its last two lines
                self._end(trial.number, kept["state"], kept["value"])
                continue
            self._study.tell(trial.number, state=states.FAIL)
            self._study.enqueue_trial(trial.params, user_attrs={"folder": _folder_of(trial)})
        if not self._study.trials:
            now = {one.setting: value_at(settings, one.setting) for one in self._space.ranges}
            if all(one.holds(now[one.setting]) for one in self._space.ranges):
                self._study.enqueue_trial({one.setting: _stored(one, now[one.setting]) for one in self._space.ranges})

    @property
    def told(self) -> int:
        """How many trials are over; those that were cut off do not count."""
        return len(self.trials())

    def ask(self) -> tuple[int, str, dict[str, object]]:
        """Draw the next trial: its number, the name of its folder, its settings by their full names."""
        trial = self._study.ask()
        self._running[trial.number] = trial
        values = {one.setting: self._draw(trial, one) for one in self._space.ranges}
        folder = _folder_of(trial)
        trial.set_user_attr("folder", folder)
        return trial.number, folder, values

    def _draw(self, trial: Any, one: Range) -> object:
        if one.choices is not None:
            return json.loads(trial.suggest_categorical(one.setting, [json.dumps(choice) for choice in one.choices]))
        if one.is_whole:
            return trial.suggest_int(one.setting, one.low, one.high, step=one.step or 1, log=one.log)
        return trial.suggest_float(one.setting, one.low, one.high, step=one.step, log=one.log)

    def report(self, number: int, value: float, *, epoch: int) -> bool:
        """Take note of a validation; returns whether the trial should be given up."""
        trial = self._running[number]
        trial.report(value, epoch)
        return bool(trial.should_prune())

    def tell(self, trial: Trial) -> None:
        """Remember how a trial ended."""
        running = self._running.pop(trial.number)
        kept = {
            "state": trial.state,
            "value": trial.value,
            "by_seed": dict(trial.by_seed or {}),
            "epochs": trial.epochs,
        }
        running.set_user_attr("kept", {**kept, "trained_s": trial.trained_s, "error": trial.error})
        self._end(trial.number, trial.state, trial.value)

    def _end(self, number: int, state: State, value: float | None) -> None:
        states = self._optuna.trial.TrialState
        state_of = {"finished": states.COMPLETE, "stopped": states.PRUNED, "failed": states.FAIL}
        self._study.tell(number, value if state == "finished" else None, state=state_of[state])

    def trials(self) -> list[Trial]:
        """Return the trials that are over, in the order in which they were begun."""
        found = []
        for trial in self._study.get_trials(deepcopy=False):
            kept = trial.user_attrs.get("kept")
            if kept is None or trial.state in (
                self._optuna.trial.TrialState.RUNNING,
                self._optuna.trial.TrialState.WAITING,
            ):
                continue
            state: State = kept["state"]
            found.append(
                Trial(
                    number=trial.number,
                    values={one.setting: _read(one, trial.params[one.setting]) for one in self._space.ranges},
                    state=state,
                    value=kept["value"],
                    by_seed=kept["by_seed"],
                    epochs=kept["epochs"],
                    trained_s=kept["trained_s"],
                    error=kept["error"],
                )
            )
        return found


def _folder_of(trial: Any) -> str:
    """Return the folder of a trial: that of the one that was cut off and is done again, if it is one."""
    return str(trial.user_attrs.get("folder", f"trial-{trial.number:04d}"))


def _stored(one: Range, value: object) -> object:
    return value if one.choices is None else json.dumps(value)


def _read(one: Range, stored: Any) -> object:
    return stored if one.choices is None else json.loads(stored)
