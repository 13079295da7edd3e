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

    def describe(self, epoch: int, step: int) -> str:
        return f"rows {8 * step} to {8 * step + 7}"

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


class Exploding(Regression):
    """Breaks its weights in one step, before or after the loss is computed."""

    def __init__(self, *, at: tuple[int, int], value: float = float("nan"), before_the_loss: bool = True) -> None:
        super().__init__()
        self._at, self._value, self._before_the_loss = at, value, before_the_loss

    def step(self, epoch: int, step: int, learning_rate_factor: float) -> Tensor:
        if (epoch, step) == self._at and self._before_the_loss:
            self.weight.fill_(self._value)
        loss = super().step(epoch, step, learning_rate_factor)
        if (epoch, step) == self._at:
            self.weight[0] = self._value
        return loss

    def validate(self) -> Mapping[str, float]:
        assert bool(self.weight.isfinite().all()), "nothing is validated that is broken"
        return super().validate()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_says_where_on_what_and_what_to_do(tmp_path: Path, value: float) -> None:
    sentence = (
        rf"the loss is {value} in epoch 1, step 3, on rows 16 to 23; there is no checkpoint yet; look at these rows, or "
        r"lower training\.learning_rate or training\.table_learning_rate and run again"
    )
    config = TrainingConfig(epochs=6)
    with pytest.raises(TrainingError, match=sentence):
        train(Exploding(at=(0, 2), value=value), config, checkpoints=tmp_path, headline="recall")


@pytest.mark.parametrize("before_the_loss", [True, False])
def test_training_that_breaks_names_its_last_good_checkpoint_and_can_go_on_from_it(
    tmp_path: Path, *, before_the_loss: bool
) -> None:
    broken = Exploding(at=(2, 1), before_the_loss=before_the_loss)
    what = "the loss is nan" if before_the_loss else "weight is no longer finite"
    sentence = (
        f"{what} in epoch 3, step 2, on rows 8 to 15; the last good checkpoint is that of 2 epochs and 1 steps in "
    )
    with pytest.raises(TrainingError, match=sentence) as raised:
        train(broken, CONFIG, checkpoints=tmp_path / "cut", headline="recall")
    assert str(tmp_path / "cut") in str(raised.value)
    whole, resumed = Regression(), Regression()
    train(whole, CONFIG, checkpoints=tmp_path / "whole", headline="recall")
    train(resumed, CONFIG, checkpoints=tmp_path / "cut", headline="recall")
    assert torch.equal(resumed.weight, whole.weight)


def test_weights_broken_by_the_last_step_of_an_epoch_are_neither_validated_nor_kept(tmp_path: Path) -> None:
    config = TrainingConfig(epochs=6, patience=10)
    sentence = "weight is no longer finite in epoch 2, step 4, .* is that of 1 epochs and 0 steps"
    with pytest.raises(TrainingError, match=sentence):
        train(Exploding(at=(1, 3), before_the_loss=False), config, checkpoints=tmp_path, headline="recall")


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
