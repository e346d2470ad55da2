"""Contents by SHA-256, each once: how they are read.

What is stored was hashed on its way in, and is hashed again on its way out: nobody is given bytes under a wrong name without an
error. A content counts as stored only when all of it is.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterator

from headgated.core.errors import HistoryDamagedError
from headgated.effects.history.reading import Reading

BLOCK = 1024 * 1024
"""Bytes of the largest content that is kept in one piece, and of each piece of a larger one."""


class Contents:
    """The contents in a database. Thread-safe."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self.wrong: set[bytes] = set()
        """What was found to be damaged. It no longer counts as stored, so that it can be put anew."""

    @property
    def lock(self) -> threading.RLock:
        """Whoever holds it sees nothing stored or removed meanwhile."""
        return self._reading.lock

    def stored(self, digest: bytes) -> bool:
        """Tell whether a content is stored, and no more."""
        with self._reading.read() as sql:
            if self._reading.outbox.get(digest) is not None:
                return True
            found = sql.execute("SELECT 1 FROM contents WHERE digest = ?", (digest,)).fetchone()
            return found is not None and digest not in self.wrong

    def read(self, digest: bytes) -> Iterator[bytes]:
        """Return a content in pieces of at most a mebibyte.

        A large one is found to be wrong only at its end: use nothing of it before.

        Raises:
            HistoryDamagedError: it is missing or not what its digest says.
        """
        with self._reading.read() as sql:
            waiting = self._reading.outbox.get(digest)
            if waiting is not None:
                return iter((waiting,))
            row = _row(sql, digest)
        if row is None:
            raise damaged(digest, "it is missing")
        size, content, series = row
        if series is not None:
            return self._read_large(digest, size, series)
        if hashlib.sha256(content).digest() != digest:
            raise self._found_wrong(digest, "its bytes are not those that were stored")
        return iter((content,))

    def _read_large(self, digest: bytes, size: int, series: int) -> Iterator[bytes]:
        hasher = hashlib.sha256()
        for n in range(-(-size // BLOCK)):
            with self._reading.read() as sql:
                row = sql.execute(
                    "SELECT chunk FROM chunks WHERE series = ? AND n = ?", (series, n)
                ).fetchone()
            if row is None:
                raise self._found_wrong(digest, f"its piece {n} is missing")
            hasher.update(row[0])
            yield row[0]
        if hasher.digest() != digest:
            raise self._found_wrong(digest, "its bytes are not those that were stored")

    def _found_wrong(self, digest: bytes, why: str) -> HistoryDamagedError:
        with self.lock:
            self.wrong.add(digest)
        return damaged(digest, why)


def name(digest: bytes) -> str:
    """Return a digest as people see it."""
    return f"sha256:{digest.hex()}"


def damaged(digest: bytes, why: str) -> HistoryDamagedError:
    """Return the error that names a content that cannot be read."""
    return HistoryDamagedError(
        f"cannot read {name(digest)} from history: {why}",
        hint="what refers to it cannot be rolled back; deploy anew, or restore history.db from a backup",
    )


def _row(sql: sqlite3.Connection, digest: bytes) -> tuple[int, bytes, int | None] | None:
    row = sql.execute("SELECT size, content, series FROM contents WHERE digest = ?", (digest,)).fetchone()
    return None if row is None else (row[0], row[1] or b"", row[2])
