"""Writes of several threads, what was acknowledged of them, and whether a store still has it.

As a program it writes to a store until it is killed, or as often as it is told, and prints every acknowledged write as one
line: python acknowledged.py URL ROUND SEED [WRITES]. ROUND makes the ids new when it is run again on one store.
"""

import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np

from lowerfunnel.errors import StoreError
from lowerfunnel.serving.records import EventRecord, ItemRecord
from lowerfunnel.serving.store.contract import OnlineStore
from lowerfunnel.serving.store.open import open_store

THREADS = 4
USERS = 3
KEYS = 5


def write_one(store: OnlineStore, who: str, number: int, rng: np.random.Generator) -> dict:
    """Make one write, and return what a store must hold once it has returned."""
    kind = str(rng.choice(["events", "events", "put", "delete", "eligibility"]))
    key = f"{who}/{rng.integers(KEYS)}"  # every thread has items of its own, so that the last write of each is known
    if kind == "events":
        ids = [f"{who}/{number}/{place}" for place in range(rng.integers(1, 4))]
        records = [
            EventRecord(
                event_id=each,
                ts_us=int(rng.integers(100)),
                user_id=int(rng.integers(USERS)),
                item_id=each,
                action="click",
            )
            for each in ids
        ]
        new = store.add_events(records)
        assert new == [True] * len(ids), f"{ids} were told to be {new}"
        return {"kind": "event", "ids": ids}
    if kind == "put":
        return {"kind": "item", "key": key, "sequence": store.put_items([ItemRecord(item_id=key, title=str(number))]),
                "value": str(number)}  # fmt: skip
    if kind == "delete":
        return {"kind": "item", "key": key, "sequence": store.delete_items([key]), "value": None}
    value = bool(rng.random() < 0.5)
    sequence = store.set_eligibility(advertisers={key: value}, items={})
    return {"kind": "eligibility", "key": key, "sequence": sequence, "value": value}


def missing_from(store: OnlineStore, acknowledged: Iterable[dict]) -> list[str]:
    """Say what is wrong with what a store holds, after these writes were acknowledged; others may have happened too."""
    acknowledged = list(acknowledged)
    events = Counter(item for user in store.users(limit=1000) for item in store.timeline(user).item_id)
    wrong = [f"event {each} is there {count} times" for each, count in events.items() if count > 1]
    wrong += [
        f"event {each} is lost" for a in acknowledged if a["kind"] == "event" for each in a["ids"] if not events[each]
    ]
    found = {
        ("item", c.item_id): (c.sequence, None if c.record is None else c.record.title) for c in store.items_since(0)
    }
    found |= {("eligibility", c.advertiser_id): (c.sequence, c.eligible) for c in store.eligibility_since(0)}
    changes = [a for a in acknowledged if a["kind"] != "event"]
    for a in changes:
        sequence, value = found.get((a["kind"], a["key"]), (-1, None))
        if sequence < a["sequence"] or (sequence == a["sequence"] and value != a["value"]):
            wrong.append(f"{a} is lost")
    numbers = Counter(a["sequence"] for a in changes)
    wrong += [f"sequence {number} was given {count} times" for number, count in numbers.items() if count > 1]
    return wrong


def write_from_threads(
    store: OnlineStore, round_: int, seed: int, acknowledge: Callable[[dict], None], go_on: Callable[[int], bool]
) -> None:
    """Write from several threads while `go_on` of the number of the write says so; a `StoreError` is no acknowledgement."""
    failures: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            rng = np.random.default_rng([seed, round_, thread])
            number = 0
            while go_on(number):
                try:
                    done = write_one(store, f"{round_}/{thread}", number, rng)
                except StoreError:
                    number += 1
                    continue
                acknowledge(done)
                number += 1
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def main() -> None:
    url, round_, seed, *rest = sys.argv[1:]
    store = open_store(url)
    most = int(rest[0]) if rest else None
    write_from_threads(
        store,
        int(round_),
        int(seed),
        lambda done: os.write(1, json.dumps(done).encode() + b"\n") and None,  # one call, so lines do not mix
        lambda number: most is None or number < most,
    )
    store.close()


if __name__ == "__main__":
    main()
