"""Timelines from the online store, in time or not at all.

The store itself stops waiting in time (`OnlineStore.timeline`). Here stands what spares the answers that wait: a store that
failed several times in a row is left alone for a while, and then one read alone finds out whether it is back.
"""

import threading
import time

from lowerfunnel.errors import StoreError
from lowerfunnel.serving.requests import Id
from lowerfunnel.serving.settings import StoreReadConfig
from lowerfunnel.serving.store.contract import OnlineStore
from lowerfunnel.serving.user_timeline import UserTimeline


class TimelineReader:
    """Reads timelines within a time limit, and leaves a failing store alone for a while."""

    def __init__(self, store: OnlineStore, config: StoreReadConfig) -> None:
        self._store = store
        self._config = config
        self._lock = threading.Lock()
        self._failures = 0
        self._resting_until_s = 0.0

    def read(self, user_id: Id, *, before_us: int | None, timeout_s: float) -> UserTimeline:
        """Return what a user did strictly before a point in time; `timeout_s` bounds the wait.

        Raises:
            StoreError: If it did not come in time, the store failed, or is being left alone.
        """
        self._enter()
        began_s = time.monotonic()
        try:
            timeline = self._store.timeline(user_id, before_us=before_us, timeout_s=timeout_s)
        except StoreError:
            # That it took longer than somebody in a hurry could wait says nothing about the store; else a few requests with
            # deadlines of a millisecond would keep everybody from it.
            hurried = timeout_s < self._config.timeout_ms / 1000 and time.monotonic() - began_s >= timeout_s
            if hurried:
                raise
            with self._lock:
                self._failures += 1
                if self._failures >= self._config.failures:
                    self._resting_until_s = time.monotonic() + self._config.rest_s
            raise
        if self._failures:
            with self._lock:
                self._failures, self._resting_until_s = 0, 0.0
        return timeline

    @property
    def resting(self) -> bool:
        """Whether the store is being left alone after failures."""
        return time.monotonic() < self._resting_until_s

    def _enter(self) -> None:
        if not self._failures:
            return
        now_s = time.monotonic()
        with self._lock:
            if now_s < self._resting_until_s:
                raise StoreError(f"the online store is left alone after {self._failures} failed reads in a row")
            if self._failures >= self._config.failures:
                # The rest is over, and this read alone finds out whether the store is back.
                self._resting_until_s = now_s + self._config.rest_s
