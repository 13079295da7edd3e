"""Exact search: every query against every item, in blocks, over all cores.

A selection by threshold takes the place of a full top-k. The items of a tile are dealt into groups, and the k-th
largest of the group maxima cannot exceed the k-th largest score: only what reaches it (about 1.15 k items) is sorted.
Of few allowed items the rows are gathered tile by tile; where many are allowed all are scored and the others struck out.

Shape letters: Q queries, I items, D width, K length of a list, B queries of a block, T items of a tile, N candidates of
a block (ragged), X excluded pairs of a block, G groups of a tile, P places of allowed items.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import torch
from torch import Tensor

from lowerfunnel.index.allowed import Allowed
from lowerfunnel.index.contract import (
    checked_queries,
    checked_vectors,
    largest_norm,
    require_allowed_of,
    require_finite_scores,
)
from lowerfunnel.index.exclusions import Exclusions
from lowerfunnel.index.plan import Plan
from lowerfunnel.index.rank_key import best_keys, pad_rows, rank_keys, ranking_of_keys, score_of_keys
from lowerfunnel.index.ranking import Float32Array, Int32Array, Int64Array, Ranking
from lowerfunnel.index.storage import write_exact

_GROUPS_PER_RESULT = 4
_LARGEST_GROUP = 64
_GATHERED_SHARE = 0.3
"""Where more than this share of the items is allowed, reading all of them in order is faster than gathering rows."""


class ExactIndex:
    """Exact inner-product search over float32 vectors. The reference that the other members answer to."""

    def __init__(
        self, vector_ID: Float32Array, *, threads: int | None = None, block_queries: int = 128, tile_items: int = 16_384
    ) -> None:
        """Keep a copy of the vectors.

        Args:
            vector_ID: Finite float32 vectors; their rows are the items.
            threads: Blocks searched at a time; None for as many as torch uses.
            block_queries: Queries of a block.
            tile_items: Items of a tile. A block holds `block_queries` x `tile_items` scores per thread.
        """
        self._take(checked_vectors(vector_ID), threads, block_queries, tile_items)

    @classmethod
    def over(cls, vector_ID: Float32Array, *, threads: int | None = None) -> "ExactIndex":
        """Search finite vectors without a copy of them; the caller must never change them."""
        index = cls.__new__(cls)
        index._take(vector_ID, threads, 128, 16_384)
        return index

    def _take(self, vector_ID: Float32Array, threads: int | None, block_queries: int, tile_items: int) -> None:
        if min(block_queries, tile_items, 1 if threads is None else threads) < 1:
            raise ValueError(
                "threads, block_queries and tile_items must be at least 1, "
                f"got {threads}, {block_queries}, {tile_items}"
            )
        self._vector_ID = torch.from_numpy(vector_ID)
        self._largest_norm = largest_norm(vector_ID)
        self._threads = threads
        self._block_queries = block_queries
        self._tile_items = tile_items

    @property
    def items(self) -> int:
        """How many items there are."""
        return int(self._vector_ID.shape[0])

    @property
    def width(self) -> int:
        """Length of the vectors."""
        return int(self._vector_ID.shape[1])

    def search(
        self,
        query_QD: Float32Array,
        k: int,
        *,
        excluded_offsets: Int64Array | None = None,
        excluded_item: Int32Array | None = None,
        allowed: Allowed | None = None,
    ) -> Ranking:
        """Return the `k` best items of each query; see `Index.search`."""
        require_allowed_of(self.items, allowed)
        query_QD = checked_queries(query_QD, k, width=self.width)
        require_finite_scores(largest_norm(query_QD), self._largest_norm)
        exclusions = Exclusions.build(excluded_offsets, excluded_item, queries=len(query_QD), items=self.items)
        ranking = Ranking.empty(len(query_QD), k)
        space = _Space.of(self._vector_ID, allowed)
        if space.size == 0 or len(query_QD) == 0:
            return ranking
        query_tensor_QD = torch.from_numpy(query_QD)
        starts = range(0, len(query_QD), self._block_queries)
        caller_threads = torch.get_num_threads()
        workers = min(len(starts), caller_threads if self._threads is None else self._threads)
        free_buffers: SimpleQueue[_Buffers] = SimpleQueue()
        for _ in range(workers):
            free_buffers.put(_Buffers(min(self._block_queries, len(query_QD)) * min(self._tile_items, space.size)))

        def search_block(start: int) -> None:
            stop = min(start + self._block_queries, len(query_QD))
            row_X, item_X = exclusions.block(start, stop)
            buffers = free_buffers.get()
            row_X, place_X = space.places_of(row_X, item_X)
            key_BK = self._search_block(query_tensor_QD[start:stop], k, row_X, place_X, space, buffers)
            free_buffers.put(buffers)
            found = ranking_of_keys(key_BK, k)
            ranking.item_QK[start:stop] = space.items_at(found.item_QK)
            ranking.score_QK[start:stop] = found.score_QK

        if workers == 1:
            for start in starts:
                search_block(start)
            return ranking
        # Whole blocks on single-threaded workers keep the numpy steps parallel as well: 1.5 times as fast on 2 cores as
        # one block after another on torch's own threads.
        try:
            with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                for _ in pool.map(search_block, starts):
                    pass
        finally:
            # A worker's setting is also torch's default for threads to come.
            torch.set_num_threads(caller_threads)
        return ranking

    def plan(self, allowed: Allowed | None, k: int) -> Plan:
        """Say that every allowed item is scored."""
        require_allowed_of(self.items, allowed)
        return Plan(strategy="exact", width=self.items if allowed is None else allowed.count)

    @property
    def exact(self) -> "ExactIndex":
        """Itself."""
        return self

    def save(self, folder: Path) -> None:
        """Write the vectors to `folder`."""
        write_exact(folder, self._vector_ID)

    def _search_block(
        self,
        query_BD: Tensor,
        k: int,
        row_X: Int64Array,
        place_X: Int32Array | Int64Array,
        space: "_Space",
        buffers: "_Buffers",
    ) -> Int64Array:
        """Return up to `k` sorted keys per query of a block, whose items are places of the space."""
        best_BK: Int64Array | None = None
        tile = min(self._tile_items, space.size)
        for start in range(0, space.size, tile):
            stop = min(start + tile, space.size)
            shape = (len(query_BD), stop - start)
            score_BT = buffers.score[: shape[0] * shape[1]].view(shape)
            reached_BT = buffers.reached[: shape[0] * shape[1]].view(shape)
            torch.mm(query_BD, space.rows(start, stop).T, out=score_BT)
            if space.barred_I is not None:
                score_BT.masked_fill_(space.barred_I[start:stop], -np.inf)
            in_tile_X = (place_X >= start) & (place_X < stop)
            score_BT.numpy()[row_X[in_tile_X], place_X[in_tile_X] - start] = -np.inf
            threshold_B = _threshold(score_BT, k) if best_BK is None else _score_to_beat(best_BK, k)
            torch.ge(score_BT, torch.from_numpy(threshold_B)[:, None], out=reached_BT)
            flat_N = np.flatnonzero(reached_BT.numpy())
            row_N = flat_N // shape[1]
            key_N = rank_keys(score_BT.view(-1).numpy()[flat_N], flat_N - row_N * shape[1] + start)
            key_BC = pad_rows(key_N, np.bincount(row_N, minlength=shape[0]))
            if best_BK is not None:
                key_BC = np.concatenate([best_BK, key_BC], axis=1)
            best_BK = best_keys(key_BC, k)
        assert best_BK is not None  # noqa: S101  there is at least one tile
        return best_BK


@dataclass(frozen=True, slots=True)
class _Space:
    """The items that one search scores, as places 0..size - 1 in the order of the items."""

    vector_ID: Tensor
    size: int
    place_P: Int64Array | None = None
    """The allowed items, where they are gathered; otherwise a place is an item."""
    barred_I: Tensor | None = None
    """Which items are not allowed, where all are scored but not all are allowed."""

    @classmethod
    def of(cls, vector_ID: Tensor, allowed: Allowed | None) -> "_Space":
        items = len(vector_ID)
        if allowed is None or allowed.count == items:
            return cls(vector_ID, items)
        if allowed.count > items * _GATHERED_SHARE:
            return cls(vector_ID, items, barred_I=torch.from_numpy(~allowed.mask()))
        return cls(vector_ID, allowed.count, place_P=allowed.places())

    def rows(self, start: int, stop: int) -> Tensor:
        """Return the vectors at some places."""
        if self.place_P is None:
            return self.vector_ID[start:stop]
        return self.vector_ID.index_select(0, torch.from_numpy(self.place_P[start:stop]))

    def places_of(self, row_X: Int64Array, item_X: Int32Array) -> tuple[Int64Array, Int32Array | Int64Array]:
        """Return the (row, item) pairs whose items are in the space, with places for items."""
        if self.place_P is None or not len(item_X):
            return row_X, item_X
        place_X = np.minimum(np.searchsorted(self.place_P, item_X), len(self.place_P) - 1)
        inside_X = self.place_P[place_X] == item_X
        return row_X[inside_X], place_X[inside_X]

    def items_at(self, place_QK: Int32Array) -> Int32Array:
        """Return the items at places; -1 stays."""
        if self.place_P is None:
            return place_QK
        return np.where(place_QK < 0, place_QK, self.place_P[place_QK]).astype(np.int32)


class _Buffers:
    """The scores of a tile and which of them count: allocated once, as their page faults cost more than their use."""

    def __init__(self, size: int) -> None:
        self.score = torch.empty(size)
        self.reached = torch.empty(size, dtype=torch.bool)


def _threshold(score_BT: Tensor, k: int) -> Float32Array:
    """Return, per query, a score that its `k` best items of the tile all reach; above minus infinity."""
    lowest = np.finfo(np.float32).min
    tile = score_BT.shape[1]
    if tile <= k:
        return np.full(len(score_BT), lowest, np.float32)
    size = max(1, min(_LARGEST_GROUP, tile // (_GROUPS_PER_RESULT * k)))
    groups = tile // size
    # Group g holds items g, g + groups, ...: items that lie side by side are often alike, and would share a group.
    if size == 1:
        largest_BG: Float32Array = score_BT.numpy().copy()
    else:
        largest_BG = score_BT[:, : groups * size].view(-1, size, groups).amax(dim=1).numpy()
    largest_BG.partition(largest_BG.shape[1] - k, axis=1)
    threshold_B: Float32Array = np.maximum(largest_BG[:, largest_BG.shape[1] - k], lowest)
    return threshold_B


def _score_to_beat(best_BK: Int64Array, k: int) -> Float32Array:
    """Return the score above the worst of `k` items found so far: later items lose ties, for their ids are higher."""
    if best_BK.shape[1] < k:
        return np.full(len(best_BK), np.finfo(np.float32).min, np.float32)
    # Where a list has ended early its last score is minus infinity, and the float above it is the lowest finite one.
    above_B: Float32Array = np.nextafter(score_of_keys(best_BK[:, k - 1]), np.float32(np.inf))
    return above_B
