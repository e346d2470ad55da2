"""What history knows about deployments that committed: what they change, and the trees before and after.

Everything read is checked against the digest that it was stored with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from headgated.core.errors import HistoryDamagedError, NotFoundError
from headgated.core.plan import Change
from headgated.core.tree import Entry, Kind
from headgated.effects.history.encoding import decode_changes
from headgated.effects.history.reading import Reading


@dataclass(frozen=True, slots=True)
class Finished:
    """A committed deployment that is through."""

    deployment_id: str
    environment: str
    sequence: int
    applied: bool
    """False: the target was given back what it had before."""


class Deployments:
    """The committed deployments in a database. Thread-safe."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def changes(self, deployment_id: str) -> tuple[Change, ...]:
        """Return what a committed deployment changes.

        Raises:
            NotFoundError: HISTORY_COLLECTED.
            HistoryDamagedError: it is missing or not what was stored.
        """
        return tuple(change for batch in self.batches(deployment_id) for change in batch)

    def batches(self, deployment_id: str) -> Iterator[list[Change]]:
        """Yield what a committed deployment changes, some at a time; raises as `changes`."""
        with self._reading.read() as sql:
            row = sql.execute("SELECT batches FROM deployments WHERE id = ?", (deployment_id,)).fetchone()
        if row is None:
            raise _collected(deployment_id)
        for n in range(row[0]):
            yield self._batch(deployment_id, n)

    def managed(self, deployment_id: str) -> tuple[bytes, bytes]:
        """Return the digests of the managed trees before and after a committed deployment.

        Raises:
            NotFoundError: HISTORY_COLLECTED.
        """
        statement = "SELECT managed_before, managed_after FROM deployments WHERE id = ?"
        with self._reading.read() as sql:
            row = sql.execute(statement, (deployment_id,)).fetchone()
        if row is None:
            raise _collected(deployment_id)
        return row[0], row[1]

    def applied_ids(self, environment: str, since_sequence: int) -> list[tuple[int, str]]:
        """Return (sequence, id) of what was applied, from that sequence on, ascending."""
        statement = (
            "SELECT sequence, id FROM deployments WHERE state = 'applied' AND environment = ? AND sequence >= ?"
            " ORDER BY sequence"
        )
        with self._reading.read() as sql:
            return sql.execute(statement, (environment, since_sequence)).fetchall()

    def finished(self) -> list[Finished]:
        """Return every deployment that is through, of each environment the newest first."""
        statement = (
            "SELECT id, environment, sequence, state = 'applied' FROM deployments WHERE state <> 'intent'"
            " ORDER BY environment, sequence DESC"
        )
        with self._reading.read() as sql:
            rows = sql.execute(statement).fetchall()
        return [Finished(name, environment, n, bool(applied)) for name, environment, n, applied in rows]

    def _batch(self, deployment_id: str, n: int) -> list[Change]:
        statement = "SELECT digest, encoded FROM changes WHERE deployment = ? AND n = ?"
        with self._reading.read() as sql:
            row = sql.execute(statement, (deployment_id, n)).fetchone()
        if row is None:
            raise _damaged(deployment_id, n, "it is missing")
        if hashlib.sha256(row[1]).digest() != row[0]:
            raise _damaged(deployment_id, n, "its bytes are not those that were stored")
        try:
            return decode_changes(row[1])
        except ValueError as error:
            raise _damaged(deployment_id, n, str(error)) from error


def needed(change: Change) -> list[bytes]:
    """Return the contents without which a change can neither be made nor undone."""
    old, new = _file(change.expected), _file(change.wanted)
    if old == new:  # only attributes change
        return []
    return [digest for digest in (old, new) if digest is not None]


def _file(entry: Entry | None) -> bytes | None:
    return entry.digest if entry is not None and entry.kind == Kind.FILE else None


def _collected(deployment_id: str) -> NotFoundError:
    return NotFoundError(
        f"history no longer holds what {deployment_id} changed",
        reason="HISTORY_COLLECTED",
        hint="it can neither be rolled back nor restored; deploy the wanted content anew",
    )


def _damaged(deployment_id: str, n: int, why: str) -> HistoryDamagedError:
    return HistoryDamagedError(
        f"cannot read batch {n} of what {deployment_id} changed from history: {why}",
        hint="it cannot be rolled back; deploy anew, or restore history.db from a backup",
    )
