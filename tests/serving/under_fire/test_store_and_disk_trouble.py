"""A store that is killed, slow or full under load: answers go on and say what they lack, writes are refused and not lost."""

import asyncio
import contextlib
import json
import subprocess
import time

import numpy as np
import pytest

AT = "2030-01-01T00:00:00Z"

pytestmark = pytest.mark.slow


def test_redis_stopped_and_started_under_load(serve, load, log, users, state, start_redis):
    from load_generator.candidate_mix import candidate_requests
    from load_generator.run import run_load
    from load_generator.writers import EventWriter

    redis = start_redis()
    (state / "loaded.json").unlink()  # this store is another one, and empty
    with serve(state, "--store", redis.url) as server:
        whole = server.candidates(user_id=users[0], at=AT)
        assert whole["known_user"]
        degraded = []

        def note(request, status, body, latency_ms):
            if status != 200:
                return f"status {status}"
            degraded.append(bool(json.loads(body)["degraded"]))
            return None

        async def interrupt():
            await asyncio.sleep(2.0)
            await asyncio.to_thread(redis.kill)
            await asyncio.sleep(3.0)
            await asyncio.to_thread(redis.start)

        wrong = []
        writer = EventWriter(users[1:], log.item_id_I, np.random.default_rng(1), prefix="r", batch=2)

        def note_write(request, status, body, latency_ms):
            if status not in (200, 503):
                wrong.append((status, body))
            return writer.note(request, status, body, latency_ms)

        asked = candidate_requests(log, np.random.default_rng(0), k=20, known_share=1.0, deadline_ms=5000)
        to = (server.server.host, server.server.port)
        result, written, _ = load(
            run_load(*to, asked, 30, 9.0, 4, on_answer=note, timeout_s=20.0),
            run_load(*to, writer.requests(), 10, 9.0, 2, on_answer=note_write, timeout_s=20.0),
            interrupt(),
        )
        print(
            f"{len(result)} answers, {result.failed} failed, {sum(degraded)} without the store; {len(written)} writes, "
            f"{written.statuses}, {len(writer.acknowledged)} events acknowledged"
        )
        assert (result.failed, result.complaints) == (0, {})
        assert not any(degraded[:10])
        assert any(degraded)
        assert not any(degraded[-20:])
        assert wrong == []
        assert written.failures == {}
        assert 503 in written.statuses
        again = [writer.sent[event_id] for event_id in writer.acknowledged]
        assert server.statuses_of_events(again) == ["duplicate"] * len(again)
        status, ready = server.call("GET", "/readyz")
        assert (status, ready["ready"]) == (200, True)
        assert server.candidates(user_id=users[0], at=AT)["candidates"] == whole["candidates"]


def test_a_store_that_answers_in_two_seconds_costs_its_time_limit(serve, state, users, start_redis):
    redis = start_redis()
    (state / "loaded.json").unlink()
    with serve(state, "--store", redis.url, settings=["engine.store.timeout_ms=20"]) as server:
        seconds_until_whole(server, users[0])
        redis.say("CLIENT", "PAUSE", "2000", "ALL")
        took_ms = []
        began_s = time.monotonic()
        while time.monotonic() - began_s < 1.2:
            asked_s = time.monotonic()
            answer = server.candidates(user_id=users[0])
            took_ms.append((time.monotonic() - asked_s) * 1000)
            assert answer["degraded"] == ["store"]
            assert len(answer["candidates"]) == 20
        print(
            f"{len(took_ms)} answers without the store, median {np.median(took_ms):.1f} ms, {max(took_ms):.1f} at the most"
        )
        assert np.median(took_ms) < 200
        assert max(took_ms) < 1500
        seconds_until_whole(server, users[0])


def seconds_until_whole(server, user):
    """Wait until answers are made with the store (again)."""
    until_s = time.monotonic() + 30
    while server.candidates(user_id=user)["degraded"]:
        assert time.monotonic() < until_s
        time.sleep(0.1)


@pytest.fixture
def small_disk(tmp_path):
    """A small disk of one's own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small disk (root)")
    yield disk
    subprocess.run(["umount", disk], check=True)


def fill(disk):
    """Leave no byte free."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)
    return filler


def test_a_full_disk_refuses_writes_and_answers_go_on(serve, state, users, log, small_disk):
    # Everything is on that disk: the store, the versions, and the log of requests.
    (state / "store.sqlite").unlink()
    (state / "loaded.json").unlink()
    subprocess.run(["cp", "-r", state, small_disk / "state"], check=True)
    with serve(small_disk / "state", settings=["engine.request_log.share=1"]) as server:
        before = server.candidates(user_id=users[0], at=AT)
        filler = fill(small_disk)
        wanted = [
            {
                "event_id": f"d{n}", "ts": "2026-01-05T10:00:00Z", "user_id": 10**12, "item_id": log.item_id_I[0],
                "action": "click",
            }
            for n in range(300)
        ]  # fmt: skip
        sent, told = [], []
        for event in wanted[:150]:
            status, _ = server.call("POST", "/v1/events", {"events": [event]})
            sent.append((event, status))
            assert server.candidates(user_id=users[0], at=AT)["candidates"] == before["candidates"]
            # Of the last 50 lines that the server wrote, those of a request each among them.
            told.append(sum("requests are not written down" in line for line in server.server.lines))
        statuses = [status for _, status in sent]
        assert 503 in statuses
        assert set(statuses) <= {200, 503}
        refused, _ = server.publish("second")
        assert refused in (200, 409)
        assert server.candidates(user_id=users[0], at=AT)["candidates"] == before["candidates"] or refused == 200
        assert max(told) == 1
        filler.unlink()
        until_s = time.monotonic() + 30
        while server.call("POST", "/v1/events", {"events": wanted[150:]})[0] != 200:
            assert time.monotonic() < until_s
            time.sleep(0.2)
        acknowledged = [event for event, status in sent if status == 200]
        print(f"{len(sent)} writes to a full disk, {len(acknowledged)} acknowledged; told of the log {max(told)} time")
        again = [*acknowledged, *wanted[150:]]
        assert server.statuses_of_events(again) == ["duplicate"] * len(again)
