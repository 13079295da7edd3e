"""The files of a source: found, checked to be whole, and turned into a relation that DuckDB can scan.

DuckDB reads a truncated or damaged .gz or .zst up to the break and says nothing, so every text file is streamed once
before it is trusted.
"""

import csv
import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from lowerfunnel.errors import ConfigError, DataError
from lowerfunnel.events import sql
from lowerfunnel.events.settings import SourceConfig

_CHUNK_BYTES = 1 << 22
_FIRST_LINE_BYTES = 1 << 20
_CSV_ENDINGS = (".csv", ".tsv", ".txt")
_PARQUET_ENDINGS = (".parquet", ".pq")
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}


@dataclass(frozen=True, kw_only=True, slots=True)
class InputFile:
    """One file of a source.

    Attributes:
        path: Where it is.
        name: Its path relative to the data folder, as messages give it.
        format: What it is.
        columns: Its columns with their types, in order; in a CSV file all are VARCHAR.
        delimiter: What separates them (CSV).
        header: Whether the first row names them (CSV).
    """

    path: Path
    name: str
    format: str
    columns: tuple[tuple[str, str], ...]
    delimiter: str = ","
    header: bool = True


def find_files(patterns: tuple[str, ...], data_dir: Path, *, where: str) -> list[Path]:
    """Return the files that patterns name, each once, sorted by name.

    Raises:
        DataError: If the data folder is missing or a pattern matches nothing.
    """
    if not data_dir.is_dir():
        raise DataError(f"the data folder {data_dir} does not exist; give the right one with --data")
    found: set[Path] = set()
    for pattern in patterns:
        if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
            raise ConfigError(
                f"{where}.files has {pattern!r}, which leads out of the data folder; name files inside it"
            )
        matches = {path for path in data_dir.glob(pattern) if path.is_file()}
        if not matches:
            raise DataError(
                f"{where}.files has {pattern!r}, and nothing in {data_dir} is named so{_near(pattern, data_dir)}"
            )
        found |= matches
    return sorted(found, key=lambda path: path.relative_to(data_dir).parts)


def _near(pattern: str, data_dir: Path) -> str:
    names = sorted(child.name for child in data_dir.iterdir())
    near = difflib.get_close_matches(pattern, names, n=1, cutoff=0.5)
    if near:
        return f" (did you mean {near[0]!r}?)"
    return f" (it holds {', '.join(names[:8])}{', ...' if len(names) > 8 else ''})" if names else " (it is empty)"


def open_file(connection: sql.Connection, source: SourceConfig, path: Path, data_dir: Path) -> InputFile:
    """Check that a file is whole and find out its columns.

    Raises:
        DataError: If it is empty, cut off, damaged or not of its format.
    """
    name = path.relative_to(data_dir).as_posix()
    if path.stat().st_size == 0:
        raise DataError(f"{name} is empty (0 bytes); a table was expected there")
    if _format(source, path) == "parquet":
        return InputFile(path=path, name=name, format="parquet", columns=_parquet_columns(connection, path, name))
    _check_text(path, name)
    line = _first_line(path, name)
    delimiter = source.delimiter or _commonest_delimiter(line)
    first_row = next(csv.reader([line], delimiter=delimiter), [])
    header = source.header if source.header is not None else source.column_names is None
    names = list(source.column_names or first_row)
    if source.column_names is not None and len(first_row) != len(names):
        raise DataError(
            f"{name} has {len(first_row)} columns separated by {delimiter!r}, and column_names gives {len(names)}; "
            f"its first line is {_shortened(line)!r}"
        )
    if repeated := sorted({each for each in names if names.count(each) > 1}):
        raise DataError(
            f"{name} has the column {repeated[0]!r} twice; name its columns by column_names and header = true"
        )
    # DuckDB takes no column without a name.
    columns = tuple((each or f"column{number}", "VARCHAR") for number, each in enumerate(names))
    return InputFile(path=path, name=name, format="csv", columns=columns, delimiter=delimiter, header=header)


def _format(source: SourceConfig, path: Path) -> str:
    if source.format != "auto":
        return source.format
    suffixes = path.suffixes
    last = suffixes[-2] if suffixes and suffixes[-1] in _COMPRESSIONS and len(suffixes) > 1 else path.suffix
    if last.lower() in _PARQUET_ENDINGS:
        return "parquet"
    if last.lower() in _CSV_ENDINGS:
        return "csv"
    raise ConfigError(
        f"the name {path.name!r} does not tell its format; set format to parquet or csv, "
        f"or end it with one of {', '.join((*_PARQUET_ENDINGS, *_CSV_ENDINGS))}"
    )


def _parquet_columns(connection: sql.Connection, path: Path, name: str) -> tuple[tuple[str, str], ...]:
    try:
        described = connection.execute(f"DESCRIBE SELECT * FROM read_parquet({sql.text(str(path))})").fetchall()
    except duckdb.Error as error:
        raise DataError(
            f"{name} is no whole Parquet file ({sql.first_line(error).replace(str(path), name)}); copy it again"
        ) from error
    return tuple((str(row[0]), str(row[1])) for row in described)


def _check_text(path: Path, name: str) -> None:
    """Stream a text file to its end: a compressed one must be whole, and none may hold a NUL byte."""
    at = 0
    try:
        with pa.input_stream(str(path), compression=_COMPRESSIONS.get(path.suffix)) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                if (nul := chunk.find(b"\0")) >= 0:
                    raise DataError(
                        f"{name} holds a NUL byte at byte {at + nul}, so it is no UTF-8 text; "
                        "save it as UTF-8, or set its format"
                    )
                at += len(chunk)
    except OSError as error:
        raise DataError(f"{name} is cut off or damaged after {at} bytes of text ({error}); copy it again") from error
    if at == 0:
        raise DataError(f"{name} is empty (0 bytes of text); a table was expected there")


def _first_line(path: Path, name: str) -> str:
    with pa.input_stream(str(path), compression=_COMPRESSIONS.get(path.suffix)) as stream:
        start: bytes = stream.read(_FIRST_LINE_BYTES)
    line = start.split(b"\n", 1)[0].rstrip(b"\r")
    try:
        decoded = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is no UTF-8 text: byte {error.start} of its first line; save it as UTF-8") from error
    if not decoded.strip():
        raise DataError(f"{name} begins with an empty line; its columns or its first row were expected there")
    return decoded


def _commonest_delimiter(line: str) -> str:
    counts = {each: line.count(each) for each in ("\t", ",", ";", "|")}
    best = max(counts, key=lambda each: counts[each])
    return best if counts[best] else ","


def _shortened(line: str) -> str:
    return line if len(line) <= 120 else f"{line[:117]}..."


def scan(file: InputFile, source: SourceConfig, *, rejects: str) -> str:
    """Write the relation of a file. Rows of a CSV file that are no rows go to the tables named after `rejects`."""
    path = sql.text(str(file.path))
    if file.format == "parquet":
        return f"read_parquet({path})"
    columns = ", ".join(f"{sql.text(column)}: 'VARCHAR'" for column, _ in file.columns)
    compression = _COMPRESSIONS.get(file.path.suffix, "none")
    return (
        f"read_csv({path}, auto_detect = false, columns = {{{columns}}}, header = {str(file.header).lower()}, "
        f"delim = {sql.text(file.delimiter)}, quote = '\"', escape = '\"', compression = '{compression}', "
        f"nullstr = {sql.text_list(list(source.null_values))}, store_rejects = true, rejects_limit = 0, "
        f"rejects_table = 'errors_{rejects}', rejects_scan = 'scans_{rejects}')"
    )


def did_you_mean(wrong: str, names: Iterable[str]) -> str:
    """Write the hint behind an unknown column: the nearest name, or all there are."""
    known: Sequence[str] = list(names)
    near = difflib.get_close_matches(wrong.lower(), [each.lower() for each in known], n=1, cutoff=0.6)
    if near:
        return f"did you mean {next(each for each in known if each.lower() == near[0])!r}?"
    return f"there is {', '.join(known[:20])}{', ...' if len(known) > 20 else ''}"
