"""The loop on a model small enough to see through: a linear regression."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lowerfunnel.errors import RunError, TrainingError
from lowerfunnel.training.loop import train
from lowerfunnel.training.settings import TrainingConfig


class KilledError(Exception):
    """Stands for a process that ends between two steps."""


class Regression:
    """Momentum descent on a quadratic; step noise depends on (epoch, step) alone."""

    steps_per_epoch = 4
    examples_per_step = 8

    def __init__(self, *, die_at: tuple[int, int] | None = None, metric: list[float] | None = None) -> None:
        self.weight = torch.zeros(3)
        self.momentum = torch.zeros(3)
        self._die_at = die_at
        self._metric = metric
        self.factors: list[float] = []

    def step(self, epoch: int, step: int, learning_rate_factor: float) -> Tensor:
        if (epoch, step) == self._die_at:
            raise KilledError
        self.factors.append(learning_rate_factor)
        noise = torch.randn(3, generator=torch.Generator().manual_seed(1000 * epoch + step))
        gradient = self.weight - torch.tensor([1.0, 2.0, 3.0]) + 0.1 * noise
        self.momentum.mul_(0.9).add_(gradient)
        self.weight.sub_(0.05 * learning_rate_factor * self.momentum)
        return gradient.square().mean()

    def validate(self) -> Mapping[str, float]:
        if self._metric is not None:
            return {"recall": self._metric.pop(0)} if self._metric else {}
        return {"recall": -float((self.weight - torch.tensor([1.0, 2.0, 3.0])).norm())}

    def weights(self) -> dict[str, Tensor]:
        return {"weight": self.weight}

    def optimiser_state(self) -> dict[str, Tensor]:
        return {"momentum": self.momentum}

    def load(self, weights: Mapping[str, Tensor], optimiser_state: Mapping[str, Tensor]) -> None:
        self.weight.copy_(weights["weight"])
        self.momentum.copy_(optimiser_state["momentum"])


CONFIG = TrainingConfig(epochs=6, checkpoint_every_s=1e-9, patience=10)


@pytest.mark.parametrize("die_at", [(0, 1), (0, 3), (1, 0), (2, 2), (5, 3)])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, die_at: tuple[int, int]) -> None:
    whole = Regression()
    expected = train(whole, CONFIG, checkpoints=tmp_path / "whole", headline="recall")
    with pytest.raises(KilledError):
        train(Regression(die_at=die_at), CONFIG, checkpoints=tmp_path / "cut", headline="recall")
    resumed = Regression()
    result = train(resumed, CONFIG, checkpoints=tmp_path / "cut", headline="recall")
    assert torch.equal(resumed.weight, whole.weight)
    assert result.best_epoch == expected.best_epoch
    keys = ("epoch", "step", "loss", "recall")
    assert [[row[key] for key in keys] for row in result.history] == [
        [row[key] for key in keys] for row in expected.history
    ]


def test_a_finished_run_trains_no_further(tmp_path: Path) -> None:
    first = Regression()
    train(first, CONFIG, checkpoints=tmp_path, headline="recall")
    again = Regression(die_at=(0, 0))
    train(again, CONFIG, checkpoints=tmp_path, headline="recall")
    assert torch.equal(again.weight, first.weight)


def test_training_stops_early_and_keeps_the_best_weights(tmp_path: Path) -> None:
    config = TrainingConfig(epochs=9, patience=2)
    model = Regression(metric=[0.1, 0.5, 0.4, 0.3, 0.9])
    result = train(model, config, checkpoints=tmp_path, headline="recall")
    assert (len(result.history), result.best_epoch) == (4, 2)
    two_epochs = Regression()
    train(two_epochs, TrainingConfig(epochs=2), checkpoints=tmp_path / "two", headline="recall")
    assert torch.equal(model.weight, two_epochs.weight)


def test_without_validation_the_last_weights_are_kept(tmp_path: Path) -> None:
    model = Regression(metric=[])
    result = train(model, TrainingConfig(epochs=3, patience=1), checkpoints=tmp_path, headline="recall")
    assert result.best_epoch == 3


def test_a_linear_schedule_falls_to_zero(tmp_path: Path) -> None:
    model = Regression()
    train(model, TrainingConfig(epochs=2, schedule="linear"), checkpoints=tmp_path, headline="recall")
    assert model.factors == pytest.approx([1 - i / 8 for i in range(8)])


def test_a_loss_that_is_not_finite_says_what_to_do(tmp_path: Path) -> None:
    model = Regression()
    model.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"the loss is nan in epoch 1, step 1; lower training\.learning_rate"):
        train(model, CONFIG, checkpoints=tmp_path, headline="recall")


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    train(Regression(), CONFIG, checkpoints=tmp_path, headline="recall")
    (tensors,) = tmp_path.glob("*/tensors.safetensors")
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"\x00")
    with pytest.raises(RunError, match="does not match its hash"):
        train(Regression(), CONFIG, checkpoints=tmp_path, headline="recall")


def test_what_a_kill_leaves_half_written_is_not_read(tmp_path: Path) -> None:
    half = tmp_path / ".000001-000000000-0.tmp"
    half.mkdir()
    (half / "tensors.safetensors").write_bytes(b"half")
    result = train(Regression(), CONFIG, checkpoints=tmp_path, headline="recall")
    assert len(result.history) == 6
