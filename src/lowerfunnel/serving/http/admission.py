"""Admission: how many requests run, how many may wait, and what becomes of the rest.

A lane is a number of threads and a number of places to wait. Who finds neither is shed at once: an answer that comes
after its deadline costs as much as one in time, and a queue without an end makes every answer late.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from lowerfunnel.serving.caught import Caught
from lowerfunnel.serving.http.refusals import shed

T = TypeVar("T")


class _Job(Generic[T]):
    """Work, and the future on the event loop that awaits what becomes of it."""

    def __init__(self, work: Callable[[], T]) -> None:
        self.work = work
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self.loop.create_future()
        self.result: T
        self.error: BaseException | None = None

    def run(self) -> None:
        """Do the work; what it raises is raised again where the future is awaited."""
        with Caught() as caught:
            self.result = self.work()
        self.error = caught.error

    def settle(self) -> None:
        """Wake who waits; on the event loop. Who was cancelled waits no more."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class Lane:
    """Threads that run blocking work for one event loop, with a bound on what waits.

    The threads are daemons: work that never ends must not keep the process from ending.
    """

    def __init__(self, name: str, *, threads: int, waiting: int) -> None:
        self.name = name
        self._most = threads + waiting
        self._held = 0
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True) for number in range(threads)
        ]
        self._started = False

    @property
    def held(self) -> int:
        """Work that runs or waits."""
        return self._held

    async def run(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, run in a thread.

        Raises:
            RefusalError: 503 if all threads are busy and all places to wait are taken.
        """
        with self._lock:
            if self._held >= self._most:
                raise shed(f"The server has {self._most} requests of this kind in hand and takes no more; try again.")
            self._held += 1
            if not self._started:
                self._started = True
                for thread in self._threads:
                    thread.start()
        job = _Job(work)
        self._queue.put(job)
        return await job.future

    def close(self) -> None:
        """Let the threads end once they have done what waits."""
        for _ in self._threads:
            self._queue.put(None)

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            job.run()
            with self._lock:
                self._held -= 1
            try:
                job.loop.call_soon_threadsafe(job.settle)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return
