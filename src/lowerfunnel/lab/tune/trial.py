"""A trial of a search, and what is kept of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from lowerfunnel.lab.tune.space import Space

TUNE_VERSION = 1
State = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One choice of settings.

    Attributes:
        number: Counts from 0.
        values: The settings that are searched, by their full names.
        state: "stopped" is a trial that was given up, as it lay behind the others.
        value: Mean over the seeds of the best validation; of a stopped trial, the best so far. None if it failed.
        by_seed: The best validation of each seed, by the seed as a text.
        epochs: Epochs trained, over all seeds.
        trained_s: Seconds of training, over all seeds; None if it was not finished.
        error: Why it failed.
    """

    number: int
    values: Mapping[str, object]
    state: State
    value: float | None = None
    by_seed: Mapping[str, float] | None = None
    epochs: int | None = None
    trained_s: float | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TuneResult:
    """Everything that a search found.

    Attributes:
        recipe: Name of the recipe.
        data: "real" or "synthetic".
        lowerfunnel: Version of the program.
        metric: What was searched for, on the validation.
        space: The ranges.
        trials: In the order in which they were begun.
    """

    recipe: str
    data: Literal["real", "synthetic"]
    lowerfunnel: str
    metric: str
    space: Space
    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial | None:
        """The finished trial of the highest value; of equal ones the first. None if none is finished."""
        finished = [trial for trial in self.trials if trial.state == "finished" and trial.value is not None]
        return max(finished, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)

    def to_json(self) -> dict[str, Any]:
        """Return the content of `tune.json`."""
        return {"version": TUNE_VERSION, **asdict(self), "best": None if self.best is None else self.best.number}
