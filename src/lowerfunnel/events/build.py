"""Building a store: staged rows are given their id types, freed of duplicates, sorted and written."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lowerfunnel.errors import ConfigError, DataError
from lowerfunnel.events import ids, sql
from lowerfunnel.events.canonical import STAGED_TYPES, TIMES, VECTORS
from lowerfunnel.events.generic import StagedLog, stage_log
from lowerfunnel.events.inputs import did_you_mean
from lowerfunnel.events.measure import LogCounts, WrittenLog, measure_quality
from lowerfunnel.events.quality import quality_to_dict
from lowerfunnel.events.quarantine import QUARANTINE_COLUMNS
from lowerfunnel.events.readers import READERS
from lowerfunnel.events.schema import IdType, event_schema, item_schema, user_schema
from lowerfunnel.events.settings import EVENT_COLUMNS, IdChoice, LogConfig
from lowerfunnel.events.store import STORE_VERSION, Order, StoreInfo, bucket_name, write_manifest
from lowerfunnel.files import write_folder, write_json

_ROW_GROUP = 131_072
_ROWS_PER_FILE = 1 << 40


def resolve_log(config: LogConfig, data_dir: Path) -> LogConfig:
    """Let the named reader of a log fill in its sources.

    Raises:
        ConfigError: If there is no such reader.
    """
    if config.reader not in READERS:
        raise ConfigError(
            f"log.reader is {config.reader!r}, and there is none so named ({did_you_mean(config.reader, READERS)})"
        )
    return READERS[config.reader](data_dir, config)


def build_store(
    config: LogConfig,
    data_dir: Path,
    out: Path,
    *,
    threads: int = 2,
    memory_limit: str = "2GB",
    now_us: int | None = None,
) -> StoreInfo:
    """Import a log into a store at `out`, which appears only when it is whole and replaces what was there.

    Memory stays near `memory_limit` plus one bucket of events and the catalogue; the rest spills to the disk of `out`.

    Args:
        config: Where the log comes from and what it means.
        data_dir: The folder of its files.
        out: The store to write.
        threads: How many the engine may use. The result does not depend on it.
        memory_limit: What the engine may hold, such as "2GB".
        now_us: What counts as now, microseconds since 1970 UTC; an event more than a day later lies in the future.

    Raises:
        ConfigError: If the settings do not fit the files.
        DataError: If a file or too many rows cannot be used.
        RunError: If the disk is full or the memory too small.
    """
    data_dir = data_dir.resolve()
    config = resolve_log(config, data_dir)
    now = time.time_ns() // 1000 if now_us is None else now_us

    def fill(folder: Path) -> None:
        scratch = folder.resolve() / "scratch"
        scratch.mkdir()
        try:
            with sql.connect(
                scratch, threads=threads, memory_limit=memory_limit, folders=[data_dir, folder.resolve()]
            ) as connection:
                staged = stage_log(connection, config, data_dir, scratch / "staged", now_us=now)
                with sql.engine_errors("writing the store"):
                    info.append(_Writer(connection, staged, config, folder.resolve()).write())
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        write_manifest(folder, info[0])

    info: list[StoreInfo] = []
    out.parent.mkdir(parents=True, exist_ok=True)
    write_folder(out, fill)
    return info[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Repeats:
    """How often the rows of a table repeat an id, and how many ids say different things."""

    rows: int
    conflicting: int


class _Writer:
    """Writes the files of one store from staged rows."""

    def __init__(self, connection: sql.Connection, staged: StagedLog, config: LogConfig, folder: Path) -> None:
        self.connection = connection
        self.staged = staged
        self.config = config
        self.folder = folder
        self.mapped = staged.mapped["events"]
        self.order: Order = "time" if "ts" in self.mapped else "sequence" if "seq" in self.mapped else "none"
        self.user_id_type = self._id_type(config.user_id_type, {"user_id": ("events", "test", "users")})
        self.item_id_type = self._id_type(
            config.item_id_type,
            {"item_id": ("events", "test", "items"), "context_item_id": ("events", "test")},
        )

    def write(self) -> StoreInfo:
        """Write everything but the manifest."""
        events = self._write_events()
        has_test = bool(self.config.test)
        if has_test:
            self._write_table("test.parquet", self._events("test", None), self._event_schema())
        item_repeats = self._write_entities("items", "item_id", self.item_id_type, item_schema(self.item_id_type))
        user_repeats = self._write_entities("users", "user_id", self.user_id_type, user_schema(self.user_id_type))
        self._write_table(
            "quarantine.parquet",
            'SELECT "table", file, row, reason, detail, raw FROM quarantine ORDER BY ALL',
            pa.schema([(name, pa.int64() if name == "row" else pa.string()) for name in QUARANTINE_COLUMNS]),
        )
        counts = LogCounts(
            tables=self.staged.counts,
            duplicate_events=self.staged.counts["events"].kept - events,
            conflicting_event_ids=self._conflicting_event_ids(),
            repeated_items=item_repeats.rows,
            conflicting_items=item_repeats.conflicting,
            repeated_users=user_repeats.rows,
            conflicting_users=user_repeats.conflicting,
        )
        catalogue = f"(SELECT DISTINCT item_id FROM {self.staged.rows('items')} WHERE bucket >= 0)"
        log = WrittenLog(
            connection=self.connection,
            events=f"read_parquet({self._event_files()})",
            items=self._file("items.parquet"),
            users=self._file("users.parquet"),
            test=self._file("test.parquet") if has_test else None,
            catalogue=catalogue if self.config.items else None,
            order=self.order,
        )
        quality = measure_quality(log, counts, synthetic=self.config.synthetic)
        write_json(self.folder / "quality.json", quality_to_dict(quality))
        return StoreInfo(
            version=STORE_VERSION,
            user_id_type=self.user_id_type,
            item_id_type=self.item_id_type,
            buckets=self.config.buckets,
            events=events,
            users=quality.users,
            items=quality.items,
            order=self.order,
            first_ts_us=quality.first_ts_us,
            last_ts_us=quality.last_ts_us,
            actions=quality.actions,
            surfaces=quality.surfaces,
            has_given_test=has_test,
            synthetic=self.config.synthetic,
            columns=quality.columns,
        )

    def _id_type(self, choice: IdChoice, places: dict[str, tuple[str, ...]]) -> IdType:
        """Decide for integers only if every id is one and comes back as it was written."""
        if choice != "auto":
            return choice
        for column, tables in places.items():
            for table in tables:
                (integers,) = self.connection.execute(
                    f"SELECT coalesce(bool_and({ids.is_integer(column)}), true) FROM {self.staged.rows(table)} "
                    f"WHERE bucket >= 0 AND {column} IS NOT NULL"
                ).fetchone() or (True,)
                if not integers:
                    return "string"
        return "int64"

    def _typed(self, column: str) -> str:
        kinds = {"user_id": self.user_id_type, "item_id": self.item_id_type, "context_item_id": self.item_id_type}
        if kinds.get(column) == "int64":
            return f"CAST({column} AS BIGINT) AS {column}"
        return f"make_timestamptz({column}) AS {column}" if column in TIMES else sql.name(column)

    def _event_schema(self) -> pa.Schema:
        return event_schema(self.user_id_type, self.item_id_type)

    def _write_events(self) -> int:
        (self.folder / "events").mkdir()
        return sum(
            self._write_table(f"events/{bucket_name(bucket)}", self._events("events", bucket), self._event_schema())
            for bucket in range(self.config.buckets)
        )

    def _events(self, table: str, bucket: int | None) -> str:
        """Write the SELECT of a table's distinct events in their final order; the first of equal ones is kept.

        Where no column orders them, `seq` is null here.
        """
        mapped = sorted(self.staged.mapped[table])
        rows = f"(SELECT *, file * {_ROWS_PER_FILE} + row AS line FROM {self.staged.rows(table, bucket)} WHERE bucket >= 0)"
        columns = ", ".join(self._typed(column) for column in EVENT_COLUMNS)
        if table == "events" and self.order == "none":
            distinct = f"SELECT * FROM {rows} {_first_of(['user_id', 'item_id', 'action'])}"
        elif "event_id" in mapped:
            # Rows without an event id are compared by all they say.
            others = [f"CASE WHEN event_id IS NULL THEN {sql.name(column)} END" for column in mapped]
            distinct = f"SELECT * FROM {rows} {_first_of(['user_id', 'event_id', *others])}"
        else:
            # The same as the first of each, by a hash table instead of a sort.
            said = ", ".join(sql.name(column) for column in mapped)
            unsaid = "".join(
                f", CAST(NULL AS {STAGED_TYPES.get(column, 'VARCHAR')}) AS {sql.name(column)}"
                for column in EVENT_COLUMNS
                if column not in mapped
            )
            distinct = f"SELECT {said}, min(line) AS line{unsaid} FROM {rows} GROUP BY {said}"
        if "ts" in mapped or "seq" in mapped:
            return f"SELECT {columns} FROM ({distinct}) ORDER BY user_id, ts, seq, line"
        return f"SELECT {columns} FROM ({distinct}) ORDER BY user_id, item_id, action, line"

    def _conflicting_event_ids(self) -> int:
        """Count event ids that a user's events share although they differ in more than when they were received."""
        if "event_id" not in self.mapped:
            return 0
        said = ", ".join(sql.name(column) for column in sorted(self.mapped) if column != "received_ts")
        (conflicting,) = self.connection.execute(
            f"SELECT count(*) FROM (SELECT user_id FROM (SELECT DISTINCT {said} FROM {self.staged.rows('events')} "
            "WHERE bucket >= 0 AND event_id IS NOT NULL) GROUP BY user_id, event_id HAVING count(*) > 1)"
        ).fetchone() or (0,)
        return int(conflicting)

    def _write_entities(self, table: str, key: str, kind: IdType, schema: pa.Schema) -> _Repeats:
        """Write items or users: the first row of each id, and the ids that only events or test know."""
        rows = f"(SELECT * FROM {self.staged.rows(table)} WHERE bucket >= 0)"
        columns = [sql.name(column) for column in schema.names if column != key]
        if table == "items":
            for vector in VECTORS:
                self._check_lengths(rows, vector)
        listed, ids_listed, conflicting = self.connection.execute(
            f"SELECT sum(times), count(*), count(*) FILTER (contents > 1) FROM (SELECT count(*) AS times, "
            f"count(DISTINCT ({', '.join([*columns, '1'])})) AS contents FROM {rows} GROUP BY {key})"
        ).fetchone() or (0, 0, 0)
        first = f"SELECT * FROM {rows} QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY file * {_ROWS_PER_FILE} + row) = 1"
        cast = f"CAST({key} AS {'BIGINT' if kind == 'int64' else 'VARCHAR'}) AS {key}"
        known = [f"SELECT {key} FROM read_parquet({self._event_files()})", f"SELECT {cast} FROM {rows}"]
        if self.config.test:
            known.append(f"SELECT {key} FROM {self._file('test.parquet')}")
        self._write_table(
            f"{table}.parquet",
            f"SELECT known.{key}, {', '.join(columns)} FROM ({' UNION '.join(known)}) AS known "
            f"LEFT JOIN (SELECT * REPLACE ({cast}) FROM ({first})) AS first USING ({key}) ORDER BY known.{key}",
            schema,
        )
        return _Repeats(rows=int(listed or 0) - int(ids_listed), conflicting=int(conflicting))

    def _check_lengths(self, rows: str, vector: str) -> None:
        lengths = self.connection.execute(
            f"SELECT len({vector}), any_value(item_id) FROM {rows} WHERE {vector} IS NOT NULL GROUP BY 1 ORDER BY 1 LIMIT 2"
        ).fetchall()
        if len(lengths) > 1:
            (short, first), (long, second) = lengths
            raise DataError(
                f"items: {vector} vectors must have one length, and item {first} has {short} numbers, item {second} has {long}"
            )

    def _file(self, name: str) -> str:
        return f"read_parquet({sql.text(str(self.folder / name))})"

    def _event_files(self) -> str:
        return sql.text_list([str(self.folder / "events" / bucket_name(b)) for b in range(self.config.buckets)])

    def _write_table(self, name: str, select: str, schema: pa.Schema) -> int:
        """Write a result as one file, and return its rows. Whole, so that its row groups do not depend on threads."""
        table = self.connection.execute(select).to_arrow_table()
        if "seq" in schema.names and table["seq"].null_count == len(table):
            table = table.set_column(table.schema.get_field_index("seq"), "seq", _place_within_user(table["user_id"]))
        table = table.cast(schema)
        pq.write_table(table, self.folder / name, compression="zstd", row_group_size=_ROW_GROUP)
        return len(table)


def _first_of(key: list[str]) -> str:
    return f"QUALIFY row_number() OVER (PARTITION BY {', '.join(key)} ORDER BY line) = 1"


def _place_within_user(user_id: pa.ChunkedArray) -> pa.Array:
    """Number the sorted events of each user from 0."""
    place_E = np.arange(len(user_id), dtype=np.int64)
    if len(user_id):
        user_E = user_id.combine_chunks().dictionary_encode().indices.to_numpy()
        begins_E = np.concatenate([[True], user_E[1:] != user_E[:-1]])
        place_E -= np.maximum.accumulate(np.where(begins_E, place_E, 0))
    return pa.array(place_E)
