"""Recognise the files of a published data set in a folder: by their original names and their original columns.

A reader goes on only when both fit, so that no other file of the same name is read with the wrong meaning.
"""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lowerfunnel.errors import ConfigError, DataError
from lowerfunnel.events.settings import IdChoice, LogConfig, SourceConfig

_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
_FIRST_LINE_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedTable:
    """One table of a published data set: what its files are called and which columns they have."""

    names: tuple[str, ...]
    """File names or patterns without `.gz` or `.zst`, which may stand behind each text file."""
    columns: tuple[str, ...]
    """The original columns. A file with a header may hold them in any order, and more."""
    header: bool = True
    """Whether the file names its columns. If it does not, it must have exactly this many."""
    delimiter: str = ","
    """What separates the columns of a text file."""


def find_table(data_dir: Path, table: PublishedTable, *, of: str, parts: bool = False) -> tuple[str, ...]:
    """Return the names of a table's files in the folder, sorted; `parts` says that there may be several.

    Raises:
        DataError: If there is none, one twice (plain and compressed), several where one belongs, or one with other
            columns.
    """
    found = _matching(data_dir, table)
    if not found:
        raise DataError(
            f"{of}: {data_dir} lacks {' or '.join(table.names)} (also with .gz or .zst); {_held(data_dir)}. "
            "Put the original files there under their original names, unpacked from archives"
        )
    stems = [file_stem(name) for name in found]
    if twice := sorted({name for name in found if stems.count(file_stem(name)) > 1}):
        raise DataError(f"{of}: {' and '.join(twice)} are the same table, which would count twice; keep one of them")
    if len(found) > 1 and not parts:
        raise DataError(
            f"{of}: one file of {' or '.join(table.names)} was expected, and {data_dir} has {', '.join(found)}"
        )
    for name in found:
        _check_columns(data_dir / name, table, of=of)
    return tuple(found)


def find_optional_table(data_dir: Path, table: PublishedTable, *, of: str) -> tuple[str, ...]:
    """Return the same, or nothing where the folder does not have the table."""
    return find_table(data_dir, table, of=of) if _matching(data_dir, table) else ()


def first_columns(path: Path, *, delimiter: str = ",") -> tuple[str, ...]:
    """Return the fields of a text file's first line, or the columns of a Parquet file, as they are written.

    Raises:
        DataError: If the file cannot be read or is empty.
    """
    try:
        if path.suffix == ".parquet":
            return tuple(pq.read_schema(path).names)
        with pa.input_stream(str(path), compression=_COMPRESSIONS.get(path.suffix)) as stream:
            start: bytes = stream.read(_FIRST_LINE_BYTES)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path.name} cannot be read ({error}); copy it again") from error
    if not start.strip():
        raise DataError(f"{path.name} is empty; a table was expected there")
    line = start.split(b"\n", 1)[0].rstrip(b"\r")
    return tuple(field.strip('"') for field in line.decode("utf-8-sig", errors="replace").split(delimiter))


def filled_in(
    config: LogConfig,
    *,
    events: Sequence[SourceConfig],
    items: Sequence[SourceConfig] = (),
    users: Sequence[SourceConfig] = (),
    user_id_type: IdChoice = "int64",
    item_id_type: IdChoice = "int64",
) -> LogConfig:
    """Return the log with the sources of a named reader, all else as the recipe has it.

    The types of the ids are published; with them a broken id is one bad row, and does not turn all ids into texts.

    Raises:
        ConfigError: If the recipe describes sources of its own that the reader would replace.
    """
    given: Mapping[str, tuple[SourceConfig, ...]] = {
        "events": config.events,
        "items": config.items,
        "users": config.users,
    }
    if clash := [name for name, sources in given.items() if sources]:
        raise ConfigError(
            f"log.{clash[0]} is described in the recipe, and the reader {config.reader!r} describes it too; "
            f'remove log.{clash[0]}, or set log.reader = "generic" and describe every source'
        )
    return replace(
        config,
        events=tuple(events),
        items=tuple(items),
        users=tuple(users),
        user_id_type=user_id_type if config.user_id_type == "auto" else config.user_id_type,
        item_id_type=item_id_type if config.item_id_type == "auto" else config.item_id_type,
    )


def _matching(data_dir: Path, table: PublishedTable) -> list[str]:
    if not data_dir.is_dir():
        raise DataError(f"the data folder {data_dir} does not exist; give the right one with --data")
    return [
        name
        for name in _names(data_dir)
        if any(fnmatch.fnmatchcase(file_stem(name), pattern) for pattern in table.names)
    ]


def _names(data_dir: Path) -> list[str]:
    return sorted(path.name for path in data_dir.iterdir() if path.is_file())


def file_stem(name: str) -> str:
    """Return a file's name without `.gz` or `.zst`."""
    for ending in _COMPRESSIONS:
        name = name.removesuffix(ending)
    return name


def _held(data_dir: Path) -> str:
    names = _names(data_dir)
    return f"it holds {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}" if names else "it holds no file"


def _check_columns(path: Path, table: PublishedTable, *, of: str) -> None:
    first = tuple(field.strip() for field in first_columns(path, delimiter=table.delimiter))
    if not table.header:
        if len(first) != len(table.columns):
            raise DataError(
                f"{of}: {path.name} has {len(first)} columns in its first row, and the original has "
                f"{len(table.columns)} without a header: {', '.join(table.columns)}"
            )
    elif missing := [column for column in table.columns if column not in first]:
        raise DataError(
            f"{of}: {path.name} lacks {', '.join(missing)}; the original has {', '.join(table.columns)}, "
            f"and this file has {', '.join(first[:20])}{', ...' if len(first) > 20 else ''}"
        )
