"""The generic reader: every file of every source goes once through the engine and comes out staged, typed and judged."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from lowerfunnel.errors import ConfigError, DataError
from lowerfunnel.events import inputs, sql
from lowerfunnel.events.canonical import COLUMNS, STAGED_TYPES, UNKNOWN_ACTION, canonical_rows, resolve
from lowerfunnel.events.inputs import InputFile
from lowerfunnel.events.quarantine import TableCounts, count_table, create_tables, refuse_if_too_many, take_rejects
from lowerfunnel.events.schema import ACTIONS
from lowerfunnel.events.settings import LogConfig, SourceConfig

TABLES = ("events", "test", "items", "users")


@dataclass(slots=True)
class StagedLog:
    """The log after import, before it is divided, sorted and freed of duplicates.

    Attributes:
        folder: Where the staged rows are.
        mapped: The canonical columns that something gives, per table.
        counts: What became of the rows, per table that has sources.
    """

    folder: Path
    mapped: dict[str, set[str]] = field(default_factory=dict)
    counts: dict[str, TableCounts] = field(default_factory=dict)

    def rows(self, table: str, bucket: int | None = None) -> str:
        """Return the relation of a table's staged rows, or of those in one bucket."""
        folder = self.folder / table if bucket is None else self.folder / table / f"bucket={bucket}"
        if not any(folder.rglob("*.parquet")):
            columns = ", ".join(
                f"CAST(NULL AS {STAGED_TYPES.get(c, 'VARCHAR')}) AS {sql.name(c)}" for c in COLUMNS[table]
            )
            nothing = "CAST(NULL AS INTEGER) AS file, CAST(NULL AS BIGINT) AS row, CAST(NULL AS VARCHAR) AS reason, "
            nothing += "CAST(NULL AS VARCHAR) AS detail, CAST(NULL AS VARCHAR) AS raw, CAST(NULL AS BIGINT) AS bucket"
            return f"(SELECT {columns}, {nothing} WHERE false)"
        pattern = sql.text(str(folder / "**" / "*.parquet"))
        return f"read_parquet({pattern}, hive_partitioning = true, hive_types = {{bucket: BIGINT}})"


def stage_log(connection: sql.Connection, config: LogConfig, data_dir: Path, folder: Path, *, now_us: int) -> StagedLog:
    """Import every source of a log into `folder`.

    Raises:
        DataError: If a file or too many of its rows cannot be used.
    """
    if not config.events:
        raise ConfigError("the log names no events; add a table [[log.events]] with files, or a reader that knows them")
    create_tables(connection)
    staged = StagedLog(folder=folder)
    all_sources = (config.events, config.test, config.items, config.users)
    for table, sources in zip(TABLES, all_sources, strict=True):
        (folder / table).mkdir(parents=True)
        for number, source in enumerate(sources):
            _Source(connection, config, source, table, number, data_dir).stage(staged, now_us=now_us)
        if sources:
            staged.counts[table] = counts = count_table(connection, table, staged.rows(table))
            if counts.read == 0:
                raise DataError(
                    f"{table}: its files hold no rows, only the names of columns; at least one row is needed"
                )
            if table in ("events", "test"):
                _refuse_unknown_actions(connection, staged, table)
            refuse_if_too_many(table, counts, share=config.max_quarantined_share)
            if counts.kept == 0:
                raise DataError(f"{table}: all {counts.read:,} rows were ignored or set aside; at least one is needed")
    return staged


def _refuse_unknown_actions(connection: sql.Connection, staged: StagedLog, table: str) -> None:
    """Stop where a source has not one known action: then its `actions` are wrong, not its rows."""
    rows = connection.execute(
        f"SELECT files.source, list(DISTINCT detail ORDER BY detail) FROM {staged.rows(table)} JOIN files USING (file) "
        f"GROUP BY files.source HAVING count(*) = count(*) FILTER (reason = {sql.text(UNKNOWN_ACTION)}) ORDER BY ALL"
    ).fetchall()
    for source, seen in rows:
        shown = ", ".join(repr(value) for value in seen[:10]) + (", ..." if len(seen) > 10 else "")
        raise DataError(
            f"{source}: none of its actions is known; the files say {shown}: write what each means in {source}.actions, "
            f"for example actions = {{ {seen[0]!r} = 'view' }} ({', '.join(ACTIONS)})"
        )


class _Source:
    """One source on its way into the staged log."""

    def __init__(
        self,
        connection: sql.Connection,
        config: LogConfig,
        source: SourceConfig,
        table: str,
        number: int,
        data_dir: Path,
    ) -> None:
        self.connection = connection
        self.config = config
        self.source = source
        self.table = table
        self.where = f"{table}.{number}"
        self.data_dir = data_dir

    def stage(self, staged: StagedLog, *, now_us: int) -> None:
        """Import all files of the source."""
        files = self._open(self.source)
        if self.source.query is None:
            for file in files:
                index = self._number(file.name)
                relation = inputs.scan(file, self.source, rejects=str(index))
                self._copy(staged, file.name, file.columns, relation, index, now_us=now_us)
                self._take_rejects(file, index)
            return
        scanned = self._views("source", files)
        for name, pattern in self.source.tables.items():
            scanned |= self._views(name, self._open(dataclasses.replace(self.source, files=pattern)))
        columns = self._describe_query()
        name = f"the query of {self.where}"
        self._copy(staged, name, columns, f"({self._ordered_query()})", self._number(name), now_us=now_us)
        for index, file in scanned.items():
            self._take_rejects(file, index)
        for view in ("source", *self.source.tables):
            self.connection.execute(f"DROP VIEW {sql.name(view)}")

    def _open(self, source: SourceConfig) -> list[InputFile]:
        paths = inputs.find_files(source.patterns, self.data_dir, where=self.where)
        return [inputs.open_file(self.connection, source, path, self.data_dir) for path in paths]

    def _number(self, name: str) -> int:
        (index,) = self.connection.execute("SELECT count(*) FROM files").fetchone() or (0,)
        self.connection.execute("INSERT INTO files VALUES (?, ?, ?, ?)", [index, self.table, self.where, name])
        return int(index)

    def _take_rejects(self, file: InputFile, index: int) -> None:
        if file.format == "csv":
            take_rejects(self.connection, rejects=str(index), file=index, name=file.name, header=file.header)

    def _copy(
        self,
        staged: StagedLog,
        name: str,
        columns: tuple[tuple[str, str], ...],
        relation: str,
        index: int,
        *,
        now_us: int,
    ) -> None:
        given = set(resolve(self.table, self.source, columns, where=self.where, file=name))
        _note_mapped(staged, self.table, given | ({"attributes"} if self.source.attributes else set()), self.where)
        select = canonical_rows(
            self.table,
            self.source,
            columns,
            relation,
            config=self.config,
            where=self.where,
            file=name,
            number=index,
            now_us=now_us,
        )
        with sql.engine_errors(f"reading {name}"):
            self.connection.execute(
                f"COPY ({select}) TO {sql.text(str(staged.folder / self.table))} (FORMAT parquet, COMPRESSION snappy, "
                f"PARTITION_BY (bucket), FILENAME_PATTERN 'file{index}_{{i}}', OVERWRITE_OR_IGNORE)"
            )

    def _views(self, view: str, files: list[InputFile]) -> dict[int, InputFile]:
        numbered = {self._number(file.name): file for file in files}
        scans = [
            f"SELECT * FROM {inputs.scan(file, self.source, rejects=str(index))}" for index, file in numbered.items()
        ]
        self.connection.execute(f"CREATE VIEW {sql.name(view)} AS {' UNION ALL BY NAME '.join(scans)}")
        return numbered

    def _describe_query(self) -> tuple[tuple[str, str], ...]:
        query = self.source.query or ""
        try:
            statements = duckdb.extract_statements(query)
            if [each.type for each in statements] != [duckdb.StatementType.SELECT]:
                raise ConfigError(
                    f"{self.where}.query must be one SELECT, got {len(statements)} statements of other kinds"
                )
            described = self.connection.execute(f"DESCRIBE {query}").fetchall()
        except duckdb.Error as error:
            raise ConfigError(f"{self.where}.query cannot be run: {sql.first_line(error)}") from error
        return tuple((str(row[0]), str(row[1])) for row in described)

    def _ordered_query(self) -> str:
        """Return the query, ordered by all its columns if it is one of items or users without an order of its own."""
        query = (self.source.query or "").strip().rstrip(";")
        if self.table in ("events", "test"):
            return query
        (tree,) = self.connection.execute("SELECT json_serialize_sql(?)", [query]).fetchone() or ("{}",)
        modifiers = [each for statement in json.loads(tree)["statements"] for each in statement["node"]["modifiers"]]
        if any(each["type"] == "ORDER_MODIFIER" for each in modifiers):
            return query
        return f"SELECT * FROM ({query}) ORDER BY ALL"


def _note_mapped(staged: StagedLog, table: str, mapped: set[str], where: str) -> None:
    """Remember what a source gives; all sources of the events must agree on what orders them."""
    known = staged.mapped.setdefault(table, set(mapped))
    if table == "events":
        for order in ("ts", "seq"):
            if (order in known) != (order in mapped):
                raise DataError(
                    f"{where} gives {'a' if order in mapped else 'no'} {order} and the files before it give "
                    f"{'one' if order in known else 'none'}; a log is ordered by one thing throughout"
                )
    known |= mapped
