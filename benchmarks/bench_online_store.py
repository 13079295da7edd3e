"""How fast an online store takes events and gives timelines back.

    python benchmarks/bench_online_store.py [--stores sqlite redis] [--users 200] [--seconds 3] [--threads 1 16]

Loads timelines of 10, 100 and 1000 events, `--users` of each, arriving in turn; then writes single events from one and from
16 threads, each waiting for its acknowledgement, and reads whole timelines: alone, with a deadline as a server does, and
while other threads write. SQLite flushes every commit; Redis runs on loopback with `appendfsync always`. The disk's
own flush is timed too, as that is the floor of a write. Events are synthetic. Appends one row per figure to
`benchmarks/results/online_store.jsonl`.
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from lowerfunnel.serving.records import EventRecord
from lowerfunnel.serving.store.contract import OnlineStore
from lowerfunnel.serving.store.load import load_events
from lowerfunnel.serving.store.redis import RedisStore
from lowerfunnel.serving.store.sqlite import SqliteStore

ROOT = Path(__file__).resolve().parents[1]
LENGTHS = (10, 100, 1000)
DEADLINE_S = 1.0
START_US = 1_700_000_000_000_000


@contextlib.contextmanager
def sqlite_store(folder: Path) -> Iterator[OnlineStore]:
    store = SqliteStore.open(folder / "store.db")
    yield store
    store.close()


@contextlib.contextmanager
def redis_store(folder: Path) -> Iterator[OnlineStore]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    command += ["--appendonly", "yes", "--appendfsync", "always"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                time.sleep(0.05)
            store = RedisStore.connect(f"redis://127.0.0.1:{port}/0", timeout_s=10)
            yield store
            store.close()
        finally:
            server.terminate()


STORES = {"sqlite": sqlite_store, "redis": redis_store}


def event(name: str, user: str, number: int, rng: np.random.Generator) -> EventRecord:
    return EventRecord(
        event_id=name,
        ts_us=START_US + number,
        user_id=user,
        item_id=int(rng.integers(1 << 40)),
        action="click",
        surface="home",
        dwell_s=float(rng.random()),
    )


def history(users: int, rng: np.random.Generator) -> Iterator[EventRecord]:
    """The events of all users by time, so that those of one user do not arrive together."""
    turns = [f"{length}/{user}" for length in LENGTHS for user in range(users) for _ in range(length)]
    for number, place in enumerate(rng.permutation(len(turns))):
        yield event(f"{number:032x}", turns[place], number, rng)


def written_per_s(store: OnlineStore, threads: int, seconds: float, label: str) -> float:
    counts = [0] * threads
    end = time.perf_counter() + seconds

    def write(worker: int) -> None:
        rng = np.random.default_rng(worker)
        while time.perf_counter() < end:
            store.add_events(
                [event(f"{label}/{worker}/{counts[worker]}", f"w{rng.integers(1000)}", counts[worker], rng)]
            )
            counts[worker] += 1

    began = time.perf_counter()
    _all_at_once(write, threads)
    return sum(counts) / (time.perf_counter() - began)


def read_us(store: OnlineStore, length: int, users: int, seconds: float, timeout_s: float | None) -> np.ndarray:
    """Microseconds of each read of a timeline of `length` events, one after the other."""
    rng = np.random.default_rng(0)
    took: list[float] = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        found = store.timeline(f"{length}/{rng.integers(users)}", timeout_s=timeout_s)
        took.append((time.perf_counter() - began) * 1e6)
        if len(found) != length:
            raise SystemExit(f"a timeline of {length} events came with {len(found)}")
    return np.array(took)


def flush_us(folder: Path) -> float:
    """Median microseconds in which this disk flushes 4 KiB."""
    took = []
    with (folder / "flush").open("wb") as file:
        for _ in range(200):
            file.write(bytes(4096))
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            took.append((time.perf_counter() - began) * 1e6)
    return float(np.median(took))


def measure(
    store: OnlineStore, folder: Path, users: int, seconds: float, threads: list[int]
) -> Iterator[tuple[str, float]]:
    yield "disk_flush_p50_us", flush_us(folder)
    began = time.perf_counter()
    count = load_events(store, history(users, np.random.default_rng(0)))
    yield "loaded_events_per_s", count / (time.perf_counter() - began)
    yield "disk_bytes_per_event", sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / count
    for number in threads:
        yield f"written_events_per_s_{number}_threads", written_per_s(store, number, seconds, f"t{number}")
    for length in LENGTHS:
        for label, timeout_s in (("", None), ("_with_deadline", DEADLINE_S)):
            took = read_us(store, length, users, seconds, timeout_s)
            yield f"reads_per_s_{length}_events{label}", len(took) / seconds
            yield f"read_p50_us_{length}_events{label}", float(np.percentile(took, 50))
            yield f"read_p99_us_{length}_events{label}", float(np.percentile(took, 99))
    stop = threading.Event()

    def write_meanwhile(worker: int) -> None:
        rng = np.random.default_rng(worker)
        number = 0
        while not stop.wait(0.01):  # 100 events a second from each
            store.add_events([event(f"m/{worker}/{number}", f"w{number % 1000}", number, rng)])
            number += 1

    writers = [threading.Thread(target=write_meanwhile, args=(worker,)) for worker in range(2)]
    for writer in writers:
        writer.start()
    took = read_us(store, 100, users, seconds, DEADLINE_S)
    stop.set()
    for writer in writers:
        writer.join()
    yield "read_p50_us_100_events_while_200_a_second_are_written", float(np.percentile(took, 50))
    yield "read_p99_us_100_events_while_200_a_second_are_written", float(np.percentile(took, 99))


def _all_at_once(work: Callable[[int], None], threads: int) -> None:
    workers = [threading.Thread(target=work, args=(worker,)) for worker in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", nargs="*", default=list(STORES), choices=list(STORES))
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--threads", nargs="*", type=int, default=[1, 16])
    arguments = parser.parse_args()
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    size = arguments.users * sum(LENGTHS)
    print(f"{size:,} events of {arguments.users} users for each length; synthetic; {os.cpu_count()} cores")
    for name in arguments.stores:
        if name == "redis" and shutil.which("redis-server") is None:
            print("redis: left out; install it with: apt-get install redis-server")
            continue
        with tempfile.TemporaryDirectory() as scratch, STORES[name](Path(scratch)) as store:
            for metric, value in measure(store, Path(scratch), arguments.users, arguments.seconds, arguments.threads):
                print(f"  {name:6s}  {metric:56s} {value:12,.1f}")
                row = {
                    "date": datetime.datetime.now(datetime.UTC).date().isoformat(), "commit": commit,
                    "machine": f"{platform.machine()}, {os.cpu_count()} cores", "config": name, "size": size,
                    "metric": metric, "value": round(value, 1), "data": "synthetic",
                }  # fmt: skip
                with (ROOT / "benchmarks" / "results" / "online_store.jsonl").open("a", encoding="utf-8") as rows:
                    rows.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
