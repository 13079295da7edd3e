"""The load generator against real servers: it charges a stall to all whom it kept waiting, and loses count of nothing."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from load_generator import LoadRequest, LoadResult, precise_loop, run_load
from load_generator.answers import AnswerReader, UnreadableAnswerError

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def against(handler: Handler, *, rate_per_s: float = 100, duration_s: float = 0.5, **settings: Any) -> LoadResult:
    """Run a load against a server of which `handler` serves each connection."""

    serving = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        try:
            await handler(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def measure() -> LoadResult:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            settings.setdefault("requests", requests())
            settings.setdefault("connections", 8)
            try:
                return await run_load("127.0.0.1", port, rate_per_s=rate_per_s, duration_s=duration_s, **settings)
            finally:
                await asyncio.gather(*serving)

    with asyncio.Runner(loop_factory=precise_loop) as runner:
        return runner.run(measure())


def requests() -> Iterator[LoadRequest]:
    number = 0
    while True:
        yield LoadRequest("/answer", b'{"k": 1}', about=number)
        number += 1


async def read_request(reader: asyncio.StreamReader) -> bytes | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return head + await reader.readexactly(length)


async def prompt(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await read_request(reader) is not None:
        writer.write(OK)


@given(
    bodies=st.lists(st.binary(max_size=50), min_size=1, max_size=4),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=20),
    name=st.sampled_from(["Content-Length", "content-length", "CONTENT-LENGTH"]),
)
def test_an_answer_is_the_same_in_whatever_pieces_it_comes(bodies, cuts, name):
    reader = AnswerReader()
    for body in bodies:
        whole = f"HTTP/1.1 201 Created\r\nserver: s\r\n{name}: {len(body)}\r\n\r\n".encode() + body
        answers, place, step = [], 0, 0
        while place < len(whole):
            size = cuts[step % len(cuts)]
            answers.append(reader.feed(whole[place : place + size]))
            place, step = place + size, step + 1
        assert [answer is None for answer in answers] == [True] * (len(answers) - 1) + [False]
        assert (answers[-1].status, answers[-1].body, answers[-1].closes) == (201, body, False)


@pytest.mark.parametrize(
    "sent",
    [
        b"SMTP ready\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        OK + b"more",
        b"HTTP/1.1 200 OK\r\n" + b"x-filler: " + b"y" * 70_000,
    ],
)
def test_what_is_no_answer_of_a_known_length_is_refused(sent):
    with pytest.raises(UnreadableAnswerError):
        AnswerReader().feed(sent)


def test_an_answer_that_closes_its_connection_says_so():
    answer = AnswerReader().feed(b"HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    assert answer is not None
    assert (answer.status, answer.closes) == (503, True)


def test_every_request_is_sent_once_and_counted_once():
    seen: Counter[int] = Counter()

    def look(request: LoadRequest, status: int, body: bytes, latency_ms: float) -> None:
        seen[request.about] += 1
        assert (status, body) == (200, b"hi")
        assert latency_ms >= 0

    result = against(prompt, on_answer=look, warm_up_s=0.2)
    assert len(result) == 50
    assert result.statuses == {200: 50}
    assert result.failures == {}
    assert set(seen.values()) == {1}
    assert sorted(seen) == list(range(70))


def test_a_poisson_load_draws_the_same_arrivals_again_from_the_same_seed():
    counts = [len(against(prompt, generator=np.random.default_rng(5))) for _ in range(2)]
    assert counts[0] == counts[1] != 50


def test_a_stall_is_charged_to_all_who_were_due_in_it():
    """200 ms without any answer at 100 a second: those due in it waited 200, 190, 180 ms and so on."""
    stalled: list[float] = []

    async def stalls_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while await read_request(reader) is not None:
            if not stalled:
                stalled.append(loop.time() + 0.2)
            await asyncio.sleep(max(stalled[0] - loop.time(), 0))
            writer.write(OK)

    result = against(stalls_once, connections=1)
    assert len(result) == 50
    assert result.most_waiting >= 15
    expected_ms = 200 - 10 * np.arange(15)
    # A busy machine may add to a wait, and nothing takes away from it.
    assert (result.latency_ms_N[:15] >= expected_ms - 2).all()
    assert result.percentile_ms(99) == pytest.approx(result.latency_ms_N.max())


def test_a_slow_server_does_not_slow_the_arrivals_down():
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_request(reader) is not None:
            await asyncio.sleep(0.05)
            writer.write(OK)

    result = against(slow, connections=1, rate_per_s=100, duration_s=0.3)
    # One connection and 50 ms each: 20 a second come back of the 100 that are due.
    assert len(result) == 30
    assert result.offered_per_s == pytest.approx(100)
    assert result.achieved_per_s <= 21
    assert result.latency_ms_N[-1] >= 30 * 50 - 290 - 5


def test_a_request_without_an_answer_is_given_up_and_the_others_go_on():
    calls = 0

    async def one_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        while await read_request(reader) is not None:
            calls += 1
            if calls == 3:
                await reader.read()
                break
            writer.write(OK)

    result = against(one_silent, timeout_s=0.3)
    assert result.failures == {"timeout": 1}
    assert result.statuses == {200: 49}
    assert result.failed == 1
    assert result.latency_ms_N[result.status_N == 0].min() >= 300


def test_a_broken_connection_fails_what_was_under_way_on_it_and_is_made_again():
    calls = 0

    async def breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        while await read_request(reader) is not None:
            calls += 1
            if calls % 10 == 0:
                break
            writer.write(OK)

    result = against(breaks, connections=2)
    assert result.failures == {"disconnected": 5}
    assert result.statuses == {200: 45}
    assert calls == 50, "nothing is sent twice"


def test_a_server_that_closes_politely_costs_no_request():
    async def one_each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await read_request(reader) is not None:
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")

    assert against(one_each).statuses == {200: 50}


def test_what_is_wrong_with_answers_is_counted_and_what_breaks_the_check_ends_the_load():
    assert against(prompt, on_answer=lambda *_: "not sorted").complaints == {"not sorted": 50}

    def broken(request: LoadRequest, status: int, body: bytes, latency_ms: float) -> None:
        raise KeyError("version")

    with pytest.raises(KeyError, match="version"):
        against(prompt, on_answer=broken)


def test_a_load_that_runs_out_of_requests_ends_early():
    some = [LoadRequest("/answer", b"{}") for _ in range(7)]
    result = against(prompt, requests=some, duration_s=60)
    assert len(result) == 7
    assert result.offered_per_s == pytest.approx(100)


def test_a_load_on_nothing_is_an_error_before_it_begins():
    async def on_nothing() -> LoadResult:
        server = await asyncio.start_server(prompt, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        return await run_load("127.0.0.1", port, requests(), 10, 1, 1)

    with asyncio.Runner() as runner, pytest.raises(OSError, match="onnect"):
        runner.run(on_nothing())


@pytest.mark.parametrize("wrong", [{"rate_per_s": 0}, {"duration_s": -1}, {"connections": 0}, {"timeout_s": 0}])
def test_a_load_of_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match="above 0"):
        against(prompt, **wrong)


def test_percentiles_by_hand():
    result = against(prompt, requests=[LoadRequest("/", b"")] * 4)
    result.latency_ms_N[:] = [4.0, 1.0, 3.0, 2.0]
    result.status_N[:] = [200, 200, 503, 200]
    assert [result.percentile_ms(percent) for percent in (0, 50, 99, 100)] == [1.0, 3.0, 4.0, 4.0]
    assert result.percentile_ms(50, status=200) == 2.0
    assert result.failed == 1
