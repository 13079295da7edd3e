"""Reading and decompressing bodies."""

import asyncio
import gzip
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.serving.http.bodies import BodyReader, ClientGoneError, plain_body
from lowerfunnel.serving.http.refusals import RefusalError
from lowerfunnel.serving.http.settings import HttpConfig

JSON = {b"content-type": b"application/json"}
GZIP = {**JSON, b"content-encoding": b"gzip"}
SMALL = HttpConfig(most_body_bytes=100, most_buffered_bytes=250, body_timeout_s=0.05)


def read(reader: BodyReader, chunks: list[bytes], headers=JSON, *, ends: str = "whole") -> bytes:
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    if ends == "whole":
        messages.append({"type": "http.request", "body": b"", "more_body": False})
    elif ends == "gone":
        messages.append({"type": "http.disconnect"})

    async def receive():
        if not messages:
            await asyncio.sleep(60)
        return messages.pop(0)

    return asyncio.run(reader.read(headers, receive))


def status(call, *arguments, **named) -> int:
    with pytest.raises(RefusalError) as caught:
        call(*arguments, **named)
    return caught.value.status


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_a_body_is_its_chunks_in_order(chunks):
    reader = BodyReader(SMALL)
    body = read(reader, chunks)
    assert body == b"".join(chunks)
    assert reader.buffered_bytes == len(body)
    reader.release(len(body))
    assert reader.buffered_bytes == 0


def test_a_body_of_the_limit_passes_and_one_byte_more_does_not():
    assert len(read(BodyReader(SMALL), [b"x" * 50, b"x" * 50])) == 100
    assert status(read, BodyReader(SMALL), [b"x" * 50, b"x" * 51]) == 413
    assert status(read, BodyReader(SMALL), [], {**JSON, b"content-length": b"101"}) == 413
    assert status(read, BodyReader(SMALL), [], {**JSON, b"content-length": b"9" * 4000}) == 413


def test_all_bodies_together_have_a_limit_and_a_refused_one_gives_its_bytes_back():
    reader = BodyReader(SMALL)
    read(reader, [b"x" * 100])
    read(reader, [b"x" * 100])
    assert status(read, reader, [b"x" * 60]) == 503
    assert reader.buffered_bytes == 200
    reader.release(100)
    assert read(reader, [b"x" * 60])


def test_a_slow_body_and_one_whose_client_left_give_their_bytes_back():
    reader = BodyReader(SMALL)
    assert status(read, reader, [b"x" * 60], ends="late") == 408
    with pytest.raises(ClientGoneError):
        read(reader, [b"x" * 60], ends="gone")
    assert reader.buffered_bytes == 0


@pytest.mark.parametrize(
    "kind", [b"", b"text/plain", b"application/x-www-form-urlencoded", b"application/json; charset=latin-1", b"json"]
)
def test_what_is_not_called_json_is_not_read(kind):
    assert status(read, BodyReader(SMALL), [b"{}"], {b"content-type": kind}) == 415


@pytest.mark.parametrize(
    "kind", [b"application/json", b"Application/JSON; charset=UTF-8", b'application/json;charset="utf-8"']
)
def test_json_may_be_called_so_in_several_ways(kind):
    assert read(BodyReader(SMALL), [b"{}"], {b"content-type": kind}) == b"{}"


@pytest.mark.parametrize("encoding", [b"br", b"deflate", b"zstd", b"gzip, gzip", b""])
def test_only_gzip_is_decompressed(encoding):
    assert status(read, BodyReader(SMALL), [b"{}"], {**JSON, b"content-encoding": encoding}) == 415


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5), st.integers(0, 9))
def test_decompressing_undoes_gzip_with_several_members_too(pieces, level):
    body = b"".join(gzip.compress(piece, level) for piece in pieces)
    assert plain_body(body, GZIP, most_bytes=1000) == b"".join(pieces)
    assert plain_body(body, JSON, most_bytes=1) == body


@given(st.integers(0, 3000), st.integers(1, 3000))
def test_the_ceiling_is_exact(size, most):
    body = gzip.compress(b"x" * size)
    if size > most:
        assert status(plain_body, body, GZIP, most_bytes=most) == 413
    else:
        assert len(plain_body(body, GZIP, most_bytes=most)) == size


@given(st.binary(min_size=1, max_size=300), st.data())
def test_a_body_cut_short_or_changed_is_refused_or_whole(plain, data):
    body = gzip.compress(plain)
    cut = data.draw(st.integers(0, len(body) - 1))
    assert status(plain_body, body[:cut], GZIP, most_bytes=1000) == 400
    place = data.draw(st.integers(0, len(body) - 1))
    changed = bytearray(body)
    changed[place] ^= 1 << data.draw(st.integers(0, 7))
    # The header holds a time, a name and a system that say nothing of the content; all else is checked.
    assert plain_or_refused(bytes(changed)) in (plain, None)


def plain_or_refused(body: bytes) -> bytes | None:
    try:
        return plain_body(body, GZIP, most_bytes=1000)
    except RefusalError:
        return None


def test_a_bomb_takes_no_more_memory_than_the_ceiling():
    most = 1024 * 1024
    bomb = gzip.compress(b"\0" * (200 * most))
    tracemalloc.start()
    try:
        assert status(plain_body, bomb, GZIP, most_bytes=most) == 413
        assert tracemalloc.get_traced_memory()[1] < 4 * most
    finally:
        tracemalloc.stop()


def test_thousands_of_empty_members_are_refused():
    assert status(plain_body, gzip.compress(b"") * 50_000, GZIP, most_bytes=1000) == 400
