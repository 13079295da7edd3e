"""Requests that wait at the same moment are answered by one call.

A call for sixteen requests costs less than sixteen calls, and while one runs the next requests gather by themselves: so
batches grow with the load, and an idle server answers at once. What it costs is a hop from one thread to another, and what
it gives shows under load alone: see `benchmarks/bench_query_tower.py`. On two cores, a caller alone waits .07 ms longer for
its vector; of sixteen that ask without a pause, the slowest in a hundred wait a third to a tenth as long, as nobody is
passed over, and a request takes a tenth to a quarter less of the processor.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from lowerfunnel.errors import UnavailableError
from lowerfunnel.serving.caught import Caught

Q = TypeVar("Q")
A = TypeVar("A")


class _Waiting(Generic[Q, A]):
    """One request on its way: its answer or its error, and whether there is one."""

    __slots__ = ("answer", "done", "error", "request")

    def __init__(self, request: Q) -> None:
        self.request = request
        self.done = threading.Event()
        self.answer: A | None = None
        self.error: BaseException | None = None


class MicroBatcher(Generic[Q, A]):
    """Runs a function of many requests for callers that each have one. `answer` may be called from many threads.

    A worker takes all that wait, up to `most`, and runs the function on them while the next ones gather. If the function
    fails, the requests of its call are run one by one, so that each caller gets its own answer or its own error.

    Args:
        run: Answers requests, in their order, one each. With several workers, called from several threads.
        most: Requests of one call, at most.
        workers: Threads that run it.
        wait_ms: How long a worker with fewer than `most` requests waits for more, counted from when it took the first
            one; 0 never waits.

    Raises:
        ValueError: If a size is below 1 or the wait negative.
    """

    def __init__(
        self, run: Callable[[Sequence[Q]], Sequence[A]], *, most: int = 64, workers: int = 1, wait_ms: float = 0.0
    ) -> None:
        if most < 1 or workers < 1 or not wait_ms >= 0:
            raise ValueError(
                f"most and workers must be at least 1 and wait_ms not negative, got {most}, {workers} and {wait_ms}"
            )
        self._run, self._most, self._wait_s = run, most, wait_ms / 1000
        self._queue: deque[_Waiting[Q, A]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._workers = [threading.Thread(target=self._work, daemon=True, name="micro-batcher") for _ in range(workers)]
        for worker in self._workers:
            worker.start()

    def answer(self, request: Q, *, timeout_s: float | None = None) -> A:
        """Return the answer to one request.

        Raises:
            TimeoutError: If none came within `timeout_s`. A request that nobody waits for any more is not run, unless it
                is running already.
            UnavailableError: If the batcher is closed.
            Exception: What the function raised for this request.
        """
        waiting: _Waiting[Q, A] = _Waiting(request)
        with self._changed:
            if self._closed:
                raise UnavailableError("this batcher is closed and takes no more requests; make a new one")
            self._queue.append(waiting)
            self._changed.notify()
        if not waiting.done.wait(timeout_s):
            with self._changed:
                if waiting in self._queue:
                    self._queue.remove(waiting)
            if not waiting.done.is_set():
                raise TimeoutError(f"no answer came within {timeout_s} s")
        if waiting.error is not None:
            raise waiting.error
        return waiting.answer  # type: ignore[return-value]  # done without an error: it is there

    def close(self) -> None:
        """Answer what waits, take nothing more, and end the workers. Closing twice is closing once."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def __enter__(self) -> "MicroBatcher[Q, A]":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _work(self) -> None:
        while batch := self._take():
            self._deliver(batch)

    def _take(self) -> list[_Waiting[Q, A]]:
        """Wait for requests and take them; none are left once the batcher is closed."""
        with self._changed:
            while True:
                while not self._queue:
                    if self._closed:
                        return []
                    self._changed.wait()
                until = time.monotonic() + self._wait_s
                while self._wait_s and len(self._queue) < self._most and not self._closed:
                    left_s = until - time.monotonic()
                    if left_s <= 0:
                        break
                    self._changed.wait(left_s)
                taken = [self._queue.popleft() for _ in range(min(self._most, len(self._queue)))]
                # Another worker, or their callers' impatience, may have taken all of them in the meantime.
                if taken:
                    return taken

    def _deliver(self, batch: list[_Waiting[Q, A]]) -> None:
        answers: Sequence[A] = ()
        with Caught() as caught:
            answers = self._run([waiting.request for waiting in batch])
            if len(answers) != len(batch):
                raise ValueError(f"{len(batch)} requests were run together and {len(answers)} answers came")
        if caught.error is not None and len(batch) > 1:
            for waiting in batch:
                self._deliver([waiting])
            return
        for place, waiting in enumerate(batch):
            waiting.error = caught.error
            waiting.answer = None if caught.error is not None else answers[place]
            waiting.done.set()
