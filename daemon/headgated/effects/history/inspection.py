"""Finds every damage: each content hashed anew, each tree walked, each list of changes read.

Works on a connection of its own and keeps nobody waiting. One damaged page hides nothing but what lies on it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator

from headgated.core.errors import HeadgateError, HistoryDamagedError
from headgated.core.paths import escape
from headgated.core.plan import Change
from headgated.effects.history.contents import Contents, name
from headgated.effects.history.database import Database
from headgated.effects.history.deployments import Deployments, needed
from headgated.effects.history.reading import Reading
from headgated.effects.history.trees import nodes_below

_PAGE = 500
_INSTRUCTIONS = 1_000_000
"""Of SQLite's machine, between two looks at whether to go on: some milliseconds."""
_LISTED = 100
"""Faults of the file itself that are listed."""


def inspect(database: Database, now_and_then: Callable[[], None]) -> tuple[list[str], set[bytes]]:
    """Return one line for each damage, none where all is well, and the contents that are damaged.

    `now_and_then` is called every so often; what it raises ends it.
    """
    reading = database.reader()
    try:
        inspection = _Inspection(reading, now_and_then)
        return inspection.run(), inspection.contents.wrong
    finally:
        reading.close()


class _Inspection:
    def __init__(self, reading: Reading, now_and_then: Callable[[], None]) -> None:
        self._reading, self._now_and_then = reading, now_and_then
        self.contents = Contents(reading)
        self._deployments = Deployments(reading)

    def run(self) -> list[str]:
        with self._reading.read() as sql:
            sql.set_progress_handler(self._interrupt, _INSTRUCTIONS)
            checks = (self._file, self._each_content, self._each_tree, self._each_deployment)
            lines = [line for check in checks for line in check(sql)]
            self._now_and_then()
            return lines

    def _interrupt(self) -> int:
        """Cut a long statement short where this is to end; the check that comes next then raises why."""
        try:
            self._now_and_then()
        except HeadgateError:
            return 1
        return 0

    def _file(self, sql: sqlite3.Connection) -> Iterator[str]:
        try:
            for (line,) in sql.execute(f"PRAGMA integrity_check({_LISTED})"):
                if line != "ok":
                    yield f"{self._reading.path}: {line}"
        except sqlite3.DatabaseError as error:
            yield f"{self._reading.path}: {error}"

    def _each_content(self, sql: sqlite3.Connection) -> Iterator[str]:
        for digest in self._digests(sql):
            self._now_and_then()
            try:
                for _ in self.contents.read(digest):
                    pass
            except HeadgateError as error:
                yield f"content {name(digest)}: {error.message}"

    def _digests(self, sql: sqlite3.Connection) -> Iterator[bytes]:
        """Yield every digest from the index alone: a damaged content cannot hide the next one."""
        last, rows = b"", [(b"",)]
        while rows:
            try:
                statement = "SELECT digest FROM contents WHERE digest > ? ORDER BY digest LIMIT ?"
                rows = sql.execute(statement, (last, _PAGE)).fetchall()
            except sqlite3.DatabaseError:
                return  # the check of the file has named it
            for (last,) in rows:
                yield last

    def _each_tree(self, sql: sqlite3.Connection) -> Iterator[str]:
        seen: set[bytes] = set()
        for owner, root in _roots(sql):
            damage: list[HistoryDamagedError] = []
            for _ in nodes_below(self.contents, [root], seen, damage):
                self._now_and_then()
            for error in damage:
                yield f"tree {name(root)} of {owner}: {error.message}"

    def _each_deployment(self, sql: sqlite3.Connection) -> Iterator[str]:
        missing: set[bytes] = set()
        for deployment_id in _ids(sql):
            self._now_and_then()
            try:
                for batch in self._deployments.batches(deployment_id):
                    for change in batch:
                        yield from self._missing(deployment_id, change, missing)
            except HistoryDamagedError as error:
                yield f"deployment {deployment_id}: {error.message}"
            except HeadgateError:
                continue  # collected meanwhile

    def _missing(self, deployment_id: str, change: Change, named: set[bytes]) -> Iterator[str]:
        for digest in needed(change):
            if digest not in named and digest not in self.contents.wrong and not self.contents.stored(digest):
                named.add(digest)
                yield f"content {name(digest)}: missing; {deployment_id} needs it for {escape(change.path)}"


def _roots(sql: sqlite3.Connection) -> list[tuple[str, bytes]]:
    try:
        return sql.execute(
            "SELECT environment, managed FROM heads UNION ALL SELECT id, managed_before FROM deployments"
            " UNION ALL SELECT id, managed_after FROM deployments"
        ).fetchall()
    except sqlite3.DatabaseError:
        return []


def _ids(sql: sqlite3.Connection) -> list[str]:
    try:
        return [row[0] for row in sql.execute("SELECT id FROM deployments")]
    except sqlite3.DatabaseError:
        return []
