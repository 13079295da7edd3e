"""Candidates for a list of users, from a finished run.

Shape letters: B distinct users asked for, K items each.
"""

import datetime
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from lowerfunnel.config import load_settings
from lowerfunnel.errors import ConfigError, DataError, UnavailableError
from lowerfunnel.evaluation.queries import histories_before, purchased
from lowerfunnel.events.store import EventStore
from lowerfunnel.events.timeline import Int64Array
from lowerfunnel.features.vocabulary import Vocabulary
from lowerfunnel.files import disk_errors, flush
from lowerfunnel.index.settings import load_index
from lowerfunnel.pipeline.recipe import Recipe
from lowerfunnel.pipeline.run_folder import RunFolder
from lowerfunnel.retrieval.artefact import ModelArtefact
from lowerfunnel.retrieval.corpus import NEVER, store_timelines
from lowerfunnel.retrieval.encoder import Encoder

_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Written:
    """What `recommend_to_file` wrote."""

    rows: int
    users: int
    unknown_users: int


def recommend_to_file(
    run: Path, users_file: Path, *, k: int, out: Path, at: str | None, exclude_purchased: bool
) -> Written:
    """Write the `k` best items of each user to a Parquet file: user_id, item_id, rank (from 1), score.

    Users come in the order in which the file first names them, each one's items best first. A user whom the log does
    not know gets what the model holds best for anybody. Fewer than `k` rows mean that the catalogue holds no more items
    that the user has not bought.

    Args:
        run: The folder of a finished run.
        users_file: Parquet or CSV with a column `user_id`; other columns are ignored, repeats count once.
        k: Items per user.
        out: The Parquet file to write.
        at: Use what was known strictly before this time, ISO 8601, UTC where it names no zone; None for all.
        exclude_purchased: Whether items that the user has converted on are left out.

    Raises:
        LowerfunnelError: For a run that is not finished, a file that cannot be used, a time the log does not have.
    """
    folder = RunFolder.open(run)
    folder.require_step("index")
    recipe = load_settings(Recipe, folder.settings(), source=str(run / "run.json"))
    store = EventStore.open(run / "store")
    at_t = _point_in_time(at, store.info.order)
    artefact = ModelArtefact.load(run / "model")
    ids = _read_users(users_file, artefact.users)
    user_B = artefact.users.encode(ids)
    index = load_index(run / "index")
    encoder = Encoder(artefact.model, artefact.item_features, history_length=artefact.config.tower.history_length)
    timelines = store_timelines(store, artefact.users, artefact.items)
    conversions = recipe.labels.conversions
    rows = 0
    temporary = out.with_name(f".{out.name}.tmp")
    schema = pa.schema(
        [
            ("user_id", ids.type),
            ("item_id", artefact.items.ids.type),
            ("rank", pa.int32()),
            ("score", pa.float32()),
        ]
    )
    with disk_errors(out):
        if not out.parent.is_dir():
            raise DataError(f"--out {out}: the folder {out.parent} is not there; make it first")
        with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for start in range(0, len(user_B), _BLOCK):
                block_B = user_B[start : start + _BLOCK]
                at_B = np.full(len(block_B), at_t, np.int64)
                query_BD = encoder.users(
                    block_B,
                    at_B,
                    np.zeros(len(block_B), np.int32),
                    timelines=timelines,
                    features=artefact.user_features,
                    trained_U=artefact.trained_U,
                )
                excluded: tuple[Int64Array, np.ndarray] | tuple[None, None] = (None, None)
                if exclude_purchased:
                    excluded = purchased(*histories_before(timelines, block_B, at_B), conversions)
                ranking = index.search(
                    query_BD, min(k, index.items), excluded_offsets=excluded[0], excluded_item=excluded[1]
                )
                found_BK = ranking.item_QK >= 0
                row_N, column_N = np.nonzero(found_BK)
                table = pa.table(
                    [
                        ids.slice(start, len(block_B)).take(pa.array(row_N)),
                        artefact.items.decode(ranking.item_QK[found_BK]),
                        pa.array((column_N + 1).astype(np.int32)),
                        pa.array(ranking.score_QK[found_BK]),
                    ],
                    schema=schema,
                )
                writer.write_table(table)
                rows += len(table)
        flush(temporary)
        temporary.replace(out)
    return Written(rows=rows, users=len(user_B), unknown_users=int((user_B < 0).sum()))


def _read_users(path: Path, vocabulary: Vocabulary) -> pa.Array:
    """Return the distinct users that a file names, in order, in the type of the log's user ids."""
    if not path.is_file():
        raise DataError(f"--users {path} is not there; give a Parquet or CSV file with a column user_id")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            if "user_id" not in pq.read_schema(path).names:
                raise _no_users(path, pq.read_schema(path).names)
            column = pq.read_table(path, columns=["user_id"]).column("user_id")
        else:
            # As text: a CSV file's ids are read in the type that the log's have, never by guess.
            convert = pa_csv.ConvertOptions(
                include_columns=["user_id"], column_types={"user_id": pa.string()}, strings_can_be_null=True
            )
            column = pa_csv.read_csv(path, convert_options=convert).column("user_id")
    except KeyError as error:
        raise _no_users(path, _csv_columns(path)) from error
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"--users {path} cannot be read ({error}); give a Parquet or CSV file with a column user_id") from error
    if column.null_count:
        raise DataError(f"--users {path} has {column.null_count:,} rows without a user_id; remove them")
    distinct = pc.unique(column)
    if not len(distinct):
        raise DataError(f"--users {path} names no user")
    if pa.types.is_floating(distinct.type):
        raise DataError(f"--users {path}: user_id came as {distinct.type}; ids are never floats, write them as integers or strings")
    try:
        return pc.unique(distinct.cast(vocabulary.ids.type))
    except pa.ArrowInvalid as error:
        raise DataError(f"--users {path}: user ids of this log are {vocabulary.ids.type}, and {error}") from error


def _csv_columns(path: Path) -> list[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        return [name.strip().strip('"') for name in file.readline().split(",")]


def _no_users(path: Path, columns: list[str]) -> DataError:
    return DataError(f"--users {path} has no column user_id; it has {', '.join(columns)}")


def _point_in_time(at: str | None, order: str) -> int:
    """Return `--at` in microseconds since 1970 UTC, or the end of the log."""
    if at is None:
        return int(NEVER)
    if order != "time":
        raise UnavailableError(f"--at {at} needs a log with times, and this one has none; leave it out")
    try:
        moment = datetime.datetime.fromisoformat(at)
    except ValueError as error:
        raise ConfigError(f"--at {at!r} is no time; write it like 2026-01-31T12:00:00Z") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return (moment - datetime.datetime.fromtimestamp(0, datetime.UTC)) // datetime.timedelta(microseconds=1)
