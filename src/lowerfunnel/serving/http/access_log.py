"""One JSON line a request, written by a thread of its own: a slow disk or terminal blocks no request."""

import json
import queue
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO


class AccessLog:
    """Writes lines of JSON to a stream, in order.

    When more than `most_waiting` lines wait, further ones are dropped, and the next line that goes through says how many
    under `dropped`.
    """

    def __init__(self, stream: TextIO, *, most_waiting: int) -> None:
        self._stream = stream
        self._most_waiting = most_waiting
        self._queue: queue.SimpleQueue[dict[str, object] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._dropped = 0
        self.dropped_in_all = 0
        """Lines that were never written."""
        self._thread = threading.Thread(target=self._work, name="access-log", daemon=True)
        self._started = False

    def write(self, level: str, fields: Mapping[str, object]) -> None:
        """Queue one line; never blocks. `ts` and `level` come first in it."""
        line: dict[str, object] = {"ts": datetime.now(UTC).isoformat(), "level": level, **fields}
        with self._lock:
            if not self._started:
                self._started = True
                self._thread.start()
            if self._queue.qsize() >= self._most_waiting:
                self._dropped += 1
                self.dropped_in_all += 1
                return
            if self._dropped:
                line["dropped"] = self._dropped
                self._dropped = 0
            self._queue.put(line)

    def close(self, *, timeout_s: float = 5.0) -> None:
        """Write what waits, as far as the stream takes it within `timeout_s`."""
        if self._started:
            self._queue.put(None)
            self._thread.join(timeout_s)

    def _work(self) -> None:
        while (line := self._queue.get()) is not None:
            try:
                self._stream.write(json.dumps(line, default=str) + "\n")
                if self._queue.empty():
                    self._stream.flush()
            except (OSError, ValueError):
                # A full disk or a closed stream: the line is lost, requests are not.
                with self._lock:
                    self.dropped_in_all += 1
                    self._dropped += 1
