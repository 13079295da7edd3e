"""What a way of FAISS to propose items must offer.

Shape letters: Q queries, I items, E width of the rows, F fetched candidates.
"""

from typing import Any, Protocol, runtime_checkable

from lowerfunnel.index.allowed import Allowed
from lowerfunnel.index.plan import Strategy
from lowerfunnel.index.ranking import Float32Array, Int32Array, Int64Array


@runtime_checkable
class Method(Protocol):
    """A way of FAISS to propose items."""

    strategy: Strategy
    growth: float
    """How its width must grow with the depth of a search, as a power."""
    faiss_index: Any
    row_IE: Float32Array
    """The items' vectors, filled up with what the method adds; queries are filled up with zeros."""
    refine: int
    """How many candidates it brings for one wanted item."""
    widest: int
    """A search as wide as this may as well be exact."""

    def candidates(
        self, query_QE: Float32Array, fetch: int, width: int, allowed: Allowed | None, most_ns: float
    ) -> Int64Array:
        """Return `fetch` or more allowed items per query, -1 where a row has ended.

        A method that can tell how long a query will take returns nothing for one that takes longer than `most_ns`.
        """
        ...

    def cost_ns(self, width: int, allowed_share: float) -> float:
        """Return about how long one search takes, on one thread."""
        ...

    def lost(self, width: int) -> Int32Array:
        """List the items that a search of a width, for the item itself, does not propose."""
        ...
