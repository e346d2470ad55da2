"""How contents come into history: hashed on their way, nothing larger than a mebibyte ever in memory whole.

Small ones gather in the outbox; a large one goes in piece by piece, so that others get their turn, and counts only once it is
complete. What was begun and never completed is removed at once, or at the next start.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice

from headgated.core.errors import HeadgateError, SourceMovedError
from headgated.effects.history.contents import BLOCK, Contents, name
from headgated.effects.history.database import Database
from headgated.effects.history.pins import Pins

_ASKED = 500
"""Contents asked about at once: a few milliseconds, for which others wait."""
_SLICE = 8
"""Pieces removed in one transaction."""


class Intake(Contents):
    """The contents in a database that more can be put into. Thread-safe."""

    def __init__(self, database: Database, pins: Pins) -> None:
        super().__init__(database)
        self._database, self._pins = database, pins
        with database.read() as sql:
            self._last_series: int = sql.execute("SELECT coalesce(max(series), 0) FROM chunks").fetchone()[0]

    def has(self, digest: bytes) -> bool:
        """Tell whether a content is stored; it then stays at least until the deployment under way commits."""
        with self._database.lock:
            if digest in self.wrong or (digest not in self._pins and not self.stored(digest)):
                return False
            self._pins.add(digest)
            return True

    def hold(self, digests: Iterable[bytes]) -> set[bytes]:
        """Return those that are stored: as `has` for each of many."""
        asked, held = iter(set(digests)), set[bytes]()
        while some := list(islice(asked, _ASKED)):
            with self._database.read() as sql:
                waits, pinned = self._database.outbox.get, self._pins
                found = {one for one in some if one in pinned or waits(one) is not None}
                rest = [one for one in some if one not in found]
                places = ",".join("?" * len(rest))
                rows = sql.execute(f"SELECT digest FROM contents WHERE digest IN ({places})", rest)  # noqa: S608 - question marks
                found.update(row[0] for row in rows)
                found -= self.wrong
                pinned.update(found)
            held |= found
        return held

    def put(self, digest: bytes, size: int, chunks: Iterable[bytes]) -> None:
        """Store a content. One that is there already stays; one that was found to be damaged is stored anew.

        Raises:
            SourceMovedError: what `chunks` gives is not `size` bytes with that digest.
            UnavailableError: it cannot be written.
        """
        if digest in self.wrong:
            self._make_way(digest)
        if isinstance(chunks, tuple) and len(chunks) == 1 and len(chunks[0]) <= BLOCK:
            content = chunks[0]
            _check(digest, size, hashlib.sha256(content).digest(), len(content))
            self._put_small(digest, content)
            return
        blocks = _blocks(chunks)
        first, second = next(blocks, b""), next(blocks, None)
        if second is None:
            _check(digest, size, hashlib.sha256(first).digest(), len(first))
            self._put_small(digest, first)
        elif not self.has(digest):
            self._put_large(digest, size, _chain(first, second, blocks))

    def remove_series(self, series: int) -> None:
        """Remove the pieces of a large content, some at a time. May be repeated."""
        statement = "DELETE FROM chunks WHERE rowid IN (SELECT rowid FROM chunks WHERE series = ? LIMIT ?)"
        removed = -1
        while removed:
            with self._database.write() as sql:
                removed = sql.execute(statement, (series, _SLICE)).rowcount

    def _make_way(self, digest: bytes) -> None:
        """Remove a content that was found to be wrong: here comes the right one."""
        with self._database.write() as sql:
            sql.execute(
                "DELETE FROM chunks WHERE series = (SELECT series FROM contents WHERE digest = ?)", (digest,)
            )
            sql.execute("DELETE FROM contents WHERE digest = ?", (digest,))
            self.wrong.discard(digest)

    def _put_small(self, digest: bytes, content: bytes) -> None:
        if self._database.outbox.full:
            self._database.flush()
        with self._database.lock:
            self._database.outbox.add(digest, content)
            self._pins.add(digest)

    def _put_large(self, digest: bytes, size: int, blocks: Iterator[bytes]) -> None:
        with self._database.lock:
            self._last_series += 1
            series = self._last_series
        try:
            self._write_blocks(series, digest, size, blocks)
            with self._database.lock:
                with self._database.write() as sql:
                    row = (digest, size, series)
                    is_new = sql.execute(
                        "INSERT OR IGNORE INTO contents (digest, size, series) VALUES (?, ?, ?)", row
                    ).rowcount
                self._pins.add(digest)
        except BaseException:
            with suppress(HeadgateError):  # otherwise removed at the next start
                self.remove_series(series)
            raise
        if not is_new:  # somebody else stored the same meanwhile
            self.remove_series(series)

    def _write_blocks(self, series: int, digest: bytes, size: int, blocks: Iterator[bytes]) -> None:
        hasher, length = hashlib.sha256(), 0
        for n, block in enumerate(blocks):
            hasher.update(block)
            length += len(block)
            if length > size:
                break
            with self._database.write() as sql:
                sql.execute("INSERT INTO chunks (series, n, chunk) VALUES (?, ?, ?)", (series, n, block))
            self._database.weigh(len(block))
        _check(digest, size, hasher.digest(), length)


def _check(digest: bytes, size: int, read_digest: bytes, read_size: int) -> None:
    if read_size != size:
        raise SourceMovedError(
            f"cannot keep {name(digest)}: {read_size} bytes were read where {size} were expected"
        )
    if read_digest != digest:
        raise SourceMovedError(f"cannot keep {name(digest)}: what was read is {name(read_digest)}")


def _blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in pieces of exactly a block, but for the last."""
    held: list[bytes] = []
    length = 0
    for chunk in chunks:
        held.append(chunk)
        length += len(chunk)
        if length >= BLOCK:
            joined = b"".join(held)
            whole = length - length % BLOCK
            yield from (joined[at : at + BLOCK] for at in range(0, whole, BLOCK))
            held, length = [joined[whole:]], length - whole
    if length:
        yield b"".join(held)


def _chain(first: bytes, second: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield second
    yield from rest
