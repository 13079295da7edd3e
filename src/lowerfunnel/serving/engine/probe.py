"""Recall of live answers, measured in the background: now and then one of the latest queries is searched exactly too.

Shape letters: E width of the vectors, K length of a list.
"""

import threading
from collections.abc import Callable

import numpy as np

from lowerfunnel.index.allowed import Allowed
from lowerfunnel.index.contract import Index
from lowerfunnel.serving.engine.answering import Asked
from lowerfunnel.serving.engine.live import LiveVersion
from lowerfunnel.serving.metrics import ServerMetrics
from lowerfunnel.serving.recent import RecentAnswers
from lowerfunnel.serving.settings import ProbeConfig
from lowerfunnel.serving.versions.loaded import Float32Array

_SLICE_ITEMS = 32_768
"""Items searched exactly in one go: 2 ms; a million at once would keep a core from answers for 40."""

_PAUSE_S = 0.02
"""Seconds between two slices, so that answers come first."""


def exact_recall(
    index: Index, reference: Index, query_E: Float32Array, k: int, *, pause: Callable[[], object] = lambda: None
) -> float:
    """Return the share of the `k` best items that the index finds, counted by score: equal ones stand for each other.

    Args:
        index: What answers.
        reference: Exact search over the same items; it is asked slice by slice.
        query_E: The query.
        k: Length of the lists.
        pause: Called between two slices.
    """
    found = index.search(query_E[None, :], k)
    best_K = np.zeros(0, np.float32)
    for start in range(0, reference.items, _SLICE_ITEMS):
        part = np.arange(start, min(start + _SLICE_ITEMS, reference.items))
        ranking = reference.search(
            query_E[None, :], min(k, len(part)), allowed=Allowed.of_places(part, items=reference.items)
        )
        best_K = np.sort(np.concatenate([best_K, ranking.score_QK[0, : int(ranking.lengths[0])]]))[-k:]
        pause()
    lowest = best_K.min(initial=np.inf)
    wanted = len(best_K)
    reached = int((found.score_QK[0] >= lowest - 1e-6 * abs(lowest)).sum()) if wanted else 0
    return min(reached, wanted) / wanted if wanted else 1.0


class RecallProbe:
    """Checks one query of the latest every so often, on a thread of its own."""

    def __init__(self, config: ProbeConfig, *, metrics: ServerMetrics, recent: RecentAnswers) -> None:
        self._config, self._metrics, self._recent = config, metrics, recent
        self._latest: tuple[LiveVersion, dict[str, Float32Array]] | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        if config.every_s > 0:
            self._thread = threading.Thread(target=self._run, name="recall-probe", daemon=True)
            self._thread.start()

    def offer(self, live: LiveVersion, one: Asked) -> None:
        """Take a query that may be checked; the latest one stays."""
        if self._thread is not None:
            self._latest = (live, one.vectors)

    def let_go(self) -> None:
        """Forget the query that waits, and with it the version that answered it."""
        self._latest = None

    def close(self) -> None:
        """Stop."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=10.0)

    def _pause(self) -> None:
        self._stopping.wait(_PAUSE_S)

    def _run(self) -> None:
        while not self._stopping.wait(self._config.every_s):
            self._check_latest()

    def _check_latest(self) -> None:
        latest, self._latest = self._latest, None
        if latest is None:
            return
        live, vectors = latest
        for name, query_E in vectors.items():
            index = live.loaded.generators[name].index
            if index.exact is None:
                continue
            k = min(self._config.k, live.snapshot_items)
            recall = exact_recall(index, index.exact, query_E, k, pause=self._pause)
            self._metrics.observe_probe(recall)
            self._recent.observe_probe(recall)
