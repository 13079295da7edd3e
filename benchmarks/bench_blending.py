"""How long it takes to blend four generators into one answer.

    python benchmarks/bench_blending.py [--seed 0]

Four sources of k items each, drawn from 3 k items so that many are held twice, with and without a cap per advertiser; and the
first k items of a fixed order of a million, where all are allowed and where few are. Prints medians in microseconds, in
one thread, and appends one row per figure to `benchmarks/results/blending.jsonl`.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lowerfunnel.index.allowed import Allowed
from lowerfunnel.serving.blending.blend import blend
from lowerfunnel.serving.blending.ranked_list import RankedList
from lowerfunnel.serving.blending.source_list import SourceList

ROOT = Path(__file__).resolve().parents[1]
ITEMS, ADVERTISERS = 1_000_000, 2_000
QUOTAS = {"conversion": 0.5, "engagement": 0.3, "popular": 0.1, "fresh": 0.1}


def median_us(step: Callable[[], object], *, times: int = 300) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        step()
        taken.append(time.perf_counter() - began)
    return 1e6 * statistics.median(taken)


def measure(rng: np.random.Generator) -> dict[str, float]:
    figures: dict[str, float] = {}
    advertiser_I = rng.integers(0, ADVERTISERS, ITEMS).astype(np.int32)
    for k in (100, 300, 1_000):
        drawn = rng.permutation(ITEMS)[: 3 * k]
        lists = {
            name: SourceList(place_N=rng.permutation(drawn)[:k], score_N=-np.arange(k, dtype=np.float32))
            for name in QUOTAS
        }
        for most in (None, 3):

            def once(k: int = k, lists: dict[str, SourceList] = lists, most: int | None = most) -> object:
                return blend(lists, QUOTAS, k, most_per_advertiser=most, advertiser_of=advertiser_I.__getitem__)

            figures[f"blend_us k={k}, cap {most}"] = median_us(once)
    ranked = RankedList(rng.permutation(ITEMS), -np.arange(ITEMS, dtype=np.float32), items=ITEMS)
    for share in (1.0, 0.1, 0.01, 0.001, 0.0001):
        allowed = Allowed.of_mask(rng.random(ITEMS) < share)
        figures[f"top_us k=100, {share:g} allowed"] = median_us(lambda allowed=allowed: ranked.top(allowed, 100))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    print(f"{ITEMS:,} items; synthetic; {os.cpu_count()} cores")
    for metric, value in measure(np.random.default_rng(arguments.seed)).items():
        print(f"  {metric:40s} {value:10,.1f}")
        row = {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(), "commit": commit,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores", "config": f"seed {arguments.seed}",
            "size": ITEMS, "metric": metric, "value": round(value, 1), "data": "synthetic",
        }  # fmt: skip
        with (ROOT / "benchmarks" / "results" / "blending.jsonl").open("a", encoding="utf-8") as rows:
            rows.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
