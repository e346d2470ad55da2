"""A connection to history's file that many threads may read through, and what its errors mean."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from headgated.core.errors import HeadgateError, HistoryDamagedError, UnavailableError
from headgated.effects.history.outbox import Outbox

_NOT_NOW = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
}
"""What says nothing about the content of the file."""


class Reading:
    """One connection behind one lock."""

    def __init__(self, path: Path, sql: sqlite3.Connection) -> None:
        self.path = path
        self.lock = threading.RLock()
        self.outbox = Outbox()
        """Contents that count as stored, and are not in the file yet."""
        self._sql = sql
        self._session = _Session(self)

    def read(self) -> AbstractContextManager[sqlite3.Connection]:
        """Give the connection for reading; nobody else uses it meanwhile.

        Raises:
            HistoryDamagedError: the file is damaged.
            UnavailableError: STATE_NOT_WRITABLE.
        """
        return self._session

    def close(self) -> None:
        """Close the connection."""
        self._sql.close()


class _Session:
    """Holds the lock and explains errors. Made once: it is entered for every content looked up."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def __enter__(self) -> sqlite3.Connection:
        self._reading.lock.acquire()
        return self._reading._sql  # noqa: SLF001 - its other half

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._reading.lock.release()
        if error is not None:
            explain(self._reading.path, error)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Raise errors of ours for what SQLite and the system raise inside."""
    try:
        yield
    except Exception as error:
        explain(path, error)
        raise


def explain(path: Path, error: BaseException) -> None:
    """Raise what an error of SQLite or the system means for the file at `path`; return for any other."""
    if isinstance(error, sqlite3.ProgrammingError):
        return  # closed, or misused: nothing about the file
    if isinstance(error, sqlite3.DatabaseError):
        raise _meaning(path, error) from error
    if isinstance(error, OSError):
        raise unavailable(path, error.strerror or str(error)) from error


def unavailable(path: Path, why: str) -> UnavailableError:
    """Return the error that says that the file cannot be used now."""
    return UnavailableError(
        f"cannot write {path}: {why}",
        reason="STATE_NOT_WRITABLE",
        hint="make room on its file system, and see that it can be written by the daemon's user",
        paths=[str(path)],
    )


def _meaning(path: Path, error: sqlite3.DatabaseError) -> HeadgateError:
    if error.sqlite_errorcode & 0xFF in _NOT_NOW:
        return unavailable(path, str(error))
    return HistoryDamagedError(
        f"cannot use {path}: {error}",
        hint="stop the daemon, then restore the file from a backup or move it away with its -wal file",
        paths=[str(path)],
    )
