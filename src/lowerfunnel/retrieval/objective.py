"""The two-tower model as the training loop sees it: one step, its optimisers, its state.

Shape letters: B examples of a batch, R their requests, C candidates, D width, G groups.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from lowerfunnel.losses.grouped import group_means, grouped_softmax_loss
from lowerfunnel.losses.softmax import sampled_softmax_loss, weighted_mean
from lowerfunnel.nn.embedding import RowwiseAdagrad
from lowerfunnel.retrieval.batches import BatchSource
from lowerfunnel.retrieval.examples import TASKS
from lowerfunnel.retrieval.inputs import TrainingBatch
from lowerfunnel.retrieval.negatives import StreamingDraws
from lowerfunnel.retrieval.settings import RetrievalConfig
from lowerfunnel.retrieval.two_tower import SERVED, TwoTower
from lowerfunnel.training.settings import TrainingConfig

_DROPOUT_STREAM = 104


class TwoTowerTraining:
    """Trains a `TwoTower` on weighted sampled softmaxes; implements `lowerfunnel.training.loop.Trainable`."""

    def __init__(
        self,
        model: TwoTower,
        batches: BatchSource,
        config: RetrievalConfig,
        training: TrainingConfig,
        *,
        device: torch.device,
        seed: int,
        validate: Callable[[], Mapping[str, float]],
        describe: Callable[[int, int], str] = lambda _epoch, _step: "",
    ) -> None:
        self._model = model.to(device)
        self._batches = batches
        self._config = config
        self._training = training
        self._device = device
        self._seed = seed
        self._validate = validate
        self._describe = describe
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
        self._streaming: StreamingDraws | None = None
        items = len(batches.proposals.positive_I)
        if config.negatives.estimate == "streaming":
            self._streaming = StreamingDraws(items, batch_size=batches.batch_size, device=device)
        self._group_log_q_G = batches.group_log_q().to(device)
        self.steps_per_epoch = batches.steps_per_epoch
        self.examples_per_step = batches.batch_size

    def step(self, epoch: int, step: int, learning_rate_factor: float) -> Tensor:
        """Train on one batch and return its loss, in nats."""
        model = self._model.train()
        self._adam.param_groups[0]["lr"] = self._training.learning_rate * learning_rate_factor
        self._adagrad.learning_rate = self._training.table_learning_rate * learning_rate_factor
        batch = self._batches.batch(epoch, step).to(self._device)
        seed = np.random.default_rng((self._seed, _DROPOUT_STREAM, epoch, step)).integers(2**62)
        dropout = torch.Generator(self._device).manual_seed(int(seed))
        parts = model.item_parts(batch.items)
        x_UD = model.item_input(parts)
        vectors_RE = model.user_tower(batch.users, x_UD, dropout=dropout)
        vectors_CE = model.item_tower(
            parts,
            x_UD,
            place_C=batch.candidate_C,
            counters_CF=batch.counters_CF,
            log_share_C=batch.items.log_share_U.index_select(0, batch.candidate_C),
        )
        log_q_C = self._log_q(batch, epoch * self.steps_per_epoch + step + 1)
        loss = torch.zeros((), device=self._device)
        for head, weight_B, weight in self._parts_of(batch):
            query_RE = vectors_RE[head] * model.inverse_temperature(head)
            loss_B = self._item_loss(batch, query_RE, vectors_CE[head], log_q_C)
            loss = loss + weight * weighted_mean(loss_B, weight_B)
            if head == SERVED and self._config.group_loss.weight:
                loss = loss + weight * self._config.group_loss.weight * self._group_loss(
                    batch, query_RE, vectors_CE[head], log_q_C, weight_B
                )
        self._adam.zero_grad()
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
            self._adam.step()
        self._adagrad.step()
        return loss.detach()

    def _parts_of(self, batch: TrainingBatch) -> list[tuple[str, Tensor, float]]:
        """Return each head with the weights of its examples and its own weight; a head without an example is left out."""
        objective = self._config.objective
        if objective.heads == "unified":
            task_weight = torch.tensor([objective.task_weight(task) for task in TASKS], device=self._device)
            return [(SERVED, batch.weight_B * task_weight[batch.task_B.long()], 1.0)]
        heads = []
        for code, task in enumerate(TASKS):
            of_task_B = batch.task_B == code
            if objective.task_weight(task) and bool(of_task_B.any()):
                heads.append((task, batch.weight_B * of_task_B, objective.task_weight(task)))
        return heads

    def _log_q(self, batch: TrainingBatch, step: int) -> Tensor:
        """Return the log of the expected draws of each candidate."""
        if self._streaming is None:
            return batch.log_q_C
        positives = len(batch.row_B)
        self._streaming.update(batch.item_C[:positives], step)
        draws_C = self._streaming.draws(batch.item_C)
        if self._config.negatives.proposal == "mixture":
            return (draws_C + batch.other_draws_C).log().float()
        return torch.cat([draws_C[:positives].log().float(), batch.log_q_C[positives:]])

    def _item_loss(self, batch: TrainingBatch, query_RE: Tensor, candidate_CE: Tensor, log_q_C: Tensor) -> Tensor:
        negatives = self._config.negatives
        positive_log_q_B = log_q_C[: len(batch.row_B)] * negatives.log_q_positive
        return sampled_softmax_loss(
            query_RE,
            candidate_CE,
            log_q_C * negatives.log_q_negative,
            row_B=batch.row_B,
            item_C=batch.item_C,
            user_R=batch.user_R,
            positive_log_q_B=positive_log_q_B if negatives.log_q_positive else None,
            shared=batch.shared,
            own=(batch.own_place_N, batch.own_offsets_R1) if negatives.request else None,
            spared=self._spared(batch),
            reweighted=negatives.reweighted,
        )

    def _spared(self, batch: TrainingBatch) -> tuple[Tensor, Tensor] | None:
        if not self._config.negatives.spared_actions:
            return None
        return batch.spared_item_S, batch.spared_offsets_R1

    def _group_loss(
        self, batch: TrainingBatch, query_RE: Tensor, candidate_CE: Tensor, log_q_C: Tensor, weight_B: Tensor
    ) -> Tensor:
        """Return the weighted mean of the advertiser-level loss over the examples whose group is known."""
        examples, shared = len(batch.row_B), batch.shared
        group_C = batch.group_C[:shared].long()
        weight_B = weight_B * (group_C[:examples] >= 0)
        if not bool((weight_B > 0).any()):
            return torch.zeros((), device=self._device)
        if self._config.group_loss.form == "pooled":
            loss_B = grouped_softmax_loss(
                query_RE,
                candidate_CE[:shared],
                log_q_C[:shared] * self._config.negatives.log_q_negative,
                row_B=batch.row_B,
                item_C=batch.item_C[:shared],
                group_C=group_C,
                user_R=batch.user_R,
                spared=self._spared(batch),
            )
            return weighted_mean(loss_B, weight_B)
        # Groups are compared by direction alone: the popularity of an item is none.
        width = self._config.tower.width
        if self._config.group_loss.form == "table":
            table = self._model.group
            assert table is not None  # noqa: S101 - this form has one
            group_G, place_C = torch.unique(group_C, return_inverse=True)
            first = int(group_G[0] < 0)
            group_G, place_C = group_G[first:], place_C - first
            vector_GD = table.rows(group_G)
        else:
            vector_GD, group_G, place_C = group_means(candidate_CE[:shared, :width], group_C)
        known_B = group_C[:examples] >= 0
        vector_GD = nn.functional.normalize(vector_GD, dim=1)
        log_q_G = self._group_log_q_G[group_G]
        # Every group of the batch once; the positives before them are nobody's negatives.
        positive_KD = vector_GD.index_select(0, place_C[:examples][known_B])
        loss_K = sampled_softmax_loss(
            query_RE[:, :width],
            torch.cat([positive_KD, vector_GD]),
            torch.cat([torch.full((len(positive_KD),), torch.inf, device=self._device), log_q_G]),
            row_B=batch.row_B[known_B],
            item_C=torch.cat([group_C[:examples][known_B], group_G]),
            user_R=batch.user_R,
            positive_log_q_B=log_q_G[place_C[:examples][known_B]],
        )
        return weighted_mean(loss_K, weight_B[known_B])

    def validate(self) -> Mapping[str, float]:
        """Return what the given validation finds."""
        return self._validate()

    def describe(self, epoch: int, step: int) -> str:
        """Say which examples a batch holds."""
        return self._describe(epoch, step)

    def weights(self) -> dict[str, Tensor]:
        """Return every parameter of the model, live."""
        return {name: parameter.detach() for name, parameter in self._model.named_parameters()}

    def optimiser_state(self) -> dict[str, Tensor]:
        """Return the state of Adam, of row-wise Adagrad and of the streaming estimate, live."""
        state = {f"adagrad.{name}": tensor for name, tensor in self._adagrad.state_dict().items()}
        for name, parameter in self._dense.items():
            state |= {f"adam.{name}.{key}": value for key, value in self._adam.state[parameter].items()}
        if self._streaming is not None:
            state |= {"streaming.last": self._streaming.last_I, "streaming.gap": self._streaming.gap_I}
        return state

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor], optimiser_state: Mapping[str, Tensor]) -> None:
        """Copy weights and optimiser state into the model and its optimisers."""
        for live, stored in ((self.weights(), weights), (self.optimiser_state(), optimiser_state)):
            for name, tensor in live.items():
                tensor.copy_(stored[name])
