"""Results of admin requests, kept for a repeat with the same `Idempotency-Key`.

They are kept in memory: a restart forgets them, and so does a new result when there are too many.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from lowerfunnel.serving.http.refusals import RefusalError

MOST_KEY_CHARACTERS = 255


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What was answered."""

    status: int
    body: bytes


class IdempotentResults:
    """Results by key, bounded; used on one event loop."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._results: OrderedDict[str, tuple[bytes, Result | None]] = OrderedDict()

    def begin(self, key: str, *, asked: bytes) -> Result | None:
        """Return the result of the first request with this key; None if this one is the first, and is begun by that.

        Raises:
            RefusalError: 422 if the first one asked for something else, 409 if it is not done yet, 503 if as many requests
                are not done yet as results are kept.
        """
        print_of_asked = hashlib.sha256(asked).digest()
        found = self._results.get(key)
        if found is None:
            self._make_room()
            self._results[key] = (print_of_asked, None)
            return None
        first_print, result = found
        if first_print != print_of_asked:
            raise RefusalError(
                422,
                "idempotency_key_reused",
                "This Idempotency-Key came before with another request; choose a new one.",
            )
        if result is None:
            raise RefusalError(
                409,
                "in_progress",
                "The first request with this Idempotency-Key is not done yet; ask again.",
                headers={"retry-after": "1"},
            )
        return result

    def finish(self, key: str, result: Result) -> None:
        """Keep a result."""
        found = self._results.get(key)
        if found is not None:
            self._results[key] = (found[0], result)

    def forget(self, key: str) -> None:
        """Let the next request with this key be the first: this one was not answered."""
        self._results.pop(key, None)

    def __len__(self) -> int:
        return len(self._results)

    def _make_room(self) -> None:
        if len(self._results) < self._most:
            return
        for key, (_, result) in self._results.items():
            if result is not None:
                del self._results[key]
                return
        raise RefusalError(503, "overloaded", "Too many admin requests are not done yet.", headers={"retry-after": "1"})
