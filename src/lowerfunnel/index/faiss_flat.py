"""FAISS's own exhaustive search.

Shape letters: I items, D width, Q queries, F fetched candidates.
"""

from typing import Any

import numpy as np

from lowerfunnel.errors import require
from lowerfunnel.index.allowed import Allowed
from lowerfunnel.index.faiss_rows import rows_of_flat, selector
from lowerfunnel.index.plan import Strategy
from lowerfunnel.index.ranking import Float32Array, Int32Array, Int64Array


class Flat:
    """Compares with every item; it has no width."""

    strategy: Strategy = "exact"
    growth = 1.0
    refine = 1

    def __init__(self, faiss_index: Any) -> None:
        self.faiss_index = faiss_index
        self.row_IE = rows_of_flat(faiss_index)
        self.widest = 1

    @classmethod
    def build(cls, vector_ID: Float32Array) -> "Flat":
        """Copy the vectors into FAISS."""
        index = require("faiss", extra="faiss").IndexFlatIP(vector_ID.shape[1])
        index.add(vector_ID)
        return cls(index)

    def candidates(
        self, query_QE: Float32Array, fetch: int, width: int, allowed: Allowed | None, most_ns: float = np.inf
    ) -> Int64Array:
        """Return the best `fetch` allowed items per query, -1 where a row has ended."""
        faiss = require("faiss", extra="faiss")
        parameters = faiss.SearchParameters(sel=selector(allowed))
        item_QF: Int64Array = self.faiss_index.search(query_QE, fetch, params=parameters)[1]
        return item_QF

    def cost_ns(self, width: int, allowed_share: float) -> float:
        """Return about how long one search takes."""
        return 36.0 * len(self.row_IE)

    def lost(self, width: int) -> Int32Array:
        """Return no item: all are compared."""
        return np.zeros(0, np.int32)
