"""The connection to history's file: transactions, and when they are safe from a power cut.

All threads share one connection behind one lock, held for a bounded batch at a time. A transaction is whole or absent after a
kill at once, and after a power cut as soon as it, or any later one, is synced: the write-ahead log keeps their order. `sync`
waits for the disk *outside* the lock, so that nobody waits for somebody else's disk. Contents in the outbox go out with
whichever transaction comes next.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headgated.core.errors import HeadgateError, UnavailableError
from headgated.effects.history.checkpointer import Checkpointer
from headgated.effects.history.reading import Reading, explained, unavailable
from headgated.effects.history.schema import STATEMENTS, connect

_LAID_OUT = 8 * 1024 * 1024
"""Bytes of log written in advance, once it is in use: syncing a file that does not grow takes about half the time."""
_ROOMY = 64 * _LAID_OUT
"""Not where less than this is free."""
_MUCH = 4 * 1024 * 1024
"""Bytes that are synced in the background, so that the next one's commit is short."""
_TOO_MUCH = 8 * _MUCH
"""Bytes after which whoever writes them waits for the disk himself."""
_CLOSED = -1
_OVERHEAD = 32 * 1024
"""Bytes that a small transaction adds to the log, roughly."""


class Database(Reading):
    """History's file. Thread-safe.

    Raises:
        RecordError: it is not ours, damaged, or of a newer schema.
        UnavailableError: STATE_NOT_WRITABLE.
    """

    def __init__(self, path: Path) -> None:
        self._written = self._synced = 0
        """How many transactions there were, and how many of them are known to be safe."""
        self._unsynced = 0
        """Bytes."""
        self._suspect = False
        """The disk has failed; what was written since the last sync may be lost."""
        self._syncing = threading.Lock()
        with explained(path):
            super().__init__(path, connect(path))
            self._log = os.open(f"{path}-wal", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            os.fsync(self._log)
            _sync_directory(path.parent)
        self._checkpointer = Checkpointer(path, self._lay_out, lambda: self._sync_above(_MUCH))

    def close(self) -> None:
        """Write out what waits and close the file. Safe to repeat."""
        self._checkpointer.close()
        with self.lock, self._syncing:
            if self._log == _CLOSED:
                return
            with suppress(HeadgateError):
                self.flush()
            os.close(self._log)
            self._log = _CLOSED
            super().close()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for one transaction, committed at the end; rolled back where the body raises. Not nestable.

        Raises:
            HistoryDamagedError, UnavailableError: nothing of the transaction was done.
        """
        with self.lock, explained(self.path):
            self._heal()
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                yield self._sql
                weight = self.outbox.send(self._sql) + _OVERHEAD
                self._sql.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise
            self.outbox.clear()
            self._written += 1
        self._account(weight)

    def flush(self) -> None:
        """Write out what waits in the outbox."""
        if self.outbox:
            with self.write():
                pass

    def sync(self) -> None:
        """Wait until every transaction so far is safe on the disk.

        Raises:
            UnavailableError: the disk failed; whether they are safe is not known.
        """
        wanted = self._written
        with self._syncing, explained(self.path):
            if self._suspect:
                raise unavailable(self.path, "it could not be synced before")
            if self._synced >= wanted:  # by whoever this one waited for
                return
            written = self._written
            self._unsynced = 0
            try:
                os.fdatasync(self._log)
            except OSError:
                self._suspect = True
                raise
            self._synced = written

    def shrink(self, pages: int) -> int:
        """Give up to so many free pages back to the file system; returns how many are free still.

        Raises:
            HistoryDamagedError, UnavailableError: none were.
        """
        with self.lock, explained(self.path):
            self._heal()
            self._sql.executescript(
                f"PRAGMA incremental_vacuum({pages})"
            )  # `execute` would give back a single one
            self._written += 1
            left = int(self._sql.execute("PRAGMA freelist_count").fetchone()[0])
        self._account(pages * 4096)
        return left

    def checkpoint(self) -> None:
        """Bring the log into the main file now, as far as nobody uses it; only then does the file become smaller."""
        self._checkpointer.checkpoint()

    def free_memory(self) -> None:
        """Let go of pages in memory, and of prepared statements: each holds what was given to it last, the record of a large deployment too."""
        with self.lock, suppress(sqlite3.Error):
            for number in range(STATEMENTS):  # Statements that are nothing crowd all others out.
                self._sql.execute(f"-- {number}")
            self._sql.execute("PRAGMA shrink_memory")

    def room_in_log(self) -> int:
        """Bring the log into the main file; return how many bytes of it are written over from then on."""
        with explained(self.path):
            sql = sqlite3.connect(self.path, timeout=5.0, isolation_level=None)
            try:
                busy, pages, done = sql.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            finally:
                sql.close()
            return os.fstat(self._log).st_size if not busy and pages == done else 0

    def weigh(self, size: int) -> None:
        """Note that `size` bytes were written beside the outbox."""
        self._account(size)

    def reader(self) -> Reading:
        """Return a connection of one's own, for reading what takes long; whoever asks closes it."""
        self.flush()
        with explained(self.path):
            sql = sqlite3.connect(self.path, timeout=5.0, isolation_level=None, check_same_thread=False)
            sql.execute("PRAGMA query_only = ON")
            return Reading(self.path, sql)

    def _account(self, weight: int) -> None:
        self._checkpointer.written(weight)
        self._unsynced += weight
        self._sync_above(_TOO_MUCH)

    def _sync_above(self, size: int) -> None:
        if self._unsynced > size:
            with suppress(UnavailableError):  # of no matter before the next commit, which then fails
                self.sync()

    def _lay_out(self) -> None:
        """Write some of the log in advance. Zeros after its end are no frames, and not being able to is no error."""
        with self.lock, suppress(OSError):
            system, size = os.fstatvfs(self._log), os.fstat(self._log).st_size
            if system.f_bavail * system.f_frsize >= _ROOMY:
                zeros = bytes(_LAID_OUT // 16)
                for at in range(size, _LAID_OUT, len(zeros)):
                    os.pwrite(self._log, zeros, at)

    def _roll_back(self) -> None:
        """SQLite has done so already after the graver faults."""
        with suppress(sqlite3.Error):
            if self._sql.in_transaction:
                self._sql.execute("ROLLBACK")

    def _heal(self) -> None:
        """After a failed sync, bring everything into the main file before anything more is promised.

        The kernel reports a failed write once and then forgets; syncing the log again would say that all is well.
        """
        if self._suspect:
            busy, _, _ = self._sql.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
            if busy:
                raise unavailable(self.path, "it could not be synced")
            self._suspect = False


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
