"""Write a synthetic world to a folder: its log, its catalogue, its users, and its truth."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lowerfunnel.config import settings_fingerprint, settings_to_dict
from lowerfunnel.errors import RunError
from lowerfunnel.events.schema import ACTIONS, event_schema
from lowerfunnel.files import write_folder, write_json
from lowerfunnel.world.behaviour import Behaviour
from lowerfunnel.world.population import Population, draw_population
from lowerfunnel.world.settings import WorldConfig
from lowerfunnel.world.tables import category_names, event_table, item_table, user_table
from lowerfunnel.world.truth import WORLD_FILE, WorldTruth

VERSION = 1
"""Of the generator: raised whenever equal settings give another log."""
USERS_AT_A_TIME = 512


def generate_world(config: WorldConfig, out: Path) -> WorldTruth:
    """Generate a world into the folder `out`, which is new, empty, or holds this same world already.

    Writes `events.parquet`, `items.parquet` and `users.parquet` in the canonical schema, `truth.safetensors` with what
    the log does not tell, and `world.json` with the settings and what came of them. The folder appears under its name
    only when it is complete. Memory is bounded by the users simulated at a time, not by the log.

    Raises:
        RunError: If `out` holds anything else, or cannot be written.
    """
    if out.exists():
        if _is_this_world(config, out):
            return WorldTruth.load(out)
        if not out.is_dir() or any(out.iterdir()):
            raise RunError(f"{out} already holds something else than this world; choose a new folder or delete it")
    rng = np.random.default_rng(config.seed)
    people = draw_population(config, rng)
    truth = WorldTruth.of(config, people)
    try:
        write_folder(out, lambda folder: _write(people, truth, rng, folder))
    except OSError as error:
        raise RunError(f"the synthetic world could not be written to {out}: {error.strerror or error}") from error
    return truth


def _is_this_world(config: WorldConfig, out: Path) -> bool:
    try:
        world = json.loads((out / WORLD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(world, dict) and world.get("fingerprint") == _fingerprint(config)


def _fingerprint(config: WorldConfig) -> str:
    return f"{VERSION}-{settings_fingerprint(config)}"


def _write(people: Population, truth: WorldTruth, rng: np.random.Generator, folder: Path) -> None:
    config = truth.config
    categories = category_names(config.n_categories)
    _write_table(item_table(people, categories, rng), folder / "items.parquet")
    _write_table(user_table(people, categories, rng), folder / "users.parquet")
    actions = _write_events(Behaviour(config, people, truth), people, rng, folder / "events.parquet")
    truth.save(folder)
    world = {
        "data": "synthetic",
        "fingerprint": _fingerprint(config),
        "settings": settings_to_dict(config),
        "users": config.n_users,
        "items": config.n_items,
        "events": actions.total(),
        "actions": {action: actions[action] for action in ACTIONS if actions[action]},
    }
    write_json(folder / WORLD_FILE, world)


def _write_events(behaviour: Behaviour, people: Population, rng: np.random.Generator, path: Path) -> Counter[str]:
    actions: Counter[str] = Counter()
    next_request = 0
    with pq.ParquetWriter(path, event_schema("int64", "int64"), compression="zstd") as writer:
        for first in range(0, len(people.user_id_U), USERS_AT_A_TIME):
            users = np.arange(first, min(first + USERS_AT_A_TIME, len(people.user_id_U)))
            rows = behaviour.live(rng, users, next_request)
            next_request = max(next_request, int(rows.request_N.max(initial=-1)) + 1)
            writer.write_table(event_table(rows, people, behaviour.config, first=actions.total()))
            counts = np.bincount(rows.action_N, minlength=len(ACTIONS))
            actions.update(dict(zip(ACTIONS, counts.tolist(), strict=True)))
    return actions


def _write_table(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd")
