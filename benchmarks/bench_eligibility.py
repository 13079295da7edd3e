"""How fast eligibility changes and filters are answered, and what a segment of the catalogue takes.

    python benchmarks/bench_eligibility.py [--items 1000000] [--seed 0]

Builds a synthetic segment (20,000 advertisers by a power law, 500 categories, five attributes an item), then prints: seconds
to build and to load it, bytes an item, milliseconds to build a delta of 20,000 items anew, updates a second of one advertiser
of about 100, 1,000 and 10,000 items and of one item, alone and beside a reader, and microseconds of `allowed` with the
shared part of the filters kept and not. Times are medians, in one thread; updates are counted over a second, so what else
runs on the machine slows them. Appends one row per figure to `benchmarks/results/eligibility.jsonl`.
"""

import argparse
import datetime
import itertools
import json
import os
import platform
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from lowerfunnel.serving.catalogue.eligibility_state import EligibilityState
from lowerfunnel.serving.catalogue.item_table import write_item_file
from lowerfunnel.serving.catalogue.segment import CatalogueSegment
from lowerfunnel.serving.records import ItemRecord
from lowerfunnel.serving.requests import Choice, Filters

ROOT = Path(__file__).resolve().parents[1]
ADVERTISERS, CATEGORIES, DELTA = 20_000, 500, 20_000
TOKENS = [
    [f"country={name}" for name in ("DE", "FR", "US", "GB", "NL")],
    [f"brand={number}" for number in range(20_000)],
    [f"color={number}" for number in range(50)],
    [f"size={number}" for number in range(200)],
    ["new", "used"],
]


def item_table(items: int, rng: np.random.Generator) -> pa.Table:
    advertiser = np.minimum((rng.pareto(1.1, items) * 20).astype(np.int64), ADVERTISERS - 1)
    offsets = np.cumsum([0, *map(len, TOKENS)])
    parts = [rng.integers(low, high, items) for low, high in itertools.pairwise(offsets)]
    token = pa.array([name for names in TOKENS for name in names])
    places = pa.array(np.stack(parts, axis=1).ravel())
    ends = pa.array(np.arange(0, len(TOKENS) * items + 1, len(TOKENS), dtype=np.int32))
    return pa.table(
        {
            "item_id": pa.array([f"item-{row:08d}" for row in range(items)]),
            "advertiser_id": pa.array([f"a{number}" for number in advertiser.tolist()]),
            "category_id": pa.array([f"c{number}" for number in rng.integers(0, CATEGORIES, items).tolist()]),
            "price": rng.random(items) * 200,
            "currency": pa.array(["EUR"] * items),
            "title": pa.array([f"some item with a name of usual length {row}" for row in range(items)]),
            "attributes": pa.ListArray.from_arrays(ends, token.take(places)),
        }
    )


def median_s(step: Callable[[], object], *, at_least: int = 5, for_s: float = 0.5) -> float:
    taken: list[float] = []
    while len(taken) < at_least or sum(taken) < for_s:
        began = time.perf_counter()
        step()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def advertiser_of_about(segment: CatalogueSegment, items: int) -> tuple[str, int]:
    postings = segment.columns.advertisers
    code = int(np.argmin(np.abs(np.diff(postings.offset_V1) - items)))
    return str(postings.names.at(np.array([code]))[0]), len(postings.of_code(code))


def measure_segment(items: int, rng: np.random.Generator) -> tuple[CatalogueSegment, dict[str, float]]:
    table = item_table(items, rng)
    began = time.perf_counter()
    segment = CatalogueSegment.of(table)
    built = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "items.parquet"
        write_item_file(table, path)
        file_bytes = path.stat().st_size
        opened = time.perf_counter()
        CatalogueSegment.load(path)
        loaded = time.perf_counter()
    records = [
        ItemRecord(
            item_id=f"item-{row:08d}", advertiser_id=f"a{row % 300}", category_id=f"c{row % 50}", price=3.0,
            currency="EUR", title="some title", attributes=("country=DE", f"brand={row % 2_000}", "new"),
        )
        for row in range(DELTA)
    ]  # fmt: skip
    return segment, {
        "build_s": built - began,
        "load_s": loaded - opened,
        "bytes_per_item": segment.columns.nbytes / items,
        "file_bytes_per_item": file_bytes / items,
        "delta_build_ms": 1e3 * median_s(lambda: CatalogueSegment.of_records(records, "string")),
    }


def measure_updates(segment: CatalogueSegment) -> dict[str, float]:
    state = EligibilityState()
    state.attach(segment.eligibility)
    figures: dict[str, float] = {}
    steps: dict[str, Callable[[bool], object]] = {}
    for size in (100, 1_000, 10_000):
        name, items = advertiser_of_about(segment, size)
        steps[f"advertiser of {items} items"] = lambda on, name=name: state.update(advertisers={name: on}, items={})
    item = segment.ids_of(np.array([segment.items // 2]))[0]
    steps["one item"] = lambda on: state.update(advertisers={}, items={item: on})

    def measure(suffix: str) -> None:
        for what, step in steps.items():
            updates, began = 0, time.perf_counter()
            while time.perf_counter() - began < 1.0:  # not a median: what waits for the reader counts
                step(False)
                step(True)
                updates += 2
            figures[f"updates_per_s {what}{suffix}"] = updates / (time.perf_counter() - began)

    measure("")
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            segment.allowed(Filters(country="DE"))

    reader = threading.Thread(target=read)
    reader.start()
    measure(", beside a reader")
    stop.set()
    reader.join()
    return figures


def measure_allowed(segment: CatalogueSegment) -> dict[str, float]:
    country = Filters(country="DE")
    campaign = Filters(
        country="DE", advertisers=Choice(deny=frozenset(["a1", "a2"])), categories=Choice(deny=frozenset(["c3"]))
    )
    priced = Filters(country="DE", most_price=100.0)
    narrow = Filters(categories=Choice(allow=frozenset(["c1", "c2"])), attributes_all=frozenset(["brand=7"]))
    bought = np.arange(100) * (segment.items // 100)
    figures = {}
    for name, filters in (("country", country), ("campaign", campaign), ("price", priced), ("narrow", narrow)):
        segment.allowed(filters)
        figures[f"allowed_us kept, {name}"] = 1e6 * median_s(
            lambda filters=filters: segment.allowed(filters, excluded=bought)
        )

        def cold(filters: Filters = filters) -> None:
            segment._matching._kept.clear()
            segment.allowed(filters, excluded=bought)

        figures[f"allowed_us not kept, {name}"] = 1e6 * median_s(cold)
    for listed in (1_000, 100_000):
        ids = frozenset(segment.ids_of(np.arange(0, segment.items, max(segment.items // listed, 1))))
        filters = Filters(items=Choice(deny=ids))
        figures[f"allowed_us {len(ids)} items denied"] = 1e6 * median_s(
            lambda filters=filters: segment.allowed(filters)
        )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    print(f"{arguments.items:,} items; synthetic; {os.cpu_count()} cores")
    segment, figures = measure_segment(arguments.items, np.random.default_rng(arguments.seed))
    figures |= measure_updates(segment) | measure_allowed(segment)
    for metric, value in figures.items():
        print(f"  {metric:60s} {value:14,.1f}")
        row = {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(), "commit": commit,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores", "config": f"seed {arguments.seed}",
            "size": arguments.items, "metric": metric, "value": round(value, 1), "data": "synthetic",
        }  # fmt: skip
        with (ROOT / "benchmarks" / "results" / "eligibility.jsonl").open("a", encoding="utf-8") as rows:
            rows.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
