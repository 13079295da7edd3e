"""A recipe: the complete settings of one named run."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lowerfunnel.config import apply_overrides, load_settings, read_toml
from lowerfunnel.errors import ConfigError
from lowerfunnel.evaluation.settings import EvaluationConfig
from lowerfunnel.events.settings import LogConfig
from lowerfunnel.index.settings import IndexConfig
from lowerfunnel.labels.settings import LabelConfig
from lowerfunnel.retrieval.settings import RetrievalConfig
from lowerfunnel.training.settings import TrainingConfig
from lowerfunnel.world.settings import WorldConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Everything a run depends on, beside the data."""

    name: str
    """Names the run; a folder holds runs of one name."""
    description: str = ""
    """What the run is, for its report."""
    seed: int = 0
    """Where all randomness comes from."""
    log: LogConfig
    """Where the events are and what their columns mean."""
    world: WorldConfig | None = None
    """A synthetic log to generate first; `--data` is not given then."""
    labels: LabelConfig = field(default_factory=LabelConfig)
    """Positives and the split."""
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    """The two-tower model."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """The training loop."""
    index: IndexConfig = field(default_factory=IndexConfig)
    """The index over the items."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """What is measured, against which floors."""

    def __post_init__(self) -> None:
        if not self.name or not all(letter.isalnum() or letter in "-_" for letter in self.name):
            raise ValueError(f'name must be letters, digits, "-" and "_", got "{self.name}"')
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")


def read_recipe(path: Path) -> dict[str, object]:
    """Read the settings of a recipe's file, unchecked; its table `tune` is no setting but says what may be searched.

    Raises:
        ConfigError: If the file is missing, cannot be read or is not TOML.
    """
    return {name: value for name, value in read_toml(path).items() if name != "tune"}


def load_recipe(path: Path, overrides: Sequence[str] = (), *, seed: int | None = None) -> Recipe:
    """Read a recipe from a TOML file, with overrides such as "retrieval.tower.width=128".

    Raises:
        ConfigError: If the file cannot be read or a setting cannot be used; all bad settings are named at once.
    """
    if not path.is_file():
        raise ConfigError(f"there is no recipe {path}; give the path of a TOML file, such as recipes/demo.toml")
    settings = apply_overrides(read_recipe(path), list(overrides))
    if seed is not None:
        settings = {**settings, "seed": seed}
    return load_settings(Recipe, settings, source=path.name)
