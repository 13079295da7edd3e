"""The two-tower model as the training loop sees it: one step, its optimisers, its state."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lowerfunnel.losses.softmax import sampled_softmax_loss, weighted_mean
from lowerfunnel.nn.embedding import RowwiseAdagrad
from lowerfunnel.retrieval.batches import BatchSource
from lowerfunnel.retrieval.settings import ObjectiveConfig
from lowerfunnel.retrieval.two_tower import TwoTower
from lowerfunnel.training.settings import TrainingConfig


class TwoTowerTraining:
    """Trains a `TwoTower` on the weighted sampled softmax; implements `lowerfunnel.training.loop.Trainable`."""

    def __init__(
        self,
        model: TwoTower,
        batches: BatchSource,
        objective: ObjectiveConfig,
        training: TrainingConfig,
        *,
        device: torch.device,
        validate: Callable[[], Mapping[str, float]],
    ) -> None:
        self._model = model.to(device)
        self._batches = batches
        self._objective = objective
        self._training = training
        self._device = device
        self._validate = validate
        self._dense = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        self._adam = torch.optim.Adam(self._dense.values(), lr=training.learning_rate)
        self._adagrad = RowwiseAdagrad(model.embedding_tables(), learning_rate=training.table_learning_rate)
        # Adam makes its state at its first step; it is made here, so that a checkpoint can be loaded before that.
        for parameter in self._dense.values():
            self._adam.state[parameter] = {
                "step": torch.zeros(()),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        self.steps_per_epoch = batches.steps_per_epoch
        self.examples_per_step = batches.batch_size

    def step(self, epoch: int, step: int, learning_rate_factor: float) -> Tensor:
        """Train on one batch and return its weighted mean loss, in nats."""
        self._model.train()
        self._adam.param_groups[0]["lr"] = self._training.learning_rate * learning_rate_factor
        self._adagrad.learning_rate = self._training.table_learning_rate * learning_rate_factor
        batch = self._batches.batch(epoch, step).to(self._device)
        x_UD = self._model.item_input(batch.items)
        loss_B = sampled_softmax_loss(
            self._model.user_tower(batch.users, x_UD),
            self._model.item_tower(
                x_UD.index_select(0, batch.candidate_C), batch.items.log_share_U.index_select(0, batch.candidate_C)
            ),
            batch.log_q_C,
            item_C=batch.item_C,
            user_B=batch.user_B,
            inverse_temperature=1.0 / self._objective.temperature,
            correct_positive=self._objective.correct_positive,
            spared=(batch.spared_item_S, batch.spared_offsets_B1) if self._objective.spared_actions else None,
        )
        loss = weighted_mean(loss_B, batch.weight_B)
        self._adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._adam.step()
        self._adagrad.step()
        return loss.detach()

    def validate(self) -> Mapping[str, float]:
        """Return what the given validation finds."""
        return self._validate()

    def weights(self) -> dict[str, Tensor]:
        """Return every parameter of the model, live."""
        return {name: parameter.detach() for name, parameter in self._model.named_parameters()}

    def optimiser_state(self) -> dict[str, Tensor]:
        """Return the state of Adam and of row-wise Adagrad, live."""
        state = {f"adagrad.{name}": tensor for name, tensor in self._adagrad.state_dict().items()}
        for name, parameter in self._dense.items():
            state |= {f"adam.{name}.{key}": value for key, value in self._adam.state[parameter].items()}
        return state

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor], optimiser_state: Mapping[str, Tensor]) -> None:
        """Copy weights and optimiser state into the model and its optimisers."""
        for live, stored in ((self.weights(), weights), (self.optimiser_state(), optimiser_state)):
            for name, tensor in live.items():
                tensor.copy_(stored[name])
