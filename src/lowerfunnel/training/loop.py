"""The loop: epochs of steps, validation, early stop, checkpoints.

A step is a pure function of the weights, the optimiser's state and (epoch, step): whoever implements `Trainable` derives
all randomness from those two numbers. So a checkpoint holds tensors and counters alone, and a resumed run equals an
uninterrupted one.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor

from lowerfunnel.errors import TrainingError
from lowerfunnel.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from lowerfunnel.training.settings import TrainingConfig


@runtime_checkable
class Trainable(Protocol):
    """A model with its data and its optimisers, as the loop sees it."""

    steps_per_epoch: int
    examples_per_step: int

    def step(self, epoch: int, step: int, learning_rate_factor: float) -> Tensor:
        """Update the weights once and return the batch's mean loss (a tensor, so that the loop decides when to wait)."""

    def validate(self) -> Mapping[str, float]:
        """Return the validation metrics of the weights as they are; empty if there is nothing to validate on."""

    def weights(self) -> dict[str, Tensor]:
        """Return the weights, live: what training changes, these show."""

    def optimiser_state(self) -> dict[str, Tensor]:
        """Return the optimisers' state, live."""

    def describe(self, epoch: int, step: int) -> str:
        """Say which examples a step trains on, by their source ids; empty if there is nothing to say."""

    def load(self, weights: Mapping[str, Tensor], optimiser_state: Mapping[str, Tensor]) -> None:
        """Take over weights and optimiser state."""


@runtime_checkable
class Progress(Protocol):
    """Shows how far training is."""

    def advance(self, *, step: int, steps: int, epoch: int, loss: float, examples_per_s: float) -> None:
        """Take note of the steps done so far."""

    def validated(self, row: Mapping[str, float]) -> None:
        """Take note of a validation."""


@dataclass(slots=True)
class Silent:
    """Shows nothing."""

    def advance(self, *, step: int, steps: int, epoch: int, loss: float, examples_per_s: float) -> None:
        """Do nothing."""

    def validated(self, row: Mapping[str, float]) -> None:
        """Do nothing."""


@dataclass(slots=True)
class _Position:
    """Where training stands: everything a checkpoint keeps beside tensors."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    loss_steps: int = 0
    best_value: float = -math.inf
    best_epoch: int = -1
    stale: int = 0
    trained_s: float = 0.0
    done: bool = False
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingResult:
    """How training went: one row of `history` per validation, and the epoch whose weights were kept."""

    history: list[dict[str, float]]
    best_epoch: int
    trained_s: float


_REPORT_EVERY_S = 0.5


def train(
    trainable: Trainable,
    config: TrainingConfig,
    *,
    checkpoints: Path,
    headline: str,
    progress: Progress | None = None,
) -> TrainingResult:
    """Train until the epochs are over or `headline`, a validation metric, has stopped to rise; keep the best weights.

    Without validation metrics, the weights after the last epoch are kept. Resumes from `checkpoints` where that folder
    holds a checkpoint.

    Raises:
        TrainingError: If a loss is not finite, or a weight when it is to be validated or kept.
    """
    progress = progress or Silent()
    position = _resume(trainable, checkpoints)
    best = _best_weights(checkpoints) if position.best_epoch >= 0 else _copied(trainable.weights())
    started_s = time.monotonic() - position.trained_s
    saved_s = reported_s = time.monotonic()
    steps = trainable.steps_per_epoch
    total_steps = config.epochs * steps

    def save() -> None:
        position.trained_s = time.monotonic() - started_s
        tensors = {f"weights.{name}": tensor for name, tensor in trainable.weights().items()}
        tensors |= {f"optimiser.{name}": tensor for name, tensor in trainable.optimiser_state().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in best.items()} if position.best_epoch >= 0 else {}
        name = f"{position.epoch:06d}-{position.step:09d}-{int(position.done)}"
        state = {key: getattr(position, key) for key in _Position.__slots__}
        state["best_value"] = None if math.isinf(position.best_value) else position.best_value
        save_checkpoint(checkpoints, name, Checkpoint(tensors, state))

    while not position.done:
        factor = 1.0
        if config.schedule == "linear":
            factor = 1.0 - (position.epoch * steps + position.step) / total_steps
        loss = float(trainable.step(position.epoch, position.step, factor))
        if not math.isfinite(loss):
            raise TrainingError(_not_finite(trainable, f"the loss is {loss}", position, checkpoints))
        # A finite loss may still leave weights behind that are not: a checkpoint of them would never be a good one.
        saves = position.step + 1 == steps or time.monotonic() - saved_s > config.checkpoint_every_s
        if saves and (broken := _broken(trainable.weights())):
            raise TrainingError(_not_finite(trainable, f"{broken} is no longer finite", position, checkpoints))
        position.loss_sum += loss
        position.loss_steps += 1
        position.step += 1
        now_s = time.monotonic()
        if now_s - reported_s > _REPORT_EVERY_S:
            reported_s = now_s
            done_steps = position.epoch * steps + position.step
            progress.advance(
                step=done_steps,
                steps=total_steps,
                epoch=position.epoch,
                loss=position.loss_sum / position.loss_steps,
                examples_per_s=done_steps * trainable.examples_per_step / (now_s - started_s),
            )
        if position.step < steps:
            if saves:
                save()
                saved_s = time.monotonic()
            continue
        position.epoch, position.step = position.epoch + 1, 0
        last = position.epoch == config.epochs
        if last or position.epoch % config.validate_every == 0:
            rate = position.epoch * steps * trainable.examples_per_step / (time.monotonic() - started_s)
            if _validated(trainable, position, headline, progress, examples_per_s=rate):
                best = _copied(trainable.weights())
            position.done = last or position.stale >= config.patience
            save()
            saved_s = time.monotonic()
    trainable.load(best, trainable.optimiser_state())
    return TrainingResult(history=position.history, best_epoch=position.best_epoch, trained_s=position.trained_s)


def _broken(weights: Mapping[str, Tensor]) -> str | None:
    """Return the name of a weight that holds NaN or infinity, None if there is none."""
    return next((name for name, tensor in weights.items() if not bool(tensor.isfinite().all())), None)


def _not_finite(trainable: Trainable, what: str, position: _Position, folder: Path) -> str:
    """Say where training broke, on what, and what is left of it."""
    checkpoint = load_checkpoint(folder)
    last = "there is no checkpoint yet"
    if checkpoint is not None:
        epoch, step = checkpoint.state["epoch"], checkpoint.state["step"]
        last = f"the last good checkpoint is that of {epoch} epochs and {step} steps in {folder}"
    return (
        f"{what} in epoch {position.epoch + 1}, step {position.step + 1}, on "
        f"{trainable.describe(position.epoch, position.step) or 'its batch'}; {last}; look at these rows, or lower "
        "training.learning_rate or training.table_learning_rate and run again"
    )


def _validated(
    trainable: Trainable, position: _Position, headline: str, progress: Progress, *, examples_per_s: float
) -> bool:
    """Validate, write the row down, and return whether the weights are the best so far."""
    metrics = trainable.validate()
    row = {
        "epoch": float(position.epoch),
        "step": float(position.epoch * trainable.steps_per_epoch),
        "loss": position.loss_sum / position.loss_steps,
        "examples_per_s": examples_per_s,
        **metrics,
    }
    position.history.append(row)
    position.loss_sum, position.loss_steps = 0.0, 0
    progress.validated(row)
    value = metrics.get(headline, math.inf)
    if value > position.best_value or not metrics:
        position.best_value, position.best_epoch, position.stale = value, position.epoch, 0
        return True
    position.stale += 1
    return False


def _resume(trainable: Trainable, folder: Path) -> _Position:
    checkpoint = load_checkpoint(folder)
    if checkpoint is None:
        return _Position()
    trainable.load(_part(checkpoint, "weights"), _part(checkpoint, "optimiser"))
    state = dict(checkpoint.state)
    if state["best_value"] is None:
        state["best_value"] = -math.inf if state["best_epoch"] == -1 else math.inf
    return _Position(**state)  # type: ignore[arg-type]


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}


def _best_weights(folder: Path) -> dict[str, Tensor]:
    checkpoint = load_checkpoint(folder)
    return _part(checkpoint, "best") if checkpoint is not None else {}


def _part(checkpoint: Checkpoint, part: str) -> dict[str, Tensor]:
    prefix = f"{part}."
    return {name.removeprefix(prefix): tensor for name, tensor in checkpoint.tensors.items() if name.startswith(prefix)}
