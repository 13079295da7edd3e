"""Training batches, each a pure function of (seed, epoch, step), so that training resumes anywhere.

Shape letters: X examples, B examples of a batch, C candidates, I items of the catalogue.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from lowerfunnel.errors import TrainingError
from lowerfunnel.events.schema import ACTION_CODE
from lowerfunnel.events.timeline import Int8Array, Int32Array, Int64Array, Timelines
from lowerfunnel.features.entities import ItemFeatures, UserFeatures
from lowerfunnel.features.history import gather_histories
from lowerfunnel.retrieval.inputs import ItemInputs, TrainingBatch, UserInputs
from lowerfunnel.retrieval.settings import RetrievalConfig

_HIDDEN_SURFACE = 0.5

# Second word of a generator's seed: numpy pads seeds with zeros, so without it (seed, 7) and (seed, 7, 0) are one stream.
_ORDER_STREAM, _BATCH_STREAM = 101, 102


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """X training examples: who, when, where, what, how much it counts."""

    user_X: Int32Array
    t_X: Int64Array
    surface_X: Int32Array
    item_X: Int32Array
    action_X: Int8Array
    weight_X: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.user_X)


class BatchSource:
    """Draws batches of examples and gathers what the towers need for them."""

    def __init__(
        self,
        config: RetrievalConfig,
        *,
        examples: Examples,
        timelines: Timelines,
        items: ItemFeatures,
        users: UserFeatures,
        seed: int,
    ) -> None:
        if len(examples) < 2:
            raise TrainingError(
                f"training needs at least 2 examples, got {len(examples)}; check the labels and the split"
            )
        self._config = config
        self._examples = examples
        self._timelines = timelines.of_actions(config.tower.history_codes)
        self._items = items
        self._users = users
        self._seed = seed
        self._epoch_order: tuple[int, Int64Array] | None = None
        self._spared_codes = [ACTION_CODE[action] for action in config.objective.spared_actions]
        self._described_I = items.described()
        self.batch_size = min(config.objective.batch_size, len(examples))
        draws_I = np.bincount(examples.item_X, minlength=len(items)).astype(np.float64)
        with np.errstate(divide="ignore"):
            # Expected draws of an item in a batch, as somebody's positive or uniformly. Never clipped: an item without
            # either is never a candidate.
            self._log_q_I = np.log(
                self.batch_size * draws_I / len(examples) + config.objective.uniform_negatives / len(items)
            ).astype(np.float32)

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch; the last examples that do not fill one are left to a later epoch's order."""
        return max(1, len(self._examples) // self.batch_size)

    def batch(self, epoch: int, step: int) -> TrainingBatch:
        """Return batch `step` of `epoch`, the same at every call."""
        index_B = self._order(epoch)[step * self.batch_size : (step + 1) * self.batch_size]
        generator = np.random.default_rng((self._seed, _BATCH_STREAM, epoch, step))
        examples, objective = self._examples, self._config.objective
        user_B, t_B, item_B = examples.user_X[index_B], examples.t_X[index_B], examples.item_X[index_B]
        histories = gather_histories(
            self._timelines,
            user_B,
            t_B,
            max_length=self._config.tower.history_length,
            target_item_B=item_B,
            target_action_B=examples.action_X[index_B],
            hide_target=objective.discovery,
        )
        uniform = generator.integers(0, len(self._items), objective.uniform_negatives, dtype=np.int32)
        item_C = np.concatenate([item_B, uniform])
        item_U, place_I = self._distinct(item_C, histories.item_N)
        # An item of which nothing else is known would be left without any input.
        dropped_U = (generator.random(len(item_U)) < objective.id_dropout) & self._described_I[item_U]
        dropped_B = generator.random(len(user_B)) < objective.id_dropout
        spared_N = np.isin(histories.action_N, self._spared_codes)
        spared_before_N1 = np.zeros(len(spared_N) + 1, np.int64)
        np.cumsum(spared_N, out=spared_before_N1[1:])
        return TrainingBatch(
            items=ItemInputs.of(self._items, item_U, dropped_U=dropped_U),
            users=UserInputs.of(
                user_B=user_B,
                # Half of the requests hide their surface: recommending ahead of a request does not know it.
                surface_B=np.where(generator.random(len(user_B)) < _HIDDEN_SURFACE, 0, examples.surface_X[index_B]),
                features=self._users,
                histories=histories,
                history_place_N=place_I[histories.item_N],
                dropped_B=dropped_B,
            ),
            candidate_C=torch.from_numpy(place_I[item_C]),
            item_C=torch.from_numpy(item_C),
            user_B=torch.from_numpy(user_B),
            log_q_C=torch.from_numpy(self._log_q_I[item_C]),
            weight_B=torch.from_numpy(examples.weight_X[index_B]),
            spared_item_S=torch.from_numpy(histories.item_N[spared_N]),
            spared_offsets_B1=torch.from_numpy(spared_before_N1[histories.offsets_B1]),
        )

    def _order(self, epoch: int) -> Int64Array:
        if self._epoch_order is None or self._epoch_order[0] != epoch:
            order_X = np.random.default_rng((self._seed, _ORDER_STREAM, epoch)).permutation(len(self._examples))
            self._epoch_order = (epoch, order_X)
        return self._epoch_order[1]

    def _distinct(self, *item_lists: Int32Array) -> tuple[Int64Array, Int64Array]:
        """Return the distinct items of the lists, ascending, and every catalogue item's place among them."""
        seen_I = np.zeros(len(self._items), np.bool_)
        for item_N in item_lists:
            seen_I[item_N] = True
        item_U = np.flatnonzero(seen_I)
        place_I = np.empty(len(self._items), np.int64)
        place_I[item_U] = np.arange(len(item_U))
        return item_U, place_I
