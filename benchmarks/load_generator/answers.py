"""The answers of an HTTP/1.1 server, put together from the pieces in which they come."""

import re
from dataclasses import dataclass

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:[ \t]*close[ \t]*\r\n", re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"
_MOST_HEAD_BYTES = 65_536


class UnreadableAnswerError(ValueError):
    """What came is no answer of a known length."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer."""

    status: int
    body: bytes
    closes: bool
    """Whether the server closes the connection after it."""


class AnswerReader:
    """Reads one answer after another off one connection. An answer needs a Content-Length, as JSON answers have it."""

    def __init__(self) -> None:
        self._pieces = b""
        self._head: tuple[int, int, int, bool] | None = None

    @property
    def begun(self) -> bool:
        """Whether a part of an answer has come."""
        return bool(self._pieces)

    def feed(self, piece: bytes) -> Answer | None:
        """Take what came; return an answer if it is complete now.

        Raises:
            UnreadableAnswerError: If it is none, or more than one came: one at a time is asked for.
        """
        self._pieces = self._pieces + piece if self._pieces else piece
        if self._head is None:
            self._head = self._read_head()
            if self._head is None:
                return None
        status, start, stop, closes = self._head
        if len(self._pieces) < stop:
            return None
        if len(self._pieces) > stop:
            raise UnreadableAnswerError(
                f"{len(self._pieces) - stop} bytes came behind an answer that nothing asked for"
            )
        answer = Answer(status, self._pieces[start:stop], closes)
        self._pieces, self._head = b"", None
        return answer

    def _read_head(self) -> tuple[int, int, int, bool] | None:
        """Return status, start and end of the body, and whether the connection closes; None while the head is not whole."""
        end = self._pieces.find(_HEAD_END)
        if end < 0:
            if len(self._pieces) > _MOST_HEAD_BYTES:
                raise UnreadableAnswerError(f"the head of an answer is longer than {_MOST_HEAD_BYTES} bytes")
            return None
        head = self._pieces[: end + 2]
        if not head.startswith(b"HTTP/1.") or not head[9:12].isdigit():
            raise UnreadableAnswerError(f"an answer begins with {head[:40]!r}; HTTP/1.1 was expected")
        status, start = int(head[9:12]), end + len(_HEAD_END)
        length = _LENGTH.search(head)
        if length is None and status not in (204, 304):
            raise UnreadableAnswerError(f"an answer of status {status} has no Content-Length; chunks are not read")
        return status, start, start + (int(length[1]) if length else 0), _CLOSE.search(head) is not None
