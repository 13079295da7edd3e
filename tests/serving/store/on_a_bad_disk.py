"""What a store does on a disk that `slow_disk.c` makes bad, printed as JSON: python on_a_bad_disk.py SCENE FILE."""

import json
import os
import sys
import threading
import time
from pathlib import Path

from lowerfunnel.errors import StoreError
from lowerfunnel.serving.records import EventRecord
from lowerfunnel.serving.store.sqlite import SqliteStore

FAULTS = Path(os.environ["FAULTS"])


def event(name: str, user: int = 0) -> EventRecord:
    return EventRecord(event_id=name, ts_us=0, user_id=user, item_id=name, action="click")


def hang(store: SqliteStore) -> dict:
    store.add_events([event(str(number)) for number in range(50)])
    before, errors, waited_s = len(store.timeline(0, timeout_s=5)), [], []
    # In a store that was read from, pages may be in memory; this one has still to read its first.
    fresh = SqliteStore(Path(sys.argv[2]), write_timeout_s=5)
    (FAULTS / "hang").touch()
    for _ in range(40):
        began = time.monotonic()
        try:
            fresh.timeline(0, timeout_s=0.05)
        except StoreError as error:
            errors.append(str(error))
        waited_s.append(time.monotonic() - began)
    (FAULTS / "hang").unlink()
    after = len(fresh.timeline(0, timeout_s=5))
    fresh.close()
    return {"before": before, "after": after, "errors": errors, "waited_s": waited_s}


def flush(store: SqliteStore) -> dict:
    store.add_events([event("a")])
    errors = []
    (FAULTS / "fail").touch()
    for _ in range(3):
        try:
            store.add_events([event("b")])
        except StoreError as error:
            errors.append(str(error))
    (FAULTS / "fail").unlink()
    new = store.add_events([event("b")])
    return {"errors": errors, "new": new, "held": len(store.timeline(0))}


def count(store: SqliteStore) -> dict:
    flushes = FAULTS / "flushes"

    def write(worker: int) -> None:
        for number in range(20):
            store.add_events([event(f"{worker}/{number}")])

    flushes.write_bytes(b"")
    write(-1)
    alone = flushes.stat().st_size
    flushes.write_bytes(b"")
    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = flushes.stat().st_size
    flushes.unlink()
    return {"alone": alone, "together": together}


def fail_and_die(store: SqliteStore) -> dict:
    store.add_events([event("a")])
    (FAULTS / "fail").touch()
    try:
        store.add_events([event("b")])
    except StoreError:
        os.write(1, b'{"error": true}')
    os._exit(0)


def open_after_that(path: Path) -> dict:
    seen: dict = {}
    try:
        SqliteStore.open(path)
    except StoreError as error:
        seen["while it fails"] = str(error)
    (FAULTS / "fail").unlink()
    (FAULTS / "flushes").write_bytes(b"")
    store = SqliteStore.open(path)
    seen |= {"new": store.add_events([event("b")]), "held": len(store.timeline(0))}
    seen["flushes"] = (FAULTS / "flushes").stat().st_size
    store.close()
    return seen


SCENES = {"hang": hang, "flush": flush, "count": count, "fail and die": fail_and_die}


def main(scene: str, path: Path) -> None:
    if scene == "open":
        print(json.dumps(open_after_that(path)))
        return
    store = SqliteStore.open(path)
    print(json.dumps(SCENES[scene](store)))
    store.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
