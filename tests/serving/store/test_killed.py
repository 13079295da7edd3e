"""What was acknowledged is there, once, after the process or the server was killed at any moment.

Killing a process proves that nothing acknowledged was only in its memory. That it is on the disk, not only with the
operating system, is proved in `test_disk.py` by what happens when flushing fails.
"""

import json
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tests.serving.store.acknowledged import missing_from, write_from_threads

from lowerfunnel.errors import StoreError
from lowerfunnel.serving.records import EventRecord
from lowerfunnel.serving.store.open import open_store
from lowerfunnel.serving.store.redis import RedisStore

PROGRAM = Path(__file__).with_name("acknowledged.py")
QUICK, ALL = 3, 20
SEEDS = [*range(QUICK), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(QUICK, ALL))]


def begin(url: str, round_: int, seed: int, *rest: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(PROGRAM), url, str(round_), str(seed), *rest]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def lines_of(output: bytes) -> list[dict]:
    """What was printed; the last line may be torn, as its write was."""
    return [json.loads(line) for line in output.split(b"\n")[:-1]]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_writer_leaves_all_that_it_acknowledged(tmp_path, seed):
    rng = np.random.default_rng(seed)
    url = f"sqlite:{tmp_path / 'store.db'}"
    acknowledged = []
    for round_ in range(3):
        with begin(url, round_, seed) as writer:
            first = writer.stdout.readline()
            threading.Timer(rng.uniform(0, 0.4), writer.kill).start()
            acknowledged += lines_of(first + writer.stdout.read())
            assert writer.wait() == -9
        store = open_store(url)
        assert missing_from(store, acknowledged) == []
        store.close()
    assert len({a["kind"] for a in acknowledged}) == 3


def test_a_lost_event_and_a_lost_change_are_found(tmp_path):
    url, file = f"sqlite:{tmp_path / 'store.db'}", tmp_path / "store.db"
    acknowledged = lines_of(begin(url, 0, 0, "20").communicate()[0])
    store = open_store(url)
    assert missing_from(store, acknowledged) == []
    event = next(a for a in acknowledged if a["kind"] == "event")["ids"][0]
    item = [a for a in acknowledged if a["kind"] == "item"][-1]
    with sqlite3.connect(file) as connection:
        connection.execute("DELETE FROM timelines WHERE instr(texts, ?)", (event.encode(),))
        connection.execute("DELETE FROM items WHERE item_id = ?", (item["key"],))
    connection.close()
    wrong = missing_from(store, acknowledged)
    assert f"event {event} is lost" in wrong
    assert f"{item} is lost" in wrong
    store.close()


def test_two_processes_write_to_one_file_at_once(tmp_path):
    url = f"sqlite:{tmp_path / 'store.db'}"
    writers = [begin(url, round_, 1, "60") for round_ in range(2)]  # both make the file
    acknowledged = [line for writer in writers for line in lines_of(writer.communicate()[0])]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert len(acknowledged) == 2 * 4 * 60
    store = open_store(url)
    assert missing_from(store, acknowledged) == []
    store.close()


def test_one_process_reads_what_another_has_just_written(tmp_path):
    url = f"sqlite:{tmp_path / 'store.db'}"
    store = open_store(url)
    with begin(url, 0, 1) as writer:
        for _ in range(50):
            assert missing_from(store, lines_of(writer.stdout.readline())) == []
        writer.kill()
    store.close()


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_a_redis_that_is_killed_under_load_and_started_again_has_all_that_it_acknowledged(start_redis, seed):
    server = start_redis()
    store = RedisStore.connect(server.url, timeout_s=1)
    rng = np.random.default_rng(seed)
    acknowledged: list[dict] = []
    refused = threading.Event()
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            try:
                store.timeline(0, timeout_s=0.5)
            except StoreError:
                refused.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for round_ in range(3):
            over = threading.Event()
            load = threading.Thread(
                target=write_from_threads,
                args=(store, round_, seed, acknowledged.append, lambda _, over=over: not over.is_set()),
            )
            load.start()
            time.sleep(rng.uniform(0.1, 0.5))
            refused.clear()
            server.kill()
            assert refused.wait(10), "a server that is gone must be told"
            before = len(acknowledged)
            server.start()
            time.sleep(0.3)
            over.set()
            load.join()
            assert len(acknowledged) > before, "the same store has to work again"
            assert missing_from(store, acknowledged) == []
    finally:
        stop.set()
        watcher.join()
        store.close()


def test_a_redis_that_was_stopped_is_used_again_at_the_first_call(start_redis):
    server = start_redis()
    store = RedisStore.connect(server.url, timeout_s=1)
    event = EventRecord(event_id="1", ts_us=1, user_id=1, item_id=1, action="click")
    store.add_events([event])
    server.stop()
    with pytest.raises(StoreError, match="Redis at 127"):
        store.add_events([event])
    server.start()
    assert len(store.timeline(1)) == 1
    assert store.add_events([event]) == [False]
    store.close()
