"""Vectors of a trained model: every item's, and those of users at a point in time.

The same gathering as in training, minus dropout: what the model sees when it answers is what it saw when it learned.

Shape letters: I items, B queries, D width.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lowerfunnel.events.timeline import Int32Array, Int64Array, Timelines
from lowerfunnel.features.entities import ItemFeatures, UserFeatures
from lowerfunnel.features.history import gather_histories
from lowerfunnel.retrieval.inputs import ItemInputs, UserInputs
from lowerfunnel.retrieval.two_tower import TwoTower

_BLOCK = 8192

Float32Array = npt.NDArray[np.float32]


class Encoder:
    """A model with the inputs of all items at hand, computed once: make a new one when the weights have changed."""

    def __init__(self, model: TwoTower, items: ItemFeatures) -> None:
        self._model = model
        self._histories: tuple[Timelines, Timelines] | None = None
        self._device = model.history_gate.device
        was_training = model.training
        model.eval()
        with torch.no_grad():
            blocks = [
                model.item_input(
                    ItemInputs.of(items, np.arange(start, min(start + _BLOCK, len(items)))).to(self._device)
                )
                for start in range(0, len(items), _BLOCK)
            ]
            self._x_ID: Tensor = torch.cat(blocks)
        self._log_share_I = torch.from_numpy(items.log_share_I).to(self._device)
        model.train(was_training)

    def items(self) -> Float32Array:
        """Return the unit vector of every item, [I, D]."""
        with torch.no_grad():
            return self._model.item_tower(self._x_ID, self._log_share_I).cpu().numpy()

    def users(
        self,
        user_B: Int32Array,
        t_B: Int64Array,
        surface_B: Int32Array,
        *,
        timelines: Timelines,
        features: UserFeatures,
        trained_U: npt.NDArray[np.bool_],
    ) -> Float32Array:
        """Return the unit vector of each query, [B, D], from what its user had done strictly before `t_B`.

        The id embedding of a user without a training example means nothing and is left out; one who is unknown
        altogether (-1) is what the model makes of nobody in particular.
        """
        was_training = self._model.training
        self._model.eval()
        blocks = []
        with torch.no_grad():
            for start in range(0, len(user_B), _BLOCK):
                part = slice(start, start + _BLOCK)
                user_P = user_B[part]
                histories = gather_histories(
                    self._history_of(timelines), user_P, t_B[part], max_length=self._model.config.history_length
                )
                inputs = UserInputs.of(
                    user_B=user_P,
                    surface_B=surface_B[part],
                    features=features,
                    histories=histories,
                    history_place_N=histories.item_N,
                    dropped_B=~trained_U[np.maximum(user_P, 0)],
                )
                blocks.append(self._model.user_tower(inputs.to(self._device), self._x_ID).cpu().numpy())
        self._model.train(was_training)
        return np.concatenate(blocks) if blocks else np.zeros((0, self._model.config.vector_width), np.float32)

    def _history_of(self, timelines: Timelines) -> Timelines:
        """Return the events that the model counts as history, chosen once for the timelines last asked with."""
        if self._histories is None or self._histories[0] is not timelines:
            self._histories = (timelines, timelines.of_actions(self._model.config.history_codes))
        return self._histories[1]
