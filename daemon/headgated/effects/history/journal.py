"""What is begun, committed to, applied and undone, and where each environment's head is.

A deployment is *staging* from `begin`, *intent* from `commit` (the one moment that waits for the disk), then *applied* or
*undone*. Only one that is staging or intent is unfinished. What it changes is kept until it is collected, so that it can be
rolled back; its record only until it is applied or undone.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable

from headgated.core.errors import AlreadyExistsError, HistoryDamagedError, NotFoundError
from headgated.core.intent import Intent
from headgated.core.paths import escape
from headgated.core.plan import Change
from headgated.core.tree import Directory
from headgated.effects.durable import at_once
from headgated.effects.history.contents import name
from headgated.effects.history.database import Database
from headgated.effects.history.deployments import needed
from headgated.effects.history.encoding import encode_changes, encode_paths
from headgated.effects.history.intake import Intake
from headgated.effects.history.pins import Pins
from headgated.effects.history.trees import Trees

Moved = tuple[str, bytes, int, str]
"""A head as it is now: environment, digest of the tree that is managed, sequence, deployment."""


class Journal:
    """Moves deployments from one state to the next. Thread-safe; one thread at a time for each environment."""

    def __init__(self, database: Database, contents: Intake, trees: Trees, pins: Pins) -> None:
        self._database, self._contents, self._trees, self._pins = database, contents, trees, pins

    def begin(
        self, environment: str, deployment_id: str, token: str, target: str, directories: Iterable[bytes]
    ) -> None:
        """Note that staging has begun, synced: a power cut may leave names that were never synced, and this is all that tells whose they are."""
        where = list(directories)
        if not where:  # Nothing can be left behind.
            with self._database.lock:
                self._pins.begin(environment, deployment_id)
            return
        row = (deployment_id, environment, token, os.fsencode(target), encode_paths(where))
        with self._database.write() as sql:
            sql.execute("INSERT OR REPLACE INTO staging VALUES (?, ?, ?, ?, ?)", row)
            self._pins.begin(environment, deployment_id)
        self._database.sync()

    def commit(self, intent: Intent, first: Callable[[], object] = at_once) -> None:
        """Commit to a deployment: when this returns, a power cut loses neither the intent nor anything it refers to.

        Args:
            intent: what is committed to.
            first: called when all but the commitment itself is written; what it raises ends it.

        Raises:
            AlreadyExistsError: that deployment has committed already.
            HistoryDamagedError: CONTENT_MISSING, a content that it replaces or brings was not put.
            UnavailableError: nothing was committed, or whether it was is not known: see `unfinished` at the next start.
        """
        with self._database.read() as sql:
            if _state(sql, intent.deployment_id) in ("intent", "applied"):
                raise AlreadyExistsError(f"cannot commit {intent.deployment_id}: it has committed already")
            self._pins.begin(intent.environment, intent.deployment_id)
        nodes = self._trees.put(intent.managed_before)
        nodes += self._trees.put(intent.managed_after, like=intent.managed_before)
        contents = self._require(intent.changes)
        *ahead, last = enumerate(encode_changes(intent.changes))
        for n, batch in ahead:
            with self._database.write() as sql:
                self._write_changes(sql, intent.deployment_id, n, batch)
            self._database.weigh(len(batch))
        first()
        with self._database.write() as sql:
            self._write_changes(sql, intent.deployment_id, *last)
            self._write_intent(sql, intent, last[0] + 1)
        self._database.sync()
        with self._database.lock:
            self._pins.end(intent.environment, (*contents, *nodes))

    def applied(self, deployment_id: str, *, untidy: bool = False) -> Moved | None:
        """Note that the target has it all. May be repeated. Returns how the head moved, None where it had before.

        Args:
            deployment_id: what was applied.
            untidy: something of it could not be removed there; until `tidied` it is among what is unfinished.

        Raises:
            NotFoundError: it never committed.
        """
        with self._database.write() as sql:
            moved: Moved | None = sql.execute(
                "UPDATE deployments SET state = 'applied' WHERE id = ? AND state = 'intent'"
                " RETURNING environment, managed_after, sequence, id",
                (deployment_id,),
            ).fetchone()
            if moved:
                sql.execute("INSERT OR REPLACE INTO heads VALUES (?, ?, ?, ?)", moved)
            elif _state(sql, deployment_id) != "applied":
                raise NotFoundError(f"cannot mark {deployment_id} as applied: it has not committed")
            _finish(sql, deployment_id)
            if untidy:
                sql.execute(
                    "INSERT INTO staging SELECT id, environment, token, target, ? FROM deployments WHERE id = ?",
                    (encode_paths([]), deployment_id),
                )
            return moved

    def untidy(self, environment: str, tokens: Iterable[str]) -> bool:
        """Note that something may be left of what was applied under some of these tokens; tell whether any was."""
        with self._database.write() as sql:
            statement = (
                "INSERT OR IGNORE INTO staging SELECT id, environment, token, target, ? FROM deployments"
                " WHERE environment = ? AND state = 'applied' AND token = ?"
            )
            rows = [(encode_paths([]), environment, token) for token in tokens]
            return sql.executemany(statement, rows).rowcount > 0

    def tidied(self, deployment_id: str) -> None:
        """Note that nothing is left of what was applied that should not be."""
        with self._database.write() as sql:
            sql.execute("DELETE FROM staging WHERE deployment = ?", (deployment_id,))

    def abandoned(self, deployment_id: str) -> None:
        """Note that the target is as it was before. May be repeated."""
        with self._database.write() as sql:
            sql.execute(
                "UPDATE deployments SET state = 'undone' WHERE id = ? AND state = 'intent'", (deployment_id,)
            )
            if _state(sql, deployment_id) is None:
                sql.execute("DELETE FROM changes WHERE deployment = ?", (deployment_id,))
            _finish(sql, deployment_id)
            self._pins.end_deployment(deployment_id)

    def adopt(self, environment: str, managed: Directory, sequence: int, deployment_id: str) -> Moved:
        """Move the head without a change at the target; with an id, as a deployment that changed nothing. Returns how it moved."""
        with self._database.lock:
            self._pins.begin(environment, deployment_id)
        nodes = self._trees.put(managed)
        with self._database.write() as sql:
            head = sql.execute(
                "SELECT managed, deployment FROM heads WHERE environment = ?", (environment,)
            ).fetchone()
            before, old_id = head or (managed.digest, "")
            if deployment_id:
                row = (deployment_id, environment, sequence, "applied", "", b"", before, managed.digest, 0)
                sql.execute("INSERT OR REPLACE INTO deployments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            moved = (environment, managed.digest, sequence, deployment_id or old_id)
            sql.execute("INSERT OR REPLACE INTO heads VALUES (?, ?, ?, ?)", moved)
        self._database.sync()
        with self._database.lock:
            self._pins.end(environment, nodes)
        return moved

    def forget(self, environment: str) -> None:
        """Drop the head of an environment and all that is unfinished in it."""
        with self._database.write() as sql:
            sql.execute("DELETE FROM heads WHERE environment = ?", (environment,))
            sql.execute(
                "DELETE FROM intents WHERE deployment IN"
                " (SELECT id FROM deployments WHERE environment = ? AND state = 'intent')",
                (environment,),
            )
            sql.execute(
                "UPDATE deployments SET state = 'undone' WHERE environment = ? AND state = 'intent'",
                (environment,),
            )
            sql.execute("DELETE FROM staging WHERE environment = ?", (environment,))
            self._pins.end(environment)
        self._database.sync()

    def _write_changes(self, sql: sqlite3.Connection, deployment_id: str, n: int, batch: bytes) -> None:
        """Write a batch in place of what an earlier attempt of the same deployment left; `batches` says how many count."""
        row = (deployment_id, n, hashlib.sha256(batch).digest(), batch)
        sql.execute("INSERT OR REPLACE INTO changes VALUES (?, ?, ?, ?)", row)

    def _write_intent(self, sql: sqlite3.Connection, intent: Intent, batches: int) -> None:
        row = (
            intent.deployment_id,
            intent.environment,
            intent.sequence,
            "intent",
            intent.token,
            os.fsencode(intent.target),
            intent.managed_before.digest,
            intent.managed_after.digest,
            batches,
        )
        sql.execute("INSERT OR REPLACE INTO deployments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        record = (intent.deployment_id, hashlib.sha256(intent.record).digest(), intent.record)
        sql.execute("INSERT INTO intents VALUES (?, ?, ?)", record)

    def _require(self, changes: Iterable[Change]) -> list[bytes]:
        """Make sure that everything a deployment replaces or brings is stored; returns the digests."""
        changes = tuple(changes)
        digests = [digest for change in changes for digest in needed(change)]
        held = self._contents.hold(digests)
        for change in changes if not held.issuperset(digests) else ():
            for digest in needed(change):
                if digest not in held:
                    path = escape(change.path)
                    raise HistoryDamagedError(
                        f"cannot commit: {name(digest)}, a content of {path}, was not put into history",
                        reason="CONTENT_MISSING",
                        hint="deploy again",
                        paths=[path],
                    )
        return digests


def _state(sql: sqlite3.Connection, deployment_id: str) -> str | None:
    row = sql.execute("SELECT state FROM deployments WHERE id = ?", (deployment_id,)).fetchone()
    return None if row is None else row[0]


def _finish(sql: sqlite3.Connection, deployment_id: str) -> None:
    sql.execute("DELETE FROM intents WHERE deployment = ?", (deployment_id,))
    sql.execute("DELETE FROM staging WHERE deployment = ?", (deployment_id,))
