"""Small contents on their way into the database: gathered, so that ten thousand of them are some tens of transactions."""

from __future__ import annotations

import sqlite3

FULL = 512 * 1024
"""Bytes after which they should be sent: some 3 ms of writing, for which others wait."""
_ROW = 200
"""Bytes that a row costs beside its content."""


class Outbox:
    """Contents by digest. The database's lock guards it."""

    def __init__(self) -> None:
        self._contents: dict[bytes, bytes] = {}
        self._weight = 0

    def __bool__(self) -> bool:
        return bool(self._contents)

    @property
    def full(self) -> bool:
        """Whether it is time to send."""
        return self._weight >= FULL

    def add(self, digest: bytes, content: bytes) -> None:
        """Take a content in."""
        if digest not in self._contents:
            self._contents[digest] = content
            self._weight += len(content) + _ROW

    def get(self, digest: bytes) -> bytes | None:
        """Return a content that waits here."""
        return self._contents.get(digest)

    def send(self, sql: sqlite3.Connection) -> int:
        """Write all into the running transaction; returns bytes. They stay here until `clear`."""
        if self._contents:
            sql.executemany(
                "INSERT OR IGNORE INTO contents (digest, size, content) VALUES (?, ?, ?)",
                [(digest, len(content), content) for digest, content in self._contents.items()],
            )
        return self._weight

    def clear(self) -> None:
        """Forget all: they are in the database."""
        self._contents.clear()
        self._weight = 0
