"""Settings of the training loop and of its optimisers."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """How long and how fast a model is trained."""

    epochs: int = 20
    """Passes over the examples at most."""
    validate_every: int = 1
    """Epochs between two validations."""
    patience: int = 3
    """Validations without a better one before training stops early; the best weights are kept."""
    learning_rate: float = 0.001
    """Of the dense parameters, by Adam."""
    table_learning_rate: float = 0.1
    """Of the embedding tables, by row-wise Adagrad."""
    schedule: Literal["constant", "linear"] = "constant"
    """Whether both learning rates stay, or fall linearly to zero over `epochs`."""
    checkpoint_every_s: float = 60.0
    """Seconds between two checkpoints within an epoch; every validation writes one too."""
    threads: int | None = None
    """CPU threads; all cores if left out. Another number may change the last bits of a result."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; "auto" takes CUDA where it is present."""

    def __post_init__(self) -> None:
        for name in ("epochs", "validate_every", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "table_learning_rate", "checkpoint_every_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads must be at least 1, got {self.threads}")
