"""Lanes: how much runs, how much waits, and that the rest is shed at once."""

import asyncio
import threading
import time

import pytest

from lowerfunnel.serving.http.admission import Lane
from lowerfunnel.serving.http.refusals import RefusalError


def test_more_than_runs_and_waits_is_shed_at_once_with_a_time_to_come_back():
    async def run():
        lane = Lane("t", threads=2, waiting=3)
        gate = threading.Event()
        running = [asyncio.create_task(lane.run(gate.wait)) for _ in range(5)]
        await asyncio.sleep(0.05)
        assert lane.held == 5
        began = time.perf_counter()
        for _ in range(20):
            with pytest.raises(RefusalError) as caught:
                await lane.run(gate.wait)
            assert caught.value.status == 503
            assert int(caught.value.headers["retry-after"]) >= 1
        assert time.perf_counter() - began < 0.5
        gate.set()
        assert await asyncio.gather(*running) == [True] * 5
        assert await lane.run(lambda: 7) == 7
        assert lane.held == 0
        lane.close()

    asyncio.run(run())


def test_no_more_runs_at_once_than_there_are_threads():
    async def run():
        lane = Lane("t", threads=3, waiting=100)
        lock = threading.Lock()
        now, most = 0, 0

        def work():
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.005)
            with lock:
                now -= 1

        await asyncio.gather(*[lane.run(work) for _ in range(50)])
        assert most == 3
        lane.close()

    asyncio.run(run())


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3)])
def test_whatever_the_work_raises_is_raised_where_it_is_awaited_and_the_thread_lives_on(error):
    async def run():
        lane = Lane("t", threads=1, waiting=1)

        def work():
            raise error

        # What ends a program would end the event loop; here it must come back as what it is.
        with pytest.raises(type(error)):
            await lane.run(work)
        assert await lane.run(lambda: 1) == 1
        assert lane.held == 0
        lane.close()

    asyncio.run(run())


def test_who_stopped_waiting_holds_a_place_until_the_work_is_done():
    async def run():
        lane = Lane("t", threads=1, waiting=0)
        gate = threading.Event()
        task = asyncio.create_task(lane.run(gate.wait))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(RefusalError):
            await lane.run(gate.wait)
        gate.set()
        await asyncio.sleep(0.1)
        assert await lane.run(lambda: 1) == 1
        lane.close()

    asyncio.run(run())


def test_threads_end_with_the_lane():
    async def run():
        lane = Lane("ending", threads=2, waiting=0)
        await lane.run(lambda: 1)
        lane.close()

    asyncio.run(run())
    until = time.monotonic() + 5
    while any(t.name.startswith("ending") for t in threading.enumerate()) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(t.name.startswith("ending") for t in threading.enumerate())
