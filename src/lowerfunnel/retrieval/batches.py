"""Training batches, each a pure function of (seed, epoch, step), so that training resumes anywhere.

Shape letters: X examples, B examples of a batch, R their distinct requests, C candidates, I items of the catalogue, N
history entries.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from lowerfunnel.errors import TrainingError
from lowerfunnel.events.schema import ACTION_CODE
from lowerfunnel.events.timeline import Int32Array, Int64Array, Timelines
from lowerfunnel.features.activity import activity_counts
from lowerfunnel.features.counters import DailyCounters
from lowerfunnel.features.entities import ItemFeatures, UserFeatures
from lowerfunnel.features.history import Histories, gather_histories
from lowerfunnel.retrieval.examples import Examples
from lowerfunnel.retrieval.inputs import HistoryInputs, ItemInputs, TrainingBatch, UserInputs
from lowerfunnel.retrieval.negatives import IgnoredAds, Proposals
from lowerfunnel.retrieval.settings import RetrievalConfig

Float32Array = npt.NDArray[np.float32]

# Second word of a generator's seed: numpy pads seeds with zeros, so without it (seed, 7) and (seed, 7, 0) are one stream.
_ORDER_STREAM, _BATCH_STREAM = 101, 102


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingData:
    """What batches are made of.

    Attributes:
        examples: Positives of all tasks.
        timelines: What may be known; of all actions.
        items: Features of the catalogue.
        users: Features of the users.
        counters: How items performed, day by day; None where the log has no times.
        ignored: Ads that were served and ignored.
        group_I: Advertiser of each item (or whatever groups them), -1 unknown.
    """

    examples: Examples
    timelines: Timelines
    items: ItemFeatures
    users: UserFeatures
    counters: DailyCounters | None
    ignored: IgnoredAds
    group_I: Int32Array


class BatchSource:
    """Draws batches of examples and gathers what the towers need for them."""

    def __init__(self, config: RetrievalConfig, data: TrainingData, *, seed: int) -> None:
        examples = data.examples.of_tasks(config.objective.learned)
        if len(examples) < 2:
            raise TrainingError(
                f"training needs at least 2 examples, got {len(examples)}; check the labels and the split"
            )
        self._config, self.data, self._seed = config, data, seed
        self.examples = examples
        self._timelines = data.timelines.of_actions(config.history.codes)
        self._epoch_order: tuple[int, Int64Array] | None = None
        self._spared_codes = [ACTION_CODE[action] for action in config.negatives.spared_actions]
        self._described_I = data.items.described()
        self.batch_size = min(config.objective.batch_size, len(examples))
        # A history that hides its target is the example's own; otherwise all examples of a request share one.
        own_history = config.objective.discovery or data.timelines.order == "none"
        self._request_X = np.arange(len(examples)) if own_history else examples.request_of_example()
        self.proposals = Proposals.of(
            item_X=examples.item_X,
            batch_size=self.batch_size,
            uniform=config.negatives.uniform,
            hard=config.negatives.hard,
            request=self._mean_own(),
            ignored=data.ignored,
            items=len(data.items),
        )

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch; the last examples that do not fill one are left to a later epoch's order."""
        return max(1, len(self.examples) // self.batch_size)

    def example_index(self, epoch: int, step: int) -> Int64Array:
        """Return which examples batch `step` of `epoch` holds."""
        return self._order(epoch)[step * self.batch_size : (step + 1) * self.batch_size]

    def batch(self, epoch: int, step: int) -> TrainingBatch:
        """Return batch `step` of `epoch`, the same at every call."""
        config, data = self._config, self.data
        generator = np.random.default_rng((self._seed, _BATCH_STREAM, epoch, step))
        index_B = self.example_index(epoch, step)
        chosen = self.examples.take(index_B)
        _, first_R, row_B = np.unique(self._request_X[index_B], return_index=True, return_inverse=True)
        asked = chosen.take(first_R)
        histories = self._histories(asked, self._config.history.entry_dropout, generator)
        hard = generator.integers(0, max(len(data.ignored), 1), config.negatives.hard if len(data.ignored) else 0)
        uniform = generator.integers(0, len(data.items), config.negatives.uniform, dtype=np.int32)
        own, own_offsets_R1 = data.ignored.of_requests(asked.ignored_X, config.negatives.request, generator)
        sources = (chosen.item_X, data.ignored.item_T[hard], uniform, own)
        item_C = np.concatenate(sources)
        requests = asked.requests.hidden(generator.random(len(asked)) < config.context.dropout)
        item_U, place_I = self._distinct(item_C, histories.item_N, requests.subject_R[requests.subject_R >= 0])
        # An item of which nothing else is known would be left without any input.
        dropped_U = (generator.random(len(item_U)) < config.objective.id_dropout) & self._described_I[item_U]
        dropped_R = generator.random(len(asked)) < config.objective.id_dropout
        owner_R = np.repeat(np.arange(len(asked)), np.diff(own_offsets_R1))
        # A uniform negative is as of one of the batch's moments, whatever the order of its examples.
        uniform_t = asked.t_X[generator.integers(0, len(asked), len(uniform))]
        moment_C = np.concatenate([chosen.t_X, data.ignored.t_T[hard], uniform_t, asked.t_X[owner_R]])
        # What is dropped from a history is spared all the same.
        dropped = self._config.history.entry_dropout and self._spared_codes
        spared_item_S, spared_offsets_R1 = self._spared(self._histories(asked, 0.0) if dropped else histories)
        shared = len(item_C) - len(own)
        return TrainingBatch(
            items=ItemInputs.of(data.items, item_U, dropped_U=dropped_U),
            users=UserInputs.of(
                user_R=asked.user_X,
                features=data.users,
                history=HistoryInputs.of(histories, place_I[histories.item_N]),
                activity_RF=self._activity(asked),
                requests=requests,
                place_I=place_I,
                dropped_R=dropped_R,
            ),
            row_B=torch.from_numpy(row_B),
            user_R=torch.from_numpy(asked.user_X),
            weight_B=torch.from_numpy(chosen.weight_X),
            task_B=torch.from_numpy(chosen.task_X),
            candidate_C=torch.from_numpy(place_I[item_C]),
            item_C=torch.from_numpy(item_C),
            counters_CF=torch.from_numpy(self._counters(item_C, moment_C)),
            group_C=torch.from_numpy(data.group_I[item_C]),
            log_q_C=torch.from_numpy(
                self.proposals.log_draws(*sources, mixture=config.negatives.proposal == "mixture").astype(np.float32)
            ),
            other_draws_C=torch.from_numpy(self.proposals.other(item_C)),
            shared=shared,
            own_place_N=torch.arange(shared, len(item_C)),
            own_offsets_R1=torch.from_numpy(own_offsets_R1),
            spared_item_S=spared_item_S,
            spared_offsets_R1=spared_offsets_R1,
        )

    def group_log_q(self) -> torch.Tensor:
        """Return the log of the chance that a batch holds an item of each group, [G]; G is 0 without groups.

        A group of which a batch is expected to draw n items is there with a chance of about 1 - exp(-n).
        """
        group_I = self.data.group_I
        draws_I = self.proposals.positive_I + self.proposals.uniform + self.proposals.hard_I
        known_I = group_I >= 0
        draws_G = np.bincount(group_I[known_I], weights=draws_I[known_I])
        with np.errstate(divide="ignore"):
            return torch.from_numpy(np.log(-np.expm1(-draws_G)).astype(np.float32))

    def _mean_own(self) -> float:
        """Return how many of its own ignored ads an example's request sees on average."""
        known_X = self.examples.ignored_X[self.examples.ignored_X >= 0]
        offsets_Q1 = self.data.ignored.offsets_Q1
        count_X = np.minimum(offsets_Q1[known_X + 1] - offsets_Q1[known_X], self._config.negatives.request)
        return float(count_X.sum()) / len(self.examples)

    def _histories(
        self, asked: Examples, entry_dropout: float, generator: np.random.Generator | None = None
    ) -> Histories:
        return gather_histories(
            self._timelines,
            asked.user_X,
            asked.t_X,
            max_length=self._config.history.length,
            target_item_B=asked.item_X,
            target_action_B=asked.action_X,
            hide_target=self._config.objective.discovery,
            entry_dropout=entry_dropout,
            generator=generator,
        )

    def _activity(self, asked: Examples) -> Float32Array:
        if not self._config.tower.activity:
            return np.zeros((len(asked), 0), np.float32)
        return activity_counts(self.data.timelines, asked.user_X, asked.t_X)

    def _counters(self, item_C: Int32Array, t_C: Int64Array) -> Float32Array:
        if not self._config.tower.counters or self.data.counters is None:
            return np.zeros((len(item_C), 0), np.float32)
        return self.data.counters.at(item_C, t_C)

    def _spared(self, histories: Histories) -> tuple[torch.Tensor, torch.Tensor]:
        spared_N = np.isin(histories.action_N, self._spared_codes)
        before_N1 = np.zeros(len(spared_N) + 1, np.int64)
        np.cumsum(spared_N, out=before_N1[1:])
        return torch.from_numpy(histories.item_N[spared_N]), torch.from_numpy(before_N1[histories.offsets_B1])

    def _order(self, epoch: int) -> Int64Array:
        if self._epoch_order is None or self._epoch_order[0] != epoch:
            generator = np.random.default_rng((self._seed, _ORDER_STREAM, epoch))
            if self._config.objective.whole_requests:
                place_Q = generator.permutation(int(self._request_X.max()) + 1)
                order_X = np.argsort(place_Q[self._request_X], kind="stable")
            else:
                order_X = generator.permutation(len(self.examples))
            self._epoch_order = (epoch, order_X)
        return self._epoch_order[1]

    def _distinct(self, *item_lists: Int32Array) -> tuple[Int64Array, Int64Array]:
        """Return the distinct items of the lists, ascending, and every catalogue item's place among them."""
        seen_I = np.zeros(len(self.data.items), np.bool_)
        for item_N in item_lists:
            seen_I[item_N] = True
        item_U = np.flatnonzero(seen_I)
        place_I = np.empty(len(self.data.items), np.int64)
        place_I[item_U] = np.arange(len(item_U))
        return item_U, place_I
