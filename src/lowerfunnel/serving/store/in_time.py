"""Reads that are waited for no longer than their caller can wait, whatever holds them up.

A thread that is stuck in a system call (a disk that hangs, a connection that does not come about) cannot be called
back. So the read is done by a thread of this pool, and it is the waiting that ends. The hand-over costs about 20 us.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from lowerfunnel.errors import StoreError

T = TypeVar("T")


class InTime:
    """A pool of threads that read on behalf of callers who have a deadline.

    While all of them are stuck, later reads are not begun, and fail at their own deadlines. A process that ends waits for
    those that are stuck.

    Args:
        threads: Reads that may be under way at once.
        name: What is read from, for messages.
    """

    def __init__(self, threads: int, *, name: str) -> None:
        self._name = name
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="store reader")

    def call(self, read: Callable[[], T], *, timeout_s: float) -> T:
        """Return what `read` returns, or raise what it raises.

        Raises:
            StoreError: If it has not returned after `timeout_s` seconds, or the pool is closed.
        """
        try:
            future = self._pool.submit(read)
        except RuntimeError as error:
            raise StoreError(f"{self._name} is closed") from error
        try:
            return future.result(timeout_s)
        except TimeoutError as error:
            future.cancel()  # if no thread has begun it yet, none will
            raise StoreError(f"{self._name} did not answer within {timeout_s * 1000:.0f} ms") from error

    def close(self) -> None:
        """Let every thread end once it is done with what it is at."""
        self._pool.shutdown(wait=False, cancel_futures=True)
