"""Rows that cannot be used: kept with their file, row and reason, counted exactly, and never dropped in silence."""

from dataclasses import dataclass

from lowerfunnel.errors import DataError
from lowerfunnel.events import sql
from lowerfunnel.events.canonical import UNKNOWN_ACTION

SAMPLES_PER_REASON = 1000
"""How many rows of one reason and table are kept whole; the counts are always exact."""

NO_ROW = {
    "MISSING COLUMNS": "wrong number of columns",
    "TOO MANY COLUMNS": "wrong number of columns",
    "INVALID ENCODING": "text that is not UTF-8",
    "UNQUOTED VALUE": "a quote that is not closed",
}
"""What makes a line of a CSV file no row at all: the engine's word and ours."""

QUARANTINE_COLUMNS = ("table", "file", "row", "reason", "detail", "raw")
"""The columns of `quarantine.parquet`."""

_SCHEMA = '"table" VARCHAR, file VARCHAR, row BIGINT, reason VARCHAR, detail VARCHAR, raw VARCHAR'


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """Why rows of a table were set aside.

    Attributes:
        reason: In words.
        rows: How many.
        file: Where the first of them is.
        row: Its number in that file, from 1, not counting a header.
        example: That row as JSON, or the line as it stands where it is no row.
        values: The commonest values at fault and how often they occur (for unknown actions).
    """

    reason: str
    rows: int
    file: str
    row: int
    example: str
    values: dict[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class TableCounts:
    """What became of the rows of one table."""

    read: int
    kept: int
    ignored: int
    quarantined: tuple[Reason, ...]

    @property
    def bad(self) -> int:
        """How many rows were set aside."""
        return sum(each.rows for each in self.quarantined)


def create_tables(connection: sql.Connection) -> None:
    """Make the tables that hold the samples and the lines that are no rows."""
    connection.execute(f"CREATE TABLE quarantine ({_SCHEMA})")
    connection.execute('CREATE TABLE files (file INTEGER, "table" VARCHAR, source VARCHAR, name VARCHAR)')
    connection.execute("CREATE TABLE no_rows (file INTEGER, row BIGINT, reason VARCHAR, raw VARCHAR)")


def take_rejects(connection: sql.Connection, *, rejects: str, file: int, name: str, header: bool) -> None:
    """Move the lines of one scan that are no rows into `no_rows`.

    Raises:
        DataError: If a quote that is never closed, or a line without end, hides where the rows after it begin.
    """
    first = 1 if header else 0
    lines = (
        f"(SELECT e.line - {first} AS row, min(e.column_idx) AS column_idx, arg_min(e.error_type, e.column_idx) AS type, "
        f"arg_min(e.csv_line, e.column_idx) AS line FROM errors_{rejects} AS e GROUP BY e.line)"
    )
    swallowed = connection.execute(
        f"SELECT row, left(line, 80) FROM {lines} WHERE type = 'LINE SIZE OVER MAXIMUM' "
        "OR (type = 'UNQUOTED VALUE' AND contains(trim(line, chr(13) || chr(10)), chr(10))) ORDER BY row LIMIT 1"
    ).fetchone()
    if swallowed is not None:
        raise DataError(
            f"{name}: row {swallowed[0]} opens a quote that is not closed, so the rows after it cannot be told apart; "
            f"mend the row, which begins {swallowed[1].strip().splitlines()[0]!r}"
        )
    cases = " ".join(f"WHEN {sql.text(kind)} THEN {sql.text(reason)}" for kind, reason in NO_ROW.items())
    connection.execute(
        f"INSERT INTO no_rows SELECT {file}, row, CASE type {cases} ELSE lower(CAST(type AS VARCHAR)) END, "
        f"left(trim(line, chr(13) || chr(10)), 4000) FROM {lines}"
    )
    connection.execute(f"DROP TABLE errors_{rejects}")
    connection.execute(f"DROP TABLE scans_{rejects}")


def count_table(connection: sql.Connection, table: str, staged: str) -> TableCounts:
    """Count what became of a table's rows and keep samples of the bad ones.

    Args:
        connection: The engine that imported the table.
        table: Its name.
        staged: The relation of its staged rows.
    """
    samples = _samples(connection, table, staged)
    connection.execute(f"INSERT INTO quarantine {samples}")
    read, kept, ignored = connection.execute(
        f"SELECT count(*), count(*) FILTER (bucket >= 0), count(*) FILTER (bucket = -2) FROM {staged}"
    ).fetchone() or (0, 0, 0)
    (lines,) = connection.execute(_no_rows("count(*)", table)).fetchone() or (0,)
    counts = connection.execute(
        f"SELECT reason, sum(rows) FROM (SELECT reason, count(*) AS rows FROM {staged} WHERE bucket = -1 GROUP BY reason "
        f"UNION ALL {_no_rows('no_rows.reason, count(*)', table)} GROUP BY no_rows.reason) "
        "GROUP BY reason ORDER BY sum(rows) DESC, reason"
    ).fetchall()
    unknown = connection.execute(
        f"SELECT detail, count(*) FROM {staged} WHERE bucket = -1 AND reason = {sql.text(UNKNOWN_ACTION)} "
        "GROUP BY detail ORDER BY count(*) DESC, detail LIMIT 10"
    ).fetchall()
    reasons = []
    for reason, rows in counts:
        first = connection.execute(
            f'SELECT file, row, raw FROM quarantine WHERE "table" = {sql.text(table)} AND reason = {sql.text(reason)} '
            "ORDER BY file, row LIMIT 1"
        ).fetchone() or ("", 0, "")
        values = {str(value): int(count) for value, count in unknown} if reason == UNKNOWN_ACTION else {}
        reasons.append(
            Reason(reason=reason, rows=int(rows), file=first[0], row=int(first[1]), example=first[2], values=values)
        )
    return TableCounts(read=int(read) + int(lines), kept=int(kept), ignored=int(ignored), quarantined=tuple(reasons))


def _no_rows(what: str, table: str) -> str:
    return f'SELECT {what} FROM no_rows JOIN files USING (file) WHERE files."table" = {sql.text(table)}'


def _samples(connection: sql.Connection, table: str, staged: str) -> str:
    """Select the first bad rows of each reason. A row's number counts the lines before it that are no rows."""
    connection.execute(
        "CREATE OR REPLACE TEMP VIEW lines_before AS SELECT file, before, max(skipped) AS skipped FROM "
        "(SELECT file, row_number() OVER (PARTITION BY file ORDER BY row) AS skipped, row - skipped AS before FROM no_rows) "
        "GROUP BY file, before"
    )
    limit = f"QUALIFY row_number() OVER (PARTITION BY reason ORDER BY file, row) <= {SAMPLES_PER_REASON}"
    no_rows = _no_rows("no_rows.file AS file, row, reason, CAST(NULL AS VARCHAR) AS detail, raw", table)
    return (
        f"SELECT {sql.text(table)}, files.name, bad.row, bad.reason, bad.detail, bad.raw FROM ("
        "SELECT staged.file, staged.row + coalesce(skipped, 0) AS row, reason, detail, raw FROM "
        f"(SELECT file, row, reason, detail, raw FROM {staged} WHERE bucket = -1 {limit}) AS staged "
        "ASOF LEFT JOIN lines_before ON staged.file = lines_before.file AND staged.row > lines_before.before "
        f"UNION ALL SELECT * FROM ({no_rows}) {limit}) AS bad JOIN files USING (file)"
    )


def refuse_if_too_many(table: str, counts: TableCounts, *, share: float) -> None:
    """Stop where more than `share` of a table's rows are bad.

    Raises:
        DataError: It names the commonest reasons and shows a row.
    """
    judged = counts.read - counts.ignored
    if counts.bad == 0 or counts.bad <= share * judged:
        return
    worst = counts.quarantined[0]
    reasons = "; ".join(f"{each.reason} ({each.rows:,})" for each in counts.quarantined[:3])
    raise DataError(
        f"{table}: {counts.bad:,} of {judged:,} rows cannot be used ({counts.bad / judged:.1%}, and at most {share:.1%} may be "
        f"by max_quarantined_share): {reasons}; for example row {worst.row} of {worst.file}: {worst.example[:300]}"
    )
