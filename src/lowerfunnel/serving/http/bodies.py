"""Bodies: read with a ceiling and a time limit, decompressed with a ceiling.

What all requests hold together has a ceiling too: many bodies of a legal size are as heavy as one of an illegal size.
"""

import asyncio
import zlib
from collections.abc import Mapping

from starlette.types import Receive

from lowerfunnel.errors import LowerfunnelError
from lowerfunnel.serving.http.refusals import RefusalError, shed
from lowerfunnel.serving.http.settings import HttpConfig

# Each member of a gzip file costs a copy of all that follows it: thousands of empty ones would be a quadratic bomb.
_MOST_MEMBERS = 16


class ClientGoneError(LowerfunnelError):
    """The client closed its connection before its request was whole."""


class BodyReader:
    """Reads bodies of requests, one after another or many at a time, on one event loop."""

    def __init__(self, config: HttpConfig) -> None:
        self._most_bytes = config.most_body_bytes
        self._most_buffered = config.most_buffered_bytes
        self._timeout_s = config.body_timeout_s
        self.buffered_bytes = 0
        """Bytes held for requests that are not answered yet."""

    async def read(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """Return a JSON body as it was sent; `release` gives its bytes back.

        Raises:
            RefusalError: 415 for another type, 413 for too many bytes, 408 for too slow a client, 503 if all bodies together
                are too many bytes.
            ClientGoneError: If the client went away.
        """
        self._look_at(headers)
        chunks: list[bytes] = []
        held = 0
        try:
            async with asyncio.timeout(self._timeout_s):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGoneError("the client closed its connection before its request was whole")
                    chunk = message.get("body", b"")
                    held += len(chunk)
                    self.buffered_bytes += len(chunk)
                    if held > self._most_bytes:
                        raise self._too_large(f"more than {self._most_bytes} bytes")
                    if self.buffered_bytes > self._most_buffered:
                        raise shed("The server holds as many bytes of requests as it may; try again.")
                    chunks.append(chunk)
                    more = message.get("more_body", False)
        except TimeoutError as error:
            self.release(held)
            raise RefusalError(408, "too_slow", f"The body did not come within {self._timeout_s:g} s.") from error
        except LowerfunnelError:
            self.release(held)
            raise
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def release(self, size_bytes: int) -> None:
        """Say that a body is not held any more."""
        self.buffered_bytes -= size_bytes

    def _look_at(self, headers: Mapping[bytes, bytes]) -> None:
        kind = headers.get(b"content-type", b"")
        if kind != b"application/json":
            name, _, parameters = kind.partition(b";")
            charset = parameters.strip().lower()
            if name.strip().lower() != b"application/json" or charset not in (
                b"",
                b"charset=utf-8",
                b'charset="utf-8"',
            ):
                raise RefusalError(
                    415,
                    "unsupported_media_type",
                    "The body must be JSON in UTF-8; send it with 'Content-Type: application/json'.",
                )
        encoding = headers.get(b"content-encoding", b"identity").strip().lower()
        if encoding not in (b"identity", b"gzip"):
            raise RefusalError(
                415,
                "unsupported_encoding",
                "The body may be sent as it is or compressed by gzip, and not in another way.",
                headers={"accept-encoding": "identity, gzip"},
            )
        length = headers.get(b"content-length")
        if length is not None and length.isdigit() and (len(length) > 18 or int(length) > self._most_bytes):
            raise self._too_large("a body that is larger by its Content-Length")

    def _too_large(self, came: str) -> RefusalError:
        return RefusalError(
            413, "too_large", f"The body may have {self._most_bytes} bytes, and {came} came; send less at a time."
        )


def plain_body(body: bytes, headers: Mapping[bytes, bytes], *, most_bytes: int) -> bytes:
    """Return a body without its compression; may take tens of milliseconds, so it is called in a thread.

    Raises:
        RefusalError: 413 if it would be more than `most_bytes`, 400 if it is not what gzip writes.
    """
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"gzip":
        return body
    pieces: list[bytes] = []
    room = most_bytes
    rest = body
    for _ in range(_MOST_MEMBERS):
        reader = zlib.decompressobj(wbits=31)
        try:
            piece = reader.decompress(rest, room + 1)
        except zlib.error as error:
            raise RefusalError(
                400, "bad_gzip", "The body is not what gzip writes, and Content-Encoding says so."
            ) from error
        room -= len(piece)
        if room < 0:
            raise RefusalError(
                413,
                "too_large",
                f"The body may have {most_bytes} bytes when decompressed, and has more; send less at a time.",
            )
        pieces.append(piece)
        if not reader.eof:
            raise RefusalError(400, "bad_gzip", "The compressed body ends too early.")
        rest = reader.unused_data
        if not rest:
            return b"".join(pieces)
    raise RefusalError(400, "bad_gzip", f"The compressed body has more than {_MOST_MEMBERS} members; send one.")
