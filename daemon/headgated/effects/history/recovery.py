"""What was under way when the daemon ended, with all that is needed to finish or undo it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from headgated.core.errors import HistoryDamagedError
from headgated.core.intent import Intent
from headgated.effects.history.database import Database
from headgated.effects.history.deployments import Deployments
from headgated.effects.history.encoding import decode_paths
from headgated.effects.history.trees import Trees


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A deployment that was under way when the daemon ended."""

    intent: Intent | None
    """None: it never committed, so nothing at the target has changed."""
    environment: str
    deployment_id: str
    token: str
    target: str
    directories: tuple[bytes, ...]
    """Where temporaries with the token may lie."""
    sequence: int = 0
    """Of what was committed to."""
    applied: bool = False
    """It is through, but something of it could not be removed at the target."""
    damage: str = ""
    """It did commit, but its intent cannot be read any more, for this reason. `intent` is None and `directories` empty then:
    temporaries may hold what it replaced, so they must stay."""


class Recovery:
    """Finds unfinished deployments. Thread-safe."""

    def __init__(self, database: Database, deployments: Deployments, trees: Trees) -> None:
        self._database, self._deployments, self._trees = database, deployments, trees

    def unfinished(self) -> list[Unfinished]:
        """Return every deployment that recovery must look at. One that is damaged harms no other."""
        with self._database.read() as sql:
            intents = sql.execute(
                "SELECT d.id, d.environment, d.token, d.target, s.directories FROM deployments d"
                " LEFT JOIN staging s ON s.deployment = d.id AND s.token = d.token WHERE d.state = 'intent'"
                " ORDER BY d.environment, d.sequence"
            ).fetchall()
            notes = sql.execute(
                "SELECT s.deployment, s.environment, s.token, s.target, s.directories, d.sequence, d.state FROM staging s"
                " LEFT JOIN deployments d ON d.id = s.deployment AND d.token = s.token"
                " WHERE s.deployment NOT IN (SELECT id FROM deployments WHERE state = 'intent')"
                " ORDER BY s.environment, d.sequence"
            ).fetchall()
        found = [self._unfinished_intent(*row) for row in intents]
        return found + [_unfinished_staging(*row) for row in notes]

    def _unfinished_intent(
        self, deployment_id: str, environment: str, token: str, target: bytes, directories: bytes | None
    ) -> Unfinished:
        try:
            intent = self._intent(deployment_id)
        except HistoryDamagedError as error:
            where = os.fsdecode(target)
            return Unfinished(None, environment, deployment_id, token, where, (), damage=error.message)
        paths = decode_paths(directories) if directories is not None else ()
        return Unfinished(intent, environment, deployment_id, token, os.fsdecode(target), paths)

    def _intent(self, deployment_id: str) -> Intent:
        with self._database.read() as sql:
            row = sql.execute(
                "SELECT d.environment, d.sequence, d.target, d.token, d.managed_before, d.managed_after, i.digest, i.record"
                " FROM deployments d LEFT JOIN intents i ON i.deployment = d.id WHERE d.id = ?",
                (deployment_id,),
            ).fetchone()
        environment, sequence, target, token, before, after, digest, record = row
        if record is None or hashlib.sha256(record).digest() != digest:
            why = "it is missing" if record is None else "its bytes are not those that were stored"
            raise HistoryDamagedError(f"cannot read the record of {deployment_id} from history: {why}")
        return Intent(
            deployment_id,
            environment,
            sequence,
            os.fsdecode(target),
            token,
            self._trees.read(before),
            self._trees.read(after),
            self._deployments.changes(deployment_id),
            record,
        )


def _unfinished_staging(
    deployment_id: str,
    environment: str,
    token: str,
    target: bytes,
    directories: bytes,
    sequence: int | None,
    state: str | None,
) -> Unfinished:
    damage = ""
    paths: tuple[bytes, ...] = ()
    try:
        paths = decode_paths(directories)
    except ValueError as error:
        damage = f"its note cannot be read: {error}"
    return Unfinished(
        None,
        environment,
        deployment_id,
        token,
        os.fsdecode(target),
        paths,
        sequence or 0,
        state == "applied",
        damage,
    )
