"""What lies between numpy's arrays and FAISS's memory.

Shape letters: I items, E width of the rows.
"""

from types import TracebackType
from typing import Any

import numpy as np

from lowerfunnel.errors import require
from lowerfunnel.index.allowed import Allowed
from lowerfunnel.index.ranking import Float32Array


def rows_of_flat(flat: Any) -> Float32Array:
    """Return the rows of a flat FAISS index without a copy: they are gone when it is, and must not be changed."""
    faiss = require("faiss", extra="faiss")
    items, width = int(flat.ntotal), int(flat.d)
    if items == 0:
        return np.zeros((0, width), np.float32)
    row_IE: Float32Array = faiss.rev_swig_ptr(flat.get_xb(), items * width).reshape(items, width)
    return row_IE


def selector(allowed: Allowed | None) -> Any:
    """Return FAISS's own form of a set of items."""
    if allowed is None:
        return None
    faiss = require("faiss", extra="faiss")
    return faiss.IDSelectorBitmap(allowed.word_W.astype("<u8", copy=False).view(np.uint8))


class Threads:
    """Has FAISS use some number of OpenMP threads for calls of this thread, and puts the former number back."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._before = 0

    def __enter__(self) -> None:
        faiss = require("faiss", extra="faiss")
        self._before = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(self._threads)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        require("faiss", extra="faiss").omp_set_num_threads(self._before)
