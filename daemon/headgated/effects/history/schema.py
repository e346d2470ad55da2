"""The tables of history, and opening the file that holds them.

Promises that the file is private (0600, whatever the umask), is ours (a marked SQLite file of a schema known here) and is new
or whole; says what is wrong otherwise. Changes nothing in a file that it refuses.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from headgated.core.errors import RecordError, UnavailableError

SCHEMA_VERSION = 2
"""1: large directories are nodes in one piece, and `intents` has an index."""
_APPLICATION = 0x48474154
"""Marks the file as ours for `file` and for us ("HGAT")."""

STATEMENTS = 128
"""How many prepared statements a connection keeps."""

_TABLES = """
-- What files and directory nodes consist of, once each. Small ones lie here, large ones in `chunks` under their series.
CREATE TABLE contents (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    content BLOB,
    series INTEGER
) STRICT;
CREATE INDEX large_contents ON contents (series) WHERE series IS NOT NULL;
CREATE TABLE chunks (
    series INTEGER NOT NULL,
    n INTEGER NOT NULL,
    chunk BLOB NOT NULL,
    PRIMARY KEY (series, n)
) STRICT;
-- What was staged where, until its deployment is through.
CREATE TABLE staging (
    deployment TEXT PRIMARY KEY,
    environment TEXT NOT NULL,
    token TEXT NOT NULL,
    target BLOB NOT NULL,
    directories BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE deployments (
    id TEXT PRIMARY KEY,
    environment TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('intent', 'applied', 'undone')),
    token TEXT NOT NULL,
    target BLOB NOT NULL,
    managed_before BLOB NOT NULL,
    managed_after BLOB NOT NULL,
    batches INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX applied_deployments ON deployments (environment, sequence) WHERE state = 'applied';
CREATE TABLE changes (
    deployment TEXT NOT NULL,
    n INTEGER NOT NULL,
    digest BLOB NOT NULL,
    encoded BLOB NOT NULL,
    PRIMARY KEY (deployment, n)
) STRICT, WITHOUT ROWID;
CREATE TABLE heads (
    environment TEXT PRIMARY KEY,
    managed BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    deployment TEXT NOT NULL
) STRICT, WITHOUT ROWID;
-- One row while contents are being removed: until all are, parts of a stored tree may be missing.
CREATE TABLE sweeps (unfinished INTEGER PRIMARY KEY) STRICT;
CREATE TABLE requests (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    answer TEXT NOT NULL
) STRICT;
"""
_INTENTS = """
-- Records in progress, as long as recovery may need them: so few at a time that an index costs more than it gives.
CREATE TABLE intents (
    deployment TEXT NOT NULL,
    digest BLOB NOT NULL,
    record BLOB NOT NULL
) STRICT;
"""
_LEADING_HERE = {
    0: (_TABLES, _INTENTS),
    1: (
        "ALTER TABLE intents RENAME TO old_intents",
        _INTENTS,
        "INSERT INTO intents SELECT * FROM old_intents",
        "DROP TABLE old_intents",
    ),
    SCHEMA_VERSION: (),
}
"""By version: what makes the tables of today of those that are there."""


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection to the history at `path`, made anew where there is none.

    Raises:
        RecordError: not a database, not ours (RECORD_CORRUPT), or of a newer schema (RECORD_NEWER).
        UnavailableError: its file system is not fit for it.
        sqlite3.Error, OSError: it cannot be opened or written.
    """
    _make_private(path)
    sql = sqlite3.connect(
        path, timeout=5.0, isolation_level=None, check_same_thread=False, cached_statements=STATEMENTS
    )
    try:
        _check(sql, path)
        _configure(sql, path)
        _create(sql)
    except sqlite3.DatabaseError as error:
        sql.close()
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise _refusal(path, str(error)) from error
        raise
    except BaseException:
        sql.close()
        raise
    return sql


def _make_private(path: Path) -> None:
    """SQLite gives -wal and -shm the mode of the file itself."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    for name in (path, f"{path}-wal", f"{path}-shm"):
        if os.path.exists(name):
            os.chmod(name, 0o600)


def _check(sql: sqlite3.Connection, path: Path) -> None:
    version, application = _number(sql, "user_version"), _number(sql, "application_id")
    is_empty = sql.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    if application == _APPLICATION and version > SCHEMA_VERSION:
        raise RecordError(
            f"cannot open {path}: its schema is version {version}, this daemon knows none above {SCHEMA_VERSION}",
            reason="RECORD_NEWER",
            hint="run the headgated that wrote it, or a newer one",
            paths=[str(path)],
        )
    if not is_empty and (application != _APPLICATION or version < 1):
        raise _refusal(path, "the database of another program")


def _configure(sql: sqlite3.Connection, path: Path) -> None:
    sql.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only before the first page is written
    if sql.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise UnavailableError(
            f"cannot use {path}: its file system cannot share memory between processes",
            reason="STATE_NOT_WRITABLE",
            hint="put the state directory on a local file system",
            paths=[str(path)],
        )
    sql.execute("PRAGMA synchronous = NORMAL")  # what must last is synced by Database.sync
    sql.execute("PRAGMA wal_autocheckpoint = 32768")  # pages; the checkpointer comes long before
    sql.execute("PRAGMA journal_size_limit = 67108864")
    sql.execute("PRAGMA cache_size = -8000")  # KiB
    sql.execute("PRAGMA temp_store = MEMORY")


def _create(sql: sqlite3.Connection) -> None:
    """Make the tables what they are today; in any case write, so that a file which cannot be written is found now."""
    sql.execute("BEGIN IMMEDIATE")
    for script in _LEADING_HERE[_number(sql, "user_version")]:
        for statement in script.split(";"):
            sql.execute(statement)
    sql.execute(f"PRAGMA application_id = {_APPLICATION}")
    sql.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    sql.execute(
        "DELETE FROM chunks WHERE series NOT IN (SELECT series FROM contents WHERE series IS NOT NULL)"
    )
    sql.execute("COMMIT")


def _number(sql: sqlite3.Connection, pragma: str) -> int:
    return int(sql.execute(f"PRAGMA {pragma}").fetchone()[0])


def _refusal(path: Path, why: str) -> RecordError:
    return RecordError(
        f"cannot open {path}: {why}",
        hint="restore it from a backup, or move it away with its -wal file: the daemon then starts with an empty history, "
        "and nothing deployed before can be rolled back",
        paths=[str(path)],
    )
