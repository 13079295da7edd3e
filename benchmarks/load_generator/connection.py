"""One keep-alive connection: a request at a time, and back to its pool when the answer is there."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from load_generator.answers import Answer, AnswerReader, UnreadableAnswerError


@dataclass(slots=True)
class LoadRequest:
    """One request as it goes out."""

    path: str
    body: bytes
    method: str = "POST"
    about: object = None
    """Whatever the caller wants to find again beside the answer."""


class Connection(asyncio.Protocol):
    """Sends and reads on one socket.

    Args:
        on_answer: Called with the connection and an answer.
        on_loss: Called once with the connection and why it was lost, in the words of `LoadResult.failures`.
    """

    def __init__(
        self, on_answer: Callable[["Connection", Answer], None], on_loss: Callable[["Connection", str], None]
    ) -> None:
        self.asked: tuple[LoadRequest, float, int] | None = None
        """What is under way: the request, when it was due (monotonic clock, s), and its row in the record."""
        self._on_answer = on_answer
        self._on_loss = on_loss
        self._reader = AnswerReader()
        self._transport: asyncio.Transport | None = None
        self._why = "disconnected"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes, and of the same form.
        self._transport = cast("asyncio.Transport", transport)

    def send(self, head: bytes, body: bytes) -> None:
        """Send one request in one piece."""
        assert self._transport is not None  # noqa: S101
        self._transport.write(head + body)

    def data_received(self, data: bytes) -> None:
        try:
            answer = self._reader.feed(data)
            if answer is not None and self.asked is None:
                raise UnreadableAnswerError("an answer came that nothing asked for")
        except UnreadableAnswerError:
            self.drop("unreadable")
            return
        if answer is not None:
            self._on_answer(self, answer)

    def drop(self, why: str) -> None:
        """Close at once; `on_loss` is told why."""
        self._why = why
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_loss(self, self._why)
