"""How fast a world is made, and how much memory a day takes.

    python benchmarks/bench_world.py [--preset standard] [--days 2] [--workers 2] [--scale 1.0]

Makes the first days of a preset into a temporary folder, once with one worker and once with several, each in a process
of its own, and prints impressions and events a second (drawing the population left out and in), and the largest resident
memory of one process. `--scale 0.1` makes a tenth of the users. Appends one row per figure to `benchmarks/results/world.jsonl`.
"""

import argparse
import datetime
import json
import multiprocessing
import os
import platform
import resource
import subprocess
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

from lowerfunnel.world import PRESETS, World, WorldConfig
from lowerfunnel.world.make import _write_day

ROOT = Path(__file__).resolve().parents[1]


def make_days(config: WorldConfig, days: list[int], folder: str) -> dict[str, float]:
    began = time.perf_counter()
    world = World(config)
    drawn = time.perf_counter()
    counts = [_write_day(day, Path(folder)) for day in world.log(days)]
    done = time.perf_counter()
    return {
        "impressions": sum(count["impression"] for count in counts),
        "events": sum(sum(count.values()) - count["true purchase"] for count in counts),
        "draw_s": drawn - began,
        "make_s": done - drawn,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="standard", choices=list(PRESETS))
    parser.add_argument("--days", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scale", type=float, default=1.0)
    arguments = parser.parse_args()
    config = PRESETS[arguments.preset]
    config = replace(config, n_users=max(1, int(config.n_users * arguments.scale)))
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    print(f"{arguments.preset}: {config.n_users:,} users, {config.n_items:,} items; synthetic; {os.cpu_count()} cores")
    for workers in dict.fromkeys((1, arguments.workers)):
        with tempfile.TemporaryDirectory() as scratch:
            for part in ("events", "truth"):
                (Path(scratch) / part).mkdir()
            each = [list(range(worker * arguments.days, (worker + 1) * arguments.days)) for worker in range(workers)]
            began = time.perf_counter()
            with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
                parts = list(pool.map(make_days, [config] * workers, each, [scratch] * workers))
            wall_s = time.perf_counter() - began
            size = sum(path.stat().st_size for path in Path(scratch).rglob("*.parquet"))
        impressions, events = sum(part["impressions"] for part in parts), sum(part["events"] for part in parts)
        figures = {
            "impressions_per_s": impressions / max(part["make_s"] for part in parts),
            "impressions_per_s_with_start": impressions / wall_s,
            "events_per_s": events / max(part["make_s"] for part in parts),
            "peak_mb_per_worker": max(part["peak_mb"] for part in parts),
            "bytes_per_event": size / events,
        }
        for metric, value in figures.items():
            print(f"  {workers} worker{'s' if workers > 1 else ' '}  {metric:32s} {value:14,.1f}")
            row = {
                "date": datetime.datetime.now(datetime.UTC).date().isoformat(), "commit": commit,
                "machine": f"{platform.machine()}, {os.cpu_count()} cores",
                "config": f"{arguments.preset} x {arguments.scale:g}", "size": impressions, "workers": workers,
                "metric": metric, "value": round(value, 1), "data": "synthetic",
            }  # fmt: skip
            with (ROOT / "benchmarks" / "results" / "world.jsonl").open("a", encoding="utf-8") as rows:
                rows.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
