"""A disk that is full, hangs, or cannot flush. All of it is real: a tiny disk, a limit on files, a slow system call."""

import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lowerfunnel.errors import StoreError
from lowerfunnel.serving.records import EventRecord, ItemRecord
from lowerfunnel.serving.store.redis import RedisStore
from lowerfunnel.serving.store.sqlite import SqliteStore

FAULTS = Path(__file__).with_name("slow_disk.c")
PROGRAM = Path(__file__).with_name("on_a_bad_disk.py")


def event(number: int) -> EventRecord:
    return EventRecord(
        event_id=str(number), ts_us=number, user_id=number % 3, item_id=number, action="click", query="q" * 500
    )


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        pytest.skip("needs the right to mount a tmpfs; run as root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@contextmanager
def largest_file(size_b: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_b, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def fill(store: SqliteStore) -> tuple[list[int], int]:
    """Write until a write is refused; return the events that were acknowledged, and the first that was not."""
    acknowledged: list[int] = []
    for number in range(100_000):
        try:
            store.add_events([event(number)])
        except StoreError:
            return acknowledged, number
        acknowledged.append(number)
    raise AssertionError("the disk did not fill")


def held(store: SqliteStore) -> list[int]:
    return sorted(item for user in range(3) for item in store.timeline(user, timeout_s=5).item_id)


def test_on_a_full_disk_writes_are_refused_and_reads_go_on_until_there_is_room_again(tiny_disk):
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(bytes(1 << 20))
    store = SqliteStore.open(tiny_disk / "store.db")
    store.put_items([ItemRecord(item_id=1)])
    acknowledged, refused = fill(store)
    assert len(acknowledged) > 20
    assert held(store) == acknowledged
    for _ in range(3):
        with pytest.raises(StoreError, match="no space left on the disk"):
            store.put_items([ItemRecord(item_id=2, title="x" * 200_000)])
    assert [change.item_id for change in store.items_since(0)] == [1]
    ballast.unlink()
    assert store.add_events([event(refused)]) == [True]
    assert held(store) == [*acknowledged, refused]
    store.close()
    store = SqliteStore.open(tiny_disk / "store.db")
    assert held(store) == [*acknowledged, refused]
    store.close()


def test_a_file_that_may_not_grow_is_as_a_full_disk(tmp_path):
    store = SqliteStore.open(tmp_path / "store.db")
    with largest_file(1 << 20):
        acknowledged, refused = fill(store)
        assert len(acknowledged) > 20
        assert held(store) == acknowledged
    assert store.add_events([event(refused)]) == [True]
    assert held(store) == [*acknowledged, refused]
    store.close()


def test_a_disk_too_full_for_a_new_store_is_named(tiny_disk):
    with pytest.raises(OSError, match="No space left"):
        (tiny_disk / "ballast").write_bytes(bytes(3 << 20))
    with pytest.raises(StoreError, match="no space left on the disk"):
        SqliteStore.open(tiny_disk / "store.db")


def test_a_redis_without_room_refuses_writes_and_answers_reads(start_redis):
    server = start_redis()
    store = RedisStore.connect(server.url)
    store.add_events([event(0)])
    server.say("CONFIG", "SET", "maxmemory", "1mb")
    with pytest.raises(StoreError, match="maxmemory"):
        store.add_events([event(number) for number in range(1, 10_000)])
    with pytest.raises(StoreError, match="maxmemory"):
        store.put_items([ItemRecord(item_id=1), ItemRecord(item_id=2)])
    assert store.items_since(0) == []
    assert len(store.timeline(0)) >= 1
    server.say("CONFIG", "SET", "maxmemory", "0")
    store.put_items([ItemRecord(item_id=1)])
    assert [change.item_id for change in store.items_since(0)] == [1]
    store.close()


@pytest.fixture(scope="module")
def bad_disk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give the environment of a process whose file reads hang, and flushes fail, as long as a file of that name is there."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler; install it with: apt-get install gcc libc6-dev")
    library = tmp_path_factory.mktemp("faults") / "slow_disk.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(FAULTS), "-ldl"], check=True)
    return {**os.environ, "LD_PRELOAD": str(library), "FAULTS": str(library.parent)}


def on_a_bad_disk(environment: dict[str, str], tmp_path: Path, scene: str) -> dict:
    """Run a scene of `on_a_bad_disk.py` in a process of its own; return what it saw."""
    command = [sys.executable, str(PROGRAM), scene, str(tmp_path / "store.db")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_a_read_from_a_disk_that_hangs_ends_in_time(bad_disk, tmp_path):
    seen = on_a_bad_disk(bad_disk, tmp_path, "hang")
    assert seen["before"] == seen["after"] == 50
    assert len(seen["errors"]) == 40
    assert all("did not answer within 50 ms" in error for error in seen["errors"])
    assert max(seen["waited_s"]) < 0.5


def test_a_flush_that_fails_is_not_acknowledged_and_the_next_one_is(bad_disk, tmp_path):
    seen = on_a_bad_disk(bad_disk, tmp_path, "flush")
    assert len(seen["errors"]) == 3
    assert "\n" not in seen["errors"][0]
    assert seen["new"] == [True]
    assert seen["held"] == 2


def test_what_a_failed_flush_left_is_on_the_disk_before_anybody_is_told_that_it_is_there(bad_disk, tmp_path):
    assert on_a_bad_disk(bad_disk, tmp_path, "fail and die") == {"error": True}
    seen = on_a_bad_disk(bad_disk, tmp_path, "open")
    assert seen["while it fails"].endswith("look at its disk and try again")
    assert seen["new"] in ([True], [False])
    assert seen["flushes"] > 0
    assert seen["held"] == 2


def test_every_write_is_flushed_before_it_is_acknowledged_and_many_writers_share_a_flush(bad_disk, tmp_path):
    seen = on_a_bad_disk(bad_disk, tmp_path, "count")
    assert seen["alone"] >= 20  # 20 writes, one after the other
    assert seen["together"] < 20 * 16 / 2  # 20 writes of each of 16 threads


def test_a_write_that_waits_for_another_process_is_given_up_in_time_and_may_still_happen(tmp_path):
    store = SqliteStore.open(tmp_path / "store.db", write_timeout_s=0.2)
    store.add_events([event(0)])
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with pytest.raises(StoreError, match="may still get there; repeat it"):
        store.add_events([event(3)])
    assert time.monotonic() - began < 2
    assert held(store) == [0]  # reads do not wait for writers
    other.execute("COMMIT")
    other.close()
    while len(store.timeline(0)) < 2:
        time.sleep(0.01)
    assert store.add_events([event(3)]) == [False]
    store.close()


def test_reads_that_are_done_do_not_keep_the_log_of_writes_from_being_emptied(tmp_path):
    store = SqliteStore.open(tmp_path / "store.db")
    store.add_events([event(number) for number in range(100)])
    store.put_items([ItemRecord(item_id=1)])
    for read in (
        lambda: store.timeline(0),
        lambda: store.timeline(0, before_us=5, timeout_s=5),
        lambda: store.users(limit=1),
    ):
        read()
    store.items_since(0)
    store.eligibility_since(0)
    store.ping(timeout_s=5)
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
    other.close()
    assert (tmp_path / "store.db-wal").stat().st_size == 0
    store.close()


def test_a_redis_that_answers_late_is_given_up_in_time_and_used_again(start_redis):
    server = start_redis()
    store = RedisStore.connect(server.url, timeout_s=0.3)
    store.add_events([event(0)])
    waited_s: list[float] = []

    def read() -> None:
        began = time.monotonic()
        with pytest.raises(StoreError, match="did not answer within 20 ms"):
            store.timeline(0, timeout_s=0.02)
        waited_s.append(time.monotonic() - began)

    server.say("CLIENT", "PAUSE", "4000", "ALL")
    began = time.monotonic()
    for _ in range(3):
        read()
    threads = [threading.Thread(target=read) for _ in range(40)]  # more than there are threads to read
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(waited_s) == 43
    assert max(waited_s) < 0.5
    with pytest.raises(StoreError, match="Redis at 127"):
        store.timeline(0)
    with pytest.raises(StoreError, match="Redis at 127"):
        store.add_events([event(3)])
    with pytest.raises(StoreError):
        store.ping(timeout_s=0.02)
    assert time.monotonic() - began < 4, "too slow to say anything"
    while not server.answers():
        assert time.monotonic() - began < 20
    assert len(store.timeline(0, timeout_s=10)) >= 1
    store.close()
