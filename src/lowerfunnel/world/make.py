"""Write a world to a folder, day by day, by one process or several; and open it again."""

import datetime
import json
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lowerfunnel.config import load_settings, settings_fingerprint, settings_to_dict
from lowerfunnel.errors import ConfigError, RunError
from lowerfunnel.events.schema import ACTIONS
from lowerfunnel.files import write_folder, write_json
from lowerfunnel.world.settings import WorldConfig
from lowerfunnel.world.world import DayLog, World

VERSION = 2
"""Of the world: raised whenever equal settings give another log."""
WORLD_FILE = "world.json"
DAY_FILE = "day-{:03d}.parquet"
BYTES_PER_USER = 700
"""Measured, with all of a user's arrays and what is drawn on the way."""
BYTES_PER_ITEM = 2_500
BYTES_PER_IMPRESSION = 400
"""Measured, of one day's impressions while they become a table."""


def make_world(
    config: WorldConfig, out: Path, *, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> World:
    """Make a world into the folder `out`, which is new, empty, or holds this same world already.

    Writes `events/day-000.parquet` and so on in the canonical schema, `items.parquet`, `users.parquet`,
    `advertisers.parquet`, `truth/day-000.parquet` with the purchases as they truly were, and `world.json` with the
    settings. The folder appears under its name only when it is complete, and its files are the same, byte for byte,
    for any number of workers. Memory is bounded by one day for each worker.

    Args:
        config: The settings.
        out: The folder.
        workers: Processes that make days side by side.
        progress: Is told the days made so far, and of how many.

    Raises:
        ConfigError: If the machine has too little memory for it.
        RunError: If `out` holds anything else, or cannot be written.
    """
    if out.exists():
        if _is_this_world(config, out):
            return World(config)
        if not out.is_dir() or any(out.iterdir()):
            raise RunError(f"{out} already holds something else than this world; choose a new folder or delete it")
    require_memory(config, workers)
    world = World(config)
    try:
        write_folder(out, lambda folder: _write(world, folder, workers, progress or (lambda done, days: None)))
    except OSError as error:
        raise RunError(f"the synthetic world could not be written to {out}: {error.strerror or error}") from error
    return world


def load_world(folder: Path) -> World:
    """Draw the world again that `make_world` wrote to a folder.

    Raises:
        RunError: If the folder holds no world, a damaged one, or one that this version would draw otherwise.
    """
    world = _read(folder)
    if world is None:
        raise RunError(f"{folder} holds no synthetic world: there is no readable {WORLD_FILE}; make one")
    try:
        config = load_settings(WorldConfig, world["settings"], source=str(folder / WORLD_FILE))
    except (KeyError, TypeError, ConfigError) as error:
        raise RunError(f"the synthetic world in {folder} is of another version or damaged; make it again") from error
    if world.get("fingerprint") != _fingerprint(config):
        raise RunError(f"the synthetic world in {folder} is of another version or damaged; make it again")
    return World(config)


def memory_needed(config: WorldConfig, workers: int) -> int:
    """Return about how many bytes making a world takes on its busiest day."""
    traffic = config.traffic
    factors = [
        config.season.visits_factor(day, weekday=(config.start + datetime.timedelta(days=day)).weekday())
        for day in range(config.days)
    ]
    impressions = config.n_users * config.users.visits_per_day * traffic.platform_share
    impressions *= traffic.requests_per_visit * traffic.slots * max(factors)
    each = config.n_users * BYTES_PER_USER + config.n_items * BYTES_PER_ITEM + impressions * BYTES_PER_IMPRESSION
    return int(each * max(workers, 1))


def require_memory(config: WorldConfig, workers: int) -> None:
    """Raise a `ConfigError` where a world would not fit into what is free now."""
    free = _free_memory()
    needed = memory_needed(config, workers)
    if free is not None and needed > free:
        raise ConfigError(
            f"this world takes about {needed / 1e9:.1f} GB with {workers} workers and {free / 1e9:.1f} GB are free; lower "
            "n_users, users.visits_per_day or the number of workers"
        )


def _free_memory() -> int | None:
    """Return the bytes that a program may still take, None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        world = json.loads((folder / WORLD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return world if isinstance(world, dict) else None


def _is_this_world(config: WorldConfig, out: Path) -> bool:
    world = _read(out)
    return world is not None and world.get("fingerprint") == _fingerprint(config)


def _fingerprint(config: WorldConfig) -> str:
    return f"{VERSION}-{settings_fingerprint(config)}"


def _write(world: World, folder: Path, workers: int, progress: Callable[[int, int], None]) -> None:
    config = world.config
    _write_table(world.item_table(), folder / "items.parquet")
    _write_table(world.user_table(), folder / "users.parquet")
    _write_table(world.advertiser_table(), folder / "advertisers.parquet")
    (folder / "events").mkdir()
    (folder / "truth").mkdir()
    counts: Counter[str] = Counter()
    with _days_made(world, folder, workers) as made:
        for done, count in enumerate(made, start=1):
            counts.update(count)
            progress(done, config.days)
    actions = {action: counts[action] for action in ACTIONS if counts[action]}
    write_json(
        folder / WORLD_FILE,
        {
            "data": "synthetic",
            "fingerprint": _fingerprint(config),
            "settings": settings_to_dict(config),
            "users": config.n_users,
            "items": config.n_items,
            "events": sum(actions.values()),
            "actions": actions,
            "true_purchases": counts["true purchase"],
        },
    )


@contextmanager
def _days_made(world: World, folder: Path, workers: int) -> Iterator[Iterator[dict[str, int]]]:
    """Write all days, and give the counts of each as it is done."""
    days = range(world.config.days)
    if workers <= 1:
        yield (_write_day(day, folder) for day in world.log(days))
        return
    # Fresh processes: a fork of one that has threads, such as torch's, may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        min(workers, len(days)), mp_context=context, initializer=_open_in_worker, initargs=(world.config, folder)
    )
    try:
        yield pool.map(_make_day, days)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_in_worker: dict[str, tuple[World, Path]] = {}


def _open_in_worker(config: WorldConfig, folder: Path) -> None:
    _in_worker["world"] = (World(config), folder)


def _make_day(day: int) -> dict[str, int]:
    world, folder = _in_worker["world"]
    return _write_day(next(world.log([day])), folder)


def _write_day(day: DayLog, folder: Path) -> dict[str, int]:
    name = DAY_FILE.format(day.day)
    _write_table(day.events, folder / "events" / name)
    _write_table(day.truth, folder / "truth" / name)
    counted = pc.value_counts(day.events.column("action"))
    counts = {entry["values"].as_py(): entry["counts"].as_py() for entry in counted}
    return {**counts, "true purchase": len(day.truth)}


def _write_table(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd", compression_level=1)
