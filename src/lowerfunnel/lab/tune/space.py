"""A space to search: which settings of a recipe may take which values."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lowerfunnel.config import load_settings, merge_settings, read_toml
from lowerfunnel.errors import ConfigError
from lowerfunnel.pipeline.recipe import Recipe, read_recipe

Choice = bool | int | float | str | tuple[object, ...]
_SEARCHABLE = ("retrieval", "training", "labels.weights")
"""Parts of a recipe that a search can judge; the others change no training, or what training is measured on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """The values that one setting may take: from `low` to `high`, or one of `choices`."""

    setting: str
    """Full name of the setting, such as "retrieval.objective.temperature"."""
    low: int | float | None = None
    """Smallest value; with `high`, both whole numbers draw whole numbers."""
    high: int | float | None = None
    """Largest value."""
    log: bool = False
    """Whether values are drawn evenly on a logarithmic scale."""
    step: int | float | None = None
    """Distance between the values; any value between `low` and `high` if left out."""
    choices: tuple[Choice, ...] | None = None
    """All values that may be taken."""

    def __post_init__(self) -> None:
        ends = (self.low is not None) + (self.high is not None)
        if self.choices is not None:
            if ends or self.log or self.step is not None:
                raise ValueError(f"{self.setting} has choices, so it has no low, high, log or step")
            if len({json.dumps(choice) for choice in self.choices}) < max(2, len(self.choices)):
                raise ValueError(f"{self.setting} needs at least two different choices, got {list(self.choices)}")
            return
        if self.low is None or self.high is None:
            raise ValueError(f"{self.setting} needs low and high, or choices")
        if not self.low < self.high:
            raise ValueError(f"{self.setting} must have low below high, got {self.low} and {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError(f"{self.setting} with log needs low above 0 and no step")
        if self.step is not None and not self.step > 0:
            raise ValueError(f"{self.setting} must have a step above 0, got {self.step}")

    @property
    def is_whole(self) -> bool:
        """Whether whole numbers are drawn."""
        return all(isinstance(one, int) for one in (self.low, self.high, 1 if self.step is None else self.step))

    def ends(self) -> list[object]:
        """Return values that must all be usable: the ends of the range, or every choice."""
        return [self.low, self.high] if self.choices is None else list(self.choices)

    def holds(self, value: object) -> bool:
        """Tell whether a value lies in the range."""
        if self.choices is not None:
            return any(json.dumps(choice) == json.dumps(value) for choice in self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float) or self.low is None or self.high is None:
            return False
        if not self.low <= value <= self.high:
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return (not self.is_whole or isinstance(value, int)) and abs(steps - round(steps)) < 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """Everything that a file of ranges says."""

    seeds: tuple[int, ...] = (0,)
    """Seeds that every trial is trained with; its value is their mean."""
    search_seed: int = 0
    """Of the draws of settings."""
    settings: dict[str, object] = field(default_factory=dict)
    """Changed settings of the recipe, for all trials: tables as in a recipe, or "a.b" = c."""
    ranges: tuple[Range, ...]
    """What is searched."""

    def __post_init__(self) -> None:
        if not self.ranges:
            raise ValueError("ranges must hold at least one")
        names = [one.setting for one in self.ranges]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} has more than one range")
        useless = [name for name in names if _is_useless(name)]
        if useless:
            raise ValueError(
                f"{', '.join(useless)} cannot be searched: it has no say in training, or in what is measured"
            )
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must be different whole numbers from 0, got {list(self.seeds)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedSpace:
    """A space whose ranges all fit its recipe.

    Attributes:
        space: What its file says.
        settings: The recipe's settings as its file has them, with the space's own.
        recipe: The same, checked.
    """

    space: Space
    settings: Mapping[str, object]
    recipe: Recipe

    def changed(self, values: Mapping[str, object]) -> dict[str, object]:
        """Return the settings with other values of those that are searched."""
        return merge_settings(Recipe, self.settings, values)

    def recipe_of(self, values: Mapping[str, object], seed: int) -> Recipe:
        """Return the recipe of one trial.

        Raises:
            ConfigError: If the values cannot be used together.
        """
        return load_settings(Recipe, {**self.changed(values), "seed": seed}, source="the trial")


def _is_useless(name: str) -> bool:
    return not any(name.startswith(f"{part}.") for part in _SEARCHABLE)


def load_space(recipe: Path, path: Path | None) -> LoadedSpace:
    """Read a recipe and the ranges to search, and try the ends of every range.

    Args:
        recipe: The recipe.
        path: The file of ranges; None where the recipe's own table `tune` holds them.

    Raises:
        ConfigError: If a file cannot be read or a range does not fit; all bad ranges are named.
    """
    if not recipe.is_file():
        raise ConfigError(f"there is no recipe {recipe}; give the path of a TOML file, such as recipes/demo.toml")
    settings = read_recipe(recipe)
    own = read_toml(recipe).get("tune")
    if path is None and not isinstance(own, Mapping):
        raise ConfigError(f"{recipe.name} has no table [tune] with ranges; add one, or give a file with --space FILE")
    said = read_toml(path) if path is not None else own
    assert isinstance(said, Mapping)  # noqa: S101 - checked above
    source = path.name if path is not None else f"{recipe.name}, tune"
    space = load_settings(Space, said, source=source)
    merged = merge_settings(Recipe, settings, space.settings)
    base = load_settings(Recipe, merged, source=recipe.name)
    problems: dict[str, None] = {}
    for one in space.ranges:
        for value in one.ends():
            try:
                load_settings(
                    Recipe,
                    merge_settings(Recipe, merged, {one.setting: value}),
                    source=f"{source}, {one.setting} = {value}",
                )
            except ConfigError as error:
                problems[str(error)] = None
    if problems:
        raise ConfigError("\n".join(problems))
    return LoadedSpace(space=space, settings=merged, recipe=base)


def value_at(settings: Mapping[str, object], name: str) -> object:
    """Return the setting of a full name; None where it is not set."""
    level: object = settings
    for key in name.split("."):
        if isinstance(level, Sequence) and not isinstance(level, str) and key.isdecimal() and int(key) < len(level):
            level = level[int(key)]
        elif isinstance(level, Mapping):
            level = level.get(key)
        else:
            return None
    return level
