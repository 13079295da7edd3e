"""What is evaluated: requests, what was held out from them, and who answers them.

Shape letters: Q queries (one per evaluated user), P held-out (query, item) pairs sorted by query, X excluded pairs, H
history entries; X and H are ragged over Q as P is. Items are dense, -1 for one outside the catalogue.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from lowerfunnel.events.timeline import Int8Array, Int32Array, Int64Array, ragged_index
from lowerfunnel.index.ranking import Ranking

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationSet:
    """Q requests with their held-out items.

    Attributes:
        task: What is to be predicted, such as "conversion".
        user_Q: Dense users; -1 for one that was never trained.
        at_us_Q: Points in time of the requests, in microseconds since 1970 UTC.
        pair_offsets: Q + 1 offsets into `pair_item_P`; every query has at least one pair.
        pair_item_P: Held-out items, distinct within a query. -1 is outside the catalogue and counts as a miss.
        excluded_offsets: Q + 1 offsets into `excluded_item`.
        excluded_item: Items that must not come back, such as what the user already bought.
        slices_P: Which pairs belong to a slice, by its name; "all" is always there.
        history_offsets: Q + 1 offsets into the history; None where the training timelines are all there is.
        history_item: What the users did before their requests, latest last.
        history_action: Codes of these actions.
        held_out_P: Which row of the held-out pairs each pair is; None where they do not come from a table.
    """

    task: str
    user_Q: Int32Array
    at_us_Q: Int64Array
    pair_offsets: Int64Array
    pair_item_P: Int32Array
    excluded_offsets: Int64Array
    excluded_item: Int32Array
    slices_P: dict[str, BoolArray]
    history_offsets: Int64Array | None = None
    history_item: Int32Array | None = None
    history_action: Int8Array | None = None
    held_out_P: Int64Array | None = None

    def __post_init__(self) -> None:
        ragged = {
            "pair": (self.pair_offsets, self.pair_item_P),
            "excluded": (self.excluded_offsets, self.excluded_item),
        }
        given = [part is not None for part in (self.history_offsets, self.history_item, self.history_action)]
        if any(given) and not all(given):
            raise ValueError("a history is its offsets, items and actions together; some of the three were not given")
        if self.history_offsets is not None and self.history_item is not None and self.history_action is not None:
            ragged["history"] = (self.history_offsets, self.history_item)
            if len(self.history_action) != len(self.history_item):
                raise ValueError(
                    f"a history needs one action per item, got {len(self.history_action)} and {len(self.history_item)}"
                )
        for name, (offsets, items) in ragged.items():
            if len(offsets) != self.queries + 1 or int(offsets[0]) != 0 or int(offsets[-1]) != len(items):
                raise ValueError(
                    f"{name} offsets must run from 0 to {len(items)} in {self.queries + 1} steps for {self.queries} "
                    f"queries, got {len(offsets)} from {int(offsets[0])} to {int(offsets[-1])}"
                )
        if self.held_out_P is not None and len(self.held_out_P) != len(self.pair_item_P):
            raise ValueError(f"{len(self.pair_item_P)} pairs need as many rows, got {len(self.held_out_P)}")
        if self.queries and int(np.diff(self.pair_offsets).min()) < 1:
            raise ValueError(
                f"every query needs a held-out item, {int((np.diff(self.pair_offsets) < 1).sum())} have none"
            )
        if "all" not in self.slices_P:
            raise ValueError(f"the slice 'all' is missing, got {sorted(self.slices_P)}")
        for name, inside_P in self.slices_P.items():
            if len(inside_P) != len(self.pair_item_P):
                raise ValueError(
                    f"slice {name!r} must mark each of {len(self.pair_item_P)} pairs, got {len(inside_P)} marks"
                )

    @property
    def queries(self) -> int:
        """How many queries there are."""
        return len(self.user_Q)

    def take(self, index_N: Int64Array) -> "EvaluationSet":
        """Return some queries, in the order given, as a set of their own."""
        pair_P, pair_offsets = _taken(self.pair_offsets, index_N)
        excluded_X, excluded_offsets = _taken(self.excluded_offsets, index_N)
        history_offsets = history_item = history_action = None
        if self.history_offsets is not None and self.history_item is not None and self.history_action is not None:
            history_H, history_offsets = _taken(self.history_offsets, index_N)
            history_item, history_action = self.history_item[history_H], self.history_action[history_H]
        return EvaluationSet(
            task=self.task,
            user_Q=self.user_Q[index_N],
            at_us_Q=self.at_us_Q[index_N],
            pair_offsets=pair_offsets,
            pair_item_P=self.pair_item_P[pair_P],
            excluded_offsets=excluded_offsets,
            excluded_item=self.excluded_item[excluded_X],
            slices_P={name: inside_P[pair_P] for name, inside_P in self.slices_P.items()},
            history_offsets=history_offsets,
            history_item=history_item,
            history_action=history_action,
            held_out_P=None if self.held_out_P is None else self.held_out_P[pair_P],
        )

    def block(self, start: int, stop: int) -> "EvaluationSet":
        """Return queries start..stop as a set of their own."""
        return self.take(np.arange(start, stop, dtype=np.int64))


def _taken(offsets_Q1: Int64Array, index_N: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Return which ragged entries some queries have, and their new offsets."""
    return ragged_index(offsets_Q1[index_N], offsets_Q1[index_N + 1])


@runtime_checkable
class Retriever(Protocol):
    """Whoever answers requests with ranked items: a model with its index, or a floor."""

    def retrieve(self, queries: EvaluationSet, k: int) -> Ranking:
        """Return up to `k` items per query, best first, none of them excluded.

        The held-out pairs and slices of `queries` are not looked at.
        """
        ...
