"""What every index promises.

Shape letters: Q queries, I items, D width of the vectors, K length of a list.
"""

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from lowerfunnel.errors import DataError
from lowerfunnel.index.allowed import Allowed
from lowerfunnel.index.plan import Plan
from lowerfunnel.index.ranking import Float32Array, Int32Array, Int64Array, Ranking


@runtime_checkable
class Index(Protocol):
    """Item vectors that can be searched for the largest inner products.

    Items are the positions 0..I-1 of the vectors that the index was built over. An index is never changed after it was
    built, so it may be searched from many threads. Two promises hold for every member: an item that is excluded, or
    outside the allowed ones, never comes back, and a list is shorter than `k` only where fewer than `k` items are
    eligible. Among the items that come back,
    equal scores are in order of the item; an exact member also breaks a tie at the end of the list that way.
    """

    @property
    def items(self) -> int:
        """How many items there are."""
        ...

    @property
    def width(self) -> int:
        """Length of the vectors."""
        ...

    def search(
        self,
        query_QD: Float32Array,
        k: int,
        *,
        excluded_offsets: Int64Array | None = None,
        excluded_item: Int32Array | None = None,
        allowed: Allowed | None = None,
    ) -> Ranking:
        """Return the `k` best items of each query.

        Args:
            query_QD: One finite float32 vector per query.
            k: Length of the lists; one longer than the catalogue is padded with -1.
            excluded_offsets: Q + 1 offsets into `excluded_item`; None excludes nothing.
            excluded_item: Items that each query must not get. Repeats count once, -1 excludes nothing.
            allowed: The items that may come back, for all queries of the call; None is all items.

        Raises:
            DataError: If a query is not finite, or an excluded item is not in the catalogue.
            ValueError: If the shapes or types do not fit.
        """
        ...

    def plan(self, allowed: Allowed | None, k: int) -> Plan:
        """Say how `search` goes about a list of `k` of the allowed items."""
        ...

    @property
    def exact(self) -> "Index | None":
        """The same items searched exactly, to compare with; None where the vectors are not in this process."""
        ...

    def save(self, folder: Path) -> None:
        """Write the index to `folder`, which `load_index` reads."""
        ...


def checked_vectors(vector_ID: Float32Array) -> Float32Array:
    """Return an own contiguous copy of item vectors, checked: an index is a snapshot that nobody else can change."""
    _require_float32_matrix(vector_ID, "item vectors")
    _require_finite(vector_ID, "item")
    return np.array(vector_ID, np.float32, order="C", copy=True)


def checked_queries(query_QD: Float32Array, k: int, *, width: int) -> Float32Array:
    """Return the queries, contiguous, after the checks that every index makes of a search."""
    _require_float32_matrix(query_QD, "queries")
    if query_QD.shape[1] != width:
        raise ValueError(
            f"queries of width {query_QD.shape[1]} came to an index of width {width}: search an index with the query "
            "tower that it was built with"
        )
    if k < 1:
        raise ValueError(f"a list must hold at least one item, got k={k}")
    _require_finite(query_QD, "query")
    contiguous_QD = np.ascontiguousarray(query_QD)
    return contiguous_QD if contiguous_QD.flags.writeable else contiguous_QD.copy()


def require_allowed_of(items: int, allowed: Allowed | None) -> None:
    """Refuse a set of another catalogue than the index's."""
    if allowed is not None and allowed.items != items:
        raise ValueError(
            f"a set over {allowed.items:,} items came to an index of {items:,}: make it of the index's own catalogue"
        )


def largest_norm(vector_ND: Float32Array) -> float:
    """Return the largest Euclidean length among the rows."""
    return float(np.sqrt(np.einsum("nd,nd->n", vector_ND, vector_ND, dtype=np.float64).max(initial=0.0)))


def require_finite_scores(query_norm: float, vector_norm: float) -> None:
    """Refuse vectors whose inner products could overflow float32 (by Cauchy and Schwarz, so partial sums as well)."""
    if query_norm * vector_norm >= float(np.finfo(np.float32).max):
        raise DataError(
            f"inner products of vectors as long as {query_norm:.3g} and {vector_norm:.3g} do not fit into float32: "
            "normalise the vectors"
        )


def _require_float32_matrix(vector_ND: Float32Array, what: str) -> None:
    if vector_ND.ndim != 2 or vector_ND.dtype != np.float32:
        raise ValueError(
            f"{what} must be a float32 matrix, one row each; got {vector_ND.dtype} of shape {vector_ND.shape}"
        )


def _require_finite(vector_ND: Float32Array, what: str) -> None:
    # A sum is NaN or infinite if any term is, and costs one pass without a temporary of the matrix's size; it can also
    # overflow by itself, so only then are the elements looked at.
    if np.isfinite(vector_ND.sum(dtype=np.float64)):
        return
    bad_N = np.asarray(~np.isfinite(vector_ND).all(axis=1))
    if bad_N.any():
        raise DataError(
            f"{int(bad_N.sum())} of {len(bad_N)} {what} vectors hold NaN or infinity, the first at row "
            f"{int(bad_N.argmax())}: the model that made them has diverged or read bad features"
        )
