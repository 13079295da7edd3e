"""Who is asked for: a file with a column `user_id`, read in the type that the log's ids have and never by guess."""

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from lowerfunnel.errors import DataError

_COLUMN = "user_id"
_FIRST_LINE_BYTES = 1 << 20


def read_users(path: Path, id_type: pa.DataType) -> pa.Array:
    """Return the distinct users that a file names, in the order in which it first names them, as `id_type`.

    Args:
        path: Parquet (.parquet, .pq), or else text with a first line of column names, separated by comma, tab,
            semicolon or bar, in UTF-8, also with .gz or .zst behind its name. Other columns are ignored.
        id_type: The log's: 64-bit integers or strings. Integers become strings in a log of strings.

    Raises:
        DataError: If the file cannot be read, has no such column, names nobody or what cannot be an id of this log.
    """
    if not path.is_file():
        raise DataError(f"--users {path} is not there; give a Parquet or CSV file with a column {_COLUMN}")
    try:
        column = _from_parquet(path) if path.suffix.lower() in (".parquet", ".pq") else _from_text(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"--users {path} cannot be read ({said}); give a Parquet or CSV file with a column {_COLUMN}"
        ) from error
    if not len(column):
        raise DataError(f"--users {path} names no user; it has no rows")
    column = _of_type(column, id_type, path)
    if column.null_count:
        raise DataError(f"--users {path} has {column.null_count:,} rows without a {_COLUMN}; remove them")
    return pc.unique(column)


def _from_parquet(path: Path) -> pa.ChunkedArray:
    _require_column(path, pq.read_schema(path).names)
    return pq.ParquetFile(path).read(columns=[_COLUMN]).column(_COLUMN)


def _from_text(path: Path) -> pa.ChunkedArray:
    with pa.input_stream(str(path)) as stream:
        line = stream.read(_FIRST_LINE_BYTES).split(b"\n", 1)[0].decode("utf-8-sig").rstrip("\r")
    delimiter = max(",\t;|", key=line.count)
    _require_column(path, next(csv.reader([line], delimiter=delimiter), []))
    table = pa_csv.read_csv(
        path,
        parse_options=pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        # As text, and nothing but an empty field is no id: "NA" may well be one.
        convert_options=pa_csv.ConvertOptions(
            include_columns=[_COLUMN], column_types={_COLUMN: pa.string()}, strings_can_be_null=True, null_values=[""]
        ),
    )
    return table.column(_COLUMN)


def _require_column(path: Path, columns: list[str]) -> None:
    if columns.count(_COLUMN) != 1:
        held = ", ".join(columns) or "no columns at all"
        many = "no column" if _COLUMN not in columns else "more than one column"
        raise DataError(f"--users {path} has {many} {_COLUMN}; it has {held}")


def _of_type(column: pa.ChunkedArray, id_type: pa.DataType, path: Path) -> pa.ChunkedArray:
    given = column.type
    if pa.types.is_dictionary(given):
        given = given.value_type
        column = column.cast(given)
    if pa.types.is_floating(given) or pa.types.is_decimal(given):
        raise DataError(
            f"--users {path}: {_COLUMN} came as {given}; ids never go through fractions, which lose digits: write them "
            "as integers or strings"
        )
    is_text = pa.types.is_string(given) or pa.types.is_large_string(given) or pa.types.is_string_view(given)
    if not is_text and not pa.types.is_integer(given):
        raise DataError(f"--users {path}: {_COLUMN} came as {given}; ids are integers or strings")
    try:
        typed = column.cast(id_type)
    except pa.ArrowInvalid as error:
        raise DataError(f"--users {path}: user ids of this log are {id_type}, and {error}") from error
    if is_text and pa.types.is_integer(id_type):
        # "007" is not the user 7: integers have one spelling.
        text = column.cast(pa.string())
        other = pc.filter(text, pc.not_equal(typed.cast(pa.string()), text))
        if len(other):
            raise DataError(f"--users {path}: user ids of this log are {id_type}, and {other[0].as_py()!r} is none")
    return typed
