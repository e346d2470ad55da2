"""The head of each environment: what is managed there now. Kept in memory once read."""

from __future__ import annotations

from dataclasses import dataclass, replace

from headgated.core.tree import Directory
from headgated.effects.history.database import Database
from headgated.effects.history.trees import Trees


@dataclass(frozen=True, slots=True)
class Head:
    """What an environment's target has of ours."""

    environment: str
    managed: Directory
    sequence: int
    """Of the deployment that left it, or of the one that found nothing left to change."""
    deployment_id: str
    """The newest deployment that was applied; empty where there was none."""


class Heads:
    """The heads in a database. Thread-safe."""

    def __init__(self, database: Database, trees: Trees) -> None:
        self._database, self._trees = database, trees
        self._known: dict[str, Head] = {}

    def moved(self, environment: str, managed: bytes, sequence: int, deployment_id: str) -> None:
        """Note that a head has moved: the tree that was there is let go, the new one kept if somebody has it already."""
        with self._database.lock:
            self._known.pop(environment, None)
            if tree := self._trees.held(managed):
                self._known[environment] = Head(environment, tree, sequence, deployment_id)

    def dropped(self, environment: str) -> None:
        """Note that a head is no more."""
        with self._database.lock:
            self._known.pop(environment, None)

    def get(self, environment: str) -> Head | None:
        """Return an environment's head, None where nothing was deployed yet.

        Raises:
            HistoryDamagedError: its tree cannot be read.
        """
        with self._database.lock:
            known = self._known.get(environment)
            row = self._row(environment)
        if known or row is None:
            return known
        head = Head(environment, self._trees.read(row[0]), row[1], row[2])
        with self._database.lock:
            if self._row(environment) == row:
                self._known[environment] = head
        return head

    def share(self, environment: str, tree: Directory) -> None:
        """Have a tree that somebody keeps in memory stand for an equal one that was read."""
        with self._database.lock:
            known = self._known.get(environment)
            if known is not None and known.managed.digest == tree.digest:
                self._known[environment] = replace(known, managed=tree)

    def _row(self, environment: str) -> tuple[bytes, int, str] | None:
        statement = "SELECT managed, sequence, deployment FROM heads WHERE environment = ?"
        with self._database.read() as sql:
            row: tuple[bytes, int, str] | None = sql.execute(statement, (environment,)).fetchone()
            return row
