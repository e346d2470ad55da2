"""How much of history is there for which deployment, counted so that the newest pays for what several need.

What heads need is nobody's: it stays in any case. Works on a connection of its own and keeps nobody waiting; it reads every
directory node, so it is for rare occasions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator

from headgated.core.errors import NotFoundError
from headgated.effects.history.contents import Contents
from headgated.effects.history.database import Database
from headgated.effects.history.deployments import Deployments, needed
from headgated.effects.history.reading import Reading
from headgated.effects.history.trees import nodes_below


def weigh(
    database: Database, deployment_ids: Iterable[str], now_and_then: Callable[[], None]
) -> tuple[int, dict[str, int]]:
    """Return the bytes that heads need, and for each deployment those that it needs and none before it in the list.

    Raises:
        HistoryDamagedError: something cannot be read.
    """
    reading = database.reader()
    try:
        scale = _Scale(reading, now_and_then)
        with reading.read() as sql:
            base = scale.trees(sql, [row[0] for row in sql.execute("SELECT managed FROM heads")])
            return base, {each: scale.deployment(sql, each) for each in deployment_ids}
    finally:
        reading.close()


class _Scale:
    """Weighs what it has not weighed yet."""

    def __init__(self, reading: Reading, now_and_then: Callable[[], None]) -> None:
        self._contents, self._deployments = Contents(reading), Deployments(reading)
        self._now_and_then = now_and_then
        self._nodes: set[bytes] = set()
        self._files: set[bytes] = set()

    def trees(self, sql: sqlite3.Connection, roots: Iterable[bytes]) -> int:
        return sum(
            _size(sql, node) + self._new(sql, files)
            for node, files in self._patiently(nodes_below(self._contents, roots, self._nodes))
        )

    def deployment(self, sql: sqlite3.Connection, deployment_id: str) -> int:
        try:
            weight = self.trees(sql, self._deployments.managed(deployment_id))
            for batch in self._deployments.batches(deployment_id):
                weight += sum(self._new(sql, needed(change)) for change in batch)
        except NotFoundError:
            return 0  # dropped meanwhile
        statement = "SELECT sum(length(encoded)) FROM changes WHERE deployment = ?"
        return weight + int(sql.execute(statement, (deployment_id,)).fetchone()[0] or 0)

    def _new(self, sql: sqlite3.Connection, digests: Iterable[bytes]) -> int:
        fresh = set(digests) - self._files
        self._files |= fresh
        return sum(_size(sql, digest) for digest in fresh)

    def _patiently(self, nodes: Iterator[tuple[bytes, list[bytes]]]) -> Iterator[tuple[bytes, list[bytes]]]:
        for node in nodes:
            self._now_and_then()
            yield node


def _size(sql: sqlite3.Connection, digest: bytes) -> int:
    row = sql.execute("SELECT size FROM contents WHERE digest = ?", (digest,)).fetchone()
    return int(row[0]) if row else 0
