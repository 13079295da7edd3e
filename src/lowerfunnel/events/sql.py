"""One place where names and values enter SQL text, one where a connection is set up, one where its errors are told."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import duckdb

from lowerfunnel.errors import DataError, RunError

Connection = duckdb.DuckDBPyConnection


def name(identifier: str) -> str:
    """Quote an identifier.

    Example:
        >>> name('a "b" c')
        '"a ""b"" c"'
    """
    return '"' + identifier.replace('"', '""') + '"'


def text(value: str) -> str:
    """Quote a text literal.

    Example:
        >>> print(text("it's"))
        'it''s'
    """
    return "'" + value.replace("'", "''") + "'"


def text_list(values: list[str]) -> str:
    """Write a list of text literals."""
    return "[" + ", ".join(text(value) for value in values) + "]"


@contextlib.contextmanager
def connect(scratch: Path, *, threads: int, memory_limit: str, folders: list[Path]) -> Iterator[Connection]:
    """Open an embedded engine that spills into `scratch` and sees no other folders than that and `folders`."""
    settings: dict[str, str | bool | int | float | list[str]] = {
        "threads": threads,
        "memory_limit": memory_limit,
        "temp_directory": str(scratch / "spill"),
        "preserve_insertion_order": True,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    try:
        connection = duckdb.connect(":memory:", config=settings)
    except duckdb.Error as error:
        raise RunError(
            f"the engine does not start with threads={threads}, memory_limit={memory_limit!r}: {first_line(error)}"
        ) from error
    try:
        connection.execute("SET TimeZone = 'UTC'")
        # Partitions of the staged events are written as they fill; the default would hold half a million rows of each.
        connection.execute("SET partitioned_write_flush_threshold = 32768")
        allowed = text_list([f"{folder}/" for folder in [scratch, *folders]])
        connection.execute(f"SET allowed_directories = {allowed}")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        yield connection
    finally:
        connection.close()


@contextlib.contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """Tell the engine's errors in our words; `doing` names the file or step at hand."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        if "No space left" in str(error) or "max_temp_directory_size" in str(error):
            raise _no_space(doing) from error
        raise RunError(f"{doing} needs more memory than the limit: {first_line(error)}; raise memory_limit") from error
    except duckdb.Error as error:
        if "No space left" in str(error):
            raise _no_space(doing) from error
        raise DataError(f"{doing} failed: {first_line(error)}") from error


def _no_space(doing: str) -> RunError:
    return RunError(f"no space left on the disk while {doing}; free some and run again, finished steps are kept")


def first_line(error: BaseException) -> str:
    """Return the first line of a message without the engine's own label."""
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    label, colon, rest = line.partition(": ")
    return rest if colon and label.endswith("Error") else line
