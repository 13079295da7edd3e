"""The file of a SQLite store: its tables, how it is opened, and which files are refused.

`timelines` is a tree by (user, time, arrival), so that one user's events lie side by side and a timeline is one walk along it.
Ids stand in columns of type ANY, which keep 7 and "7" apart.
"""

import contextlib
import sqlite3
from pathlib import Path

from lowerfunnel.errors import StoreError

APPLICATION_ID = 0x4C6F7766  # "Lowf"
FORMAT = 2

BUSY_S = 5.0
"""Seconds to wait for another process that holds the file."""

_TABLES = """
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO counters VALUES ('arrival', 0), ('sequence', 0);
CREATE TABLE event_ids (event_id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE timelines (
    user_id ANY NOT NULL,
    ts_us INTEGER NOT NULL,
    arrival INTEGER NOT NULL,
    numbers BLOB NOT NULL,
    texts BLOB NOT NULL,
    rest TEXT NOT NULL,
    PRIMARY KEY (user_id, ts_us, arrival)
) STRICT, WITHOUT ROWID;
CREATE TABLE items (sequence INTEGER PRIMARY KEY, item_id ANY NOT NULL UNIQUE, record TEXT) STRICT;
CREATE TABLE eligibility (
    sequence INTEGER PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('advertiser', 'item')),
    id ANY NOT NULL,
    eligible INTEGER NOT NULL CHECK (eligible IN (0, 1)),
    UNIQUE (kind, id)
) STRICT;
"""


def prepare(path: Path) -> None:
    """Make sure that the file is a store's, whole, and of this format; make its tables where there is nothing yet.

    A file that is shorter than its tables is found here. A damaged page inside is found when it is read.

    Raises:
        StoreError: For a foreign, newer or damaged file, or a place that cannot be written.
    """
    try:
        _refuse_short(path)
        with contextlib.closing(_open(path)) as connection:
            _refuse_foreign(connection, path)
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise StoreError(f"the disk of {path} does not support SQLite's write-ahead log; choose a local one")
            connection.execute("BEGIN IMMEDIATE")  # of two processes that open a new file at once, one makes the tables
            if _is_empty(connection):
                for statement in filter(str.strip, _TABLES.split(";")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {FORMAT}")
            connection.execute("COMMIT")
            _refuse_foreign(connection, path)
            # After a flush that failed, a process that ends may leave writes in the log that were never acknowledged and
            # are not on the disk, and yet are read from now on. Copying the log into the file puts them there.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            _require_joined_bytes(connection)
            for table in ("counters", "event_ids", "timelines", "items", "eligibility"):
                connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()
    except sqlite3.Error as error:
        raise explained(error, path) from error
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read ({error.strerror}); choose a file that may be read and written"
        ) from error


def connect_to_write(path: Path) -> sqlite3.Connection:
    """Open a connection whose commits are on the disk when they return."""
    connection = _open(path)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -65536")  # 64 MiB: a tree of a million ids is not read from disk to grow
    connection.execute("PRAGMA wal_autocheckpoint = 4000")  # pages; a bulk load would otherwise stop every 4 MB
    connection.execute("PRAGMA journal_size_limit = 67108864")
    return connection


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a connection that writes nothing; it takes part in the log of writes from now on."""
    connection = _open(path)
    connection.execute("PRAGMA query_only = ON")
    connection.execute("SELECT count(*) FROM counters").fetchone()
    return connection


def explained(error: sqlite3.Error, path: Path) -> StoreError:
    """Turn an error of SQLite into one sentence: what is wrong, and what to do."""
    name = getattr(error, "sqlite_errorname", "")
    if name == "SQLITE_FULL":
        return StoreError(
            f"no space left on the disk of {path}; free some and write again, what was acknowledged is kept"
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreError(f"{path} is locked by another process for more than {BUSY_S:g} s; wait for it, or stop it")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return StoreError(
            f"{path} is damaged or no SQLite file ({error}); restore it from a copy, or choose another file"
        )
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")):
        return StoreError(
            f"{path} cannot be opened to write ({error}); choose a folder that is there and may be written"
        )
    return StoreError(
        f"{path} could not be read or written ({name or 'SQLite'}: {error}); look at its disk and try again"
    )


def _open(path: Path) -> sqlite3.Connection:
    """Open a connection that commits only when told to, and that any thread may use (one at a time)."""
    return sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)


def _refuse_foreign(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application == APPLICATION_ID:
        if version != FORMAT:
            raise StoreError(
                f"{path} has format {version}, and this version of lowerfunnel reads {FORMAT}: update it, or begin another file"
            )
    elif application != 0 or version != 0 or not _is_empty(connection):
        raise StoreError(f"{path} is a SQLite file of another program; choose another file")


def _refuse_short(path: Path) -> None:
    """Compare the pages that a file says it has with its length; SQLite takes half a last page for a whole one.

    Pages may be missing rightly while they stand in the log of writes (`-wal`), which is emptied into the file later.
    """
    if not path.is_file() or path.stat().st_size == 0:
        return
    with path.open("rb") as file:
        header = file.read(100)
    if len(header) < 100 or not header.startswith(b"SQLite format 3\0"):  # SQLite would begin anew in a very short one
        raise StoreError(f"{path} is damaged or no SQLite file; restore it from a copy, or choose another file")
    log = path.with_name(path.name + "-wal")
    page_b = int.from_bytes(header[16:18], "big")
    needed_b = int.from_bytes(header[28:32], "big") * (65536 if page_b == 1 else page_b)
    if path.stat().st_size < needed_b and not (log.is_file() and log.stat().st_size > 0):
        raise StoreError(
            f"{path} is damaged: it has {path.stat().st_size} bytes of {needed_b}; restore it from a copy, or choose another file"
        )


def _require_joined_bytes(connection: sqlite3.Connection) -> None:
    """Make sure that this SQLite joins bytes as they are: its documentation does not promise it for zeros among them."""
    parts = (b"\0\xff\x80a", b"\0", b"\xc3\0\0")
    (joined,) = connection.execute(
        "SELECT CAST(group_concat(part, '') AS BLOB) FROM (SELECT ? AS part UNION ALL SELECT ? UNION ALL SELECT ?)",
        parts,
    ).fetchone()
    if joined != b"".join(parts):
        raise StoreError(f"SQLite {sqlite3.sqlite_version} does not join bytes as they are; use one of 3.37 to 3.50")


def _is_empty(connection: sqlite3.Connection) -> bool:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    return bool(tables == 0)
