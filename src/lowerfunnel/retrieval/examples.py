"""Training examples: who, when, where, what, how much it counts.

Shape letter: X examples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lowerfunnel.events.timeline import Int8Array, Int32Array, Int64Array
from lowerfunnel.features.requests import Requests

BoolArray = npt.NDArray[np.bool_]
TASKS = ("conversion", "engagement")
"""The tasks; their position is their code."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """X training examples.

    Attributes:
        user_X: Dense user.
        t_X: When, as in a timeline.
        item_X: Dense item.
        action_X: Code of the action.
        task_X: Position in `TASKS`.
        weight_X: How much it counts, within its task.
        requests: What is known of the request that it came from; X of them.
        ignored_X: Request among those with ignored ads, -1 for none.
    """

    user_X: Int32Array
    t_X: Int64Array
    item_X: Int32Array
    action_X: Int8Array
    task_X: Int8Array
    weight_X: npt.NDArray[np.float32]
    requests: Requests
    ignored_X: Int64Array

    def __len__(self) -> int:
        return len(self.user_X)

    def take(self, index_N: Int64Array) -> "Examples":
        """Return some examples, in the order given."""
        return Examples(
            user_X=self.user_X[index_N],
            t_X=self.t_X[index_N],
            item_X=self.item_X[index_N],
            action_X=self.action_X[index_N],
            task_X=self.task_X[index_N],
            weight_X=self.weight_X[index_N],
            requests=self.requests.take(index_N),
            ignored_X=self.ignored_X[index_N],
        )

    def of_tasks(self, tasks: Sequence[str]) -> "Examples":
        """Return the examples of some tasks."""
        kept = np.flatnonzero(np.array([task in tasks for task in TASKS])[self.task_X])
        return self if len(kept) == len(self) else self.take(kept)

    def request_of_example(self) -> Int64Array:
        """Number the distinct requests, and return each example's.

        Examples of one request agree in user, time, all that is known of the request, and the ignored ads they came with:
        one side of the user, and one list of own negatives, then serves all of them.
        """
        known = self.requests
        columns = (self.ignored_X, known.query_of_request(), known.subject_R, known.surface_R, self.t_X, self.user_X)
        by_request = np.lexsort(columns)
        new_X = np.zeros(len(self), np.bool_)
        for column in columns:
            new_X[1:] |= column[by_request][1:] != column[by_request][:-1]
        request_X = np.empty(len(self), np.int64)
        request_X[by_request] = np.cumsum(new_X)
        return request_X
