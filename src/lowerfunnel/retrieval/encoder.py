"""Vectors of a trained model: every item's, and those of users at a point in time.

The same gathering as in training, minus dropout: what the model sees when it answers is what it saw when it learned.

Shape letters: I items, B requests, D width of the towers, E width of their vectors, F width of a feature vector.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lowerfunnel.events.timeline import Int32Array, Int64Array, Timelines
from lowerfunnel.features.activity import activity_counts
from lowerfunnel.features.entities import ItemFeatures, UserFeatures
from lowerfunnel.features.history import gather_histories
from lowerfunnel.features.requests import Requests
from lowerfunnel.retrieval.inputs import HistoryInputs, ItemInputs, UserInputs
from lowerfunnel.retrieval.two_tower import SERVED, TwoTower

_BLOCK = 8192

Float32Array = npt.NDArray[np.float32]


class Encoder:
    """A model with all items encoded once: make a new one when the weights have changed.

    `counters_IF` is how the items had performed when they are asked for, [I, F]; F is 0 for a model that does not look.
    The vectors are those of the head `task`.

    Raises:
        UnavailableError: If the model has no such head.
    """

    def __init__(self, model: TwoTower, items: ItemFeatures, counters_IF: Float32Array, *, task: str = SERVED) -> None:
        model.require_head(task)
        self._model = model
        self._task = task
        self._histories: tuple[Timelines, Timelines] | None = None
        self._device = model.user_parts.anyone.device
        was_training = model.training
        model.eval()
        inputs, vectors = [], []
        with torch.no_grad():
            for start in range(0, len(items), _BLOCK):
                index_U = np.arange(start, min(start + _BLOCK, len(items)))
                counters_UF = torch.from_numpy(counters_IF[index_U]).to(self._device)
                x_UD, v_UE = model.encode_items(ItemInputs.of(items, index_U).to(self._device), counters_UF, task=task)
                inputs.append(x_UD)
                vectors.append(v_UE)
        self._x_ID: Tensor = torch.cat(inputs)
        self._v_IE: Tensor = torch.cat(vectors)
        model.train(was_training)

    def items(self) -> Float32Array:
        """Return the vector of every item, [I, E]."""
        return self._v_IE.cpu().numpy()

    def item_inputs(self) -> Float32Array:
        """Return what every item is in a history and as the subject of a request, [I, D]."""
        return self._x_ID.cpu().numpy()

    def users(
        self,
        user_B: Int32Array,
        t_B: Int64Array,
        *,
        timelines: Timelines,
        features: UserFeatures,
        trained_U: npt.NDArray[np.bool_],
        requests: Requests | None = None,
    ) -> Float32Array:
        """Return the vector of each request, [B, E], from what its user had done strictly before `t_B`.

        The id embedding of a user without a training example means nothing and is left out; one who is unknown
        altogether (-1) is what the model makes of nobody in particular. Without `requests` nothing is known of them:
        candidates are found ahead of a request.
        """
        was_training = self._model.training
        self._model.eval()
        config = self._model.config
        asked = Requests.unknown(len(user_B)) if requests is None else requests
        blocks = []
        with torch.no_grad():
            for start in range(0, len(user_B), _BLOCK):
                index_P = np.arange(start, min(start + _BLOCK, len(user_B)))
                user_P, t_P = user_B[index_P], t_B[index_P]
                histories = gather_histories(self._history_of(timelines), user_P, t_P, max_length=config.history.length)
                activity_PF = np.zeros((len(user_P), 0), np.float32)
                if config.tower.activity:
                    activity_PF = activity_counts(timelines, user_P, t_P)
                inputs = UserInputs.of(
                    user_R=user_P,
                    features=features,
                    history=HistoryInputs.of(histories, histories.item_N),
                    activity_RF=activity_PF,
                    requests=asked.take(index_P),
                    dropped_R=~trained_U[np.maximum(user_P, 0)],
                )
                vectors = self._model.user_tower(inputs.to(self._device), self._x_ID)
                blocks.append(vectors[self._task].cpu().numpy())
        self._model.train(was_training)
        return np.concatenate(blocks) if blocks else np.zeros((0, config.tower.vector_width), np.float32)

    def _history_of(self, timelines: Timelines) -> Timelines:
        """Return the events that the model counts as history, chosen once for the timelines last asked with."""
        if self._histories is None or self._histories[0] is not timelines:
            self._histories = (timelines, timelines.of_actions(self._model.config.history.codes))
        return self._histories[1]
