"""Candidates for a list of users, from a finished run.

Shape letters: B distinct users asked for, K items each, N of their places filled, D width of the vectors.
"""

import contextlib
import datetime
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lowerfunnel.errors import ConfigError, DataError, RunError, UnavailableError
from lowerfunnel.evaluation.queries import histories_before, purchased
from lowerfunnel.events.store import EventStore
from lowerfunnel.events.timeline import Int32Array, Int64Array
from lowerfunnel.files import disk_errors, flush
from lowerfunnel.index.settings import load_index
from lowerfunnel.pipeline.run import open_finished
from lowerfunnel.pipeline.run_folder import RunFolder
from lowerfunnel.pipeline.users_file import read_users
from lowerfunnel.retrieval.artefact import ModelArtefact
from lowerfunnel.retrieval.corpus import end_of_log, store_timelines
from lowerfunnel.retrieval.encoder import Encoder

_NEEDED = ("import", "label", "train", "index")
_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Written:
    """What `recommend_to_file` wrote."""

    rows: int
    users: int
    unknown_users: int


def recommend_to_file(
    run: Path,
    users_file: Path,
    *,
    k: int,
    out: Path,
    at: str | None,
    exclude_purchased: bool,
    progress: Callable[[int, int], None] | None = None,
) -> Written:
    """Write the `k` best items of each user to a Parquet file: user_id, item_id, rank (from 1), score.

    Users come in the order in which the file first names them, each one's items best first. A user whom the log does
    not know gets what the model holds best for anybody. Fewer than `k` rows mean that the catalogue holds no more items
    that the user has not bought.

    Args:
        run: The folder of a run that has its index.
        users_file: Parquet or CSV with a column `user_id`; other columns are ignored, repeats count once.
        k: Items per user.
        out: The Parquet file to write; it appears only when it is whole.
        at: Use what was known strictly before this time, ISO 8601, UTC where it names no zone; None for the end of the log.
        exclude_purchased: Whether items that the user has converted on are left out.
        progress: Called with the users done and the users in all.

    Raises:
        LowerfunnelError: For a run that is not finished, a file that cannot be used, a time the log does not have.
    """
    _require_place(out, users_file)
    folder = RunFolder.open(run)
    with folder.reading():
        recipe, _, _ = open_finished(folder, _NEEDED, untouched=("train", "index"))
        store = EventStore.open(run / "store")
        at_t = None if at is None else _point_in_time(at, store.info.order)
        artefact = ModelArtefact.load(run / "model")
        ids = read_users(users_file, artefact.users.ids.type)
        index = load_index(run / "index")
        timelines = store_timelines(store, artefact.users, artefact.items, artefact.vocabularies.surface)
    if (index.items, index.width) != (len(artefact.items), artefact.config.tower.vector_width):
        raise RunError(
            f"the index in {run} holds {index.items:,} items of width {index.width} and the model {len(artefact.items):,} "
            f"of width {artefact.config.tower.vector_width}: they do not belong together; run the recipe again"
        )
    encoder = Encoder(artefact.model, artefact.item_features, artefact.counters_IF)
    user_B = artefact.users.encode(ids)
    asked_t = end_of_log(timelines) if at_t is None else at_t

    def best_of(start: int, block_B: Int32Array) -> pa.Table:
        at_B = np.full(len(block_B), asked_t, np.int64)
        query_BD = encoder.users(
            block_B,
            at_B,
            timelines=timelines,
            features=artefact.user_features,
            trained_U=artefact.trained_U,
        )
        excluded: tuple[Int64Array, Int32Array] | tuple[None, None] = (None, None)
        if exclude_purchased:
            excluded = purchased(*histories_before(timelines, block_B, at_B), recipe.labels.conversions)
        ranking = index.search(query_BD, min(k, index.items), excluded_offsets=excluded[0], excluded_item=excluded[1])
        found_BK = ranking.item_QK >= 0
        row_N, column_N = np.nonzero(found_BK)
        return pa.table(
            {
                "user_id": ids.slice(start, len(block_B)).take(pa.array(row_N)),
                "item_id": artefact.items.decode(ranking.item_QK[found_BK]),
                "rank": pa.array((column_N + 1).astype(np.int32)),
                "score": pa.array(ranking.score_QK[found_BK]),
            }
        )

    rows = 0
    schema = best_of(0, user_B[:1]).schema
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with disk_errors(out):
            with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
                for start in range(0, len(user_B), _BLOCK):
                    table = best_of(start, user_B[start : start + _BLOCK])
                    writer.write_table(table)
                    rows += len(table)
                    if progress is not None:
                        progress(min(start + _BLOCK, len(user_B)), len(user_B))
            flush(temporary)
            temporary.replace(out)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return Written(rows=rows, users=len(user_B), unknown_users=int((user_B < 0).sum()))


def _require_place(out: Path, users_file: Path) -> None:
    """Refuse a place that cannot be written to before any work is done."""
    if not out.parent.is_dir():
        raise DataError(f"--out {out}: the folder {out.parent} is not there; make it first")
    if out.is_dir():
        raise DataError(f"--out {out} is a folder; give the name of a Parquet file")
    if out.resolve() == users_file.resolve():
        raise DataError(f"--out {out} is the file of --users; give another name")
    if not os.access(out.parent, os.W_OK):
        raise RunError(f"{out} cannot be written (no right to write to {out.parent}); choose another folder")


def _point_in_time(at: str, order: str) -> int:
    """Return `--at` in microseconds since 1970 UTC."""
    if order != "time":
        raise UnavailableError(f"--at {at} needs a log with times, and this one has none; leave it out")
    try:
        moment = datetime.datetime.fromisoformat(at)
    except ValueError as error:
        raise ConfigError(f"--at {at!r} is no time; write it like 2026-01-31T12:00:00Z") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return (moment - datetime.datetime.fromtimestamp(0, datetime.UTC)) // datetime.timedelta(microseconds=1)
