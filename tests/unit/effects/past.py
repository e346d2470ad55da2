"""Makes deployments for history to remember, without a target."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from headgated.core.intent import Intent
from headgated.core.plan import Change
from headgated.core.tree import EMPTY, Directory, Entry, Kind, edit, lookup, own
from headgated.effects.history import History

TOKEN = "0123456789ab"


def digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def put(history: History, content: bytes) -> bytes:
    history.put(digest(content), len(content), (content,))
    return digest(content)


def whole(history: History, content: bytes) -> bytes:
    """What history gives for this content."""
    return b"".join(history.read(digest(content)))


def entry(content: bytes, mode: int = 0o644) -> Entry:
    return Entry(Kind.FILE, mode, digest(content), len(content))


def intent(
    deployment_id: str,
    managed: Directory,
    wanted: Mapping[bytes, bytes | None],
    *,
    environment: str = "prod",
    sequence: int = 1,
    token: str = TOKEN,
) -> Intent:
    """The commitment to change these paths of a target that has what is managed."""
    changes, edits = [], {}
    for path, content in sorted(wanted.items()):
        old = lookup(managed, path)
        edits[path] = None if content is None else entry(content)
        changes.append(Change(path, None if old is None else own(old), edits[path]))
    record = f'{{"deployment_id": "{deployment_id}"}}'.encode()
    after = edit(managed, edits)
    return Intent(
        deployment_id, environment, sequence, "/target", token, managed, after, tuple(changes), record
    )


def commit(
    history: History,
    deployment_id: str,
    managed: Directory,
    wanted: Mapping[bytes, bytes | None],
    *,
    environment: str = "prod",
    sequence: int = 1,
    directories: Sequence[bytes] = (b"",),
) -> Intent:
    """Take a deployment as far as its commitment; without directories, one that leaves nothing behind before that."""
    history.begin(environment, deployment_id, TOKEN, "/target", directories)
    for content in wanted.values():
        if content is not None:
            put(history, content)
    committed = intent(deployment_id, managed, wanted, environment=environment, sequence=sequence)
    history.commit(committed)
    return committed


def deploy(
    history: History,
    deployment_id: str,
    wanted: Mapping[bytes, bytes | None],
    *,
    environment: str = "prod",
    sequence: int = 1,
    directories: Sequence[bytes] = (b"",),
) -> Directory:
    """Take a deployment to its end; returns what is managed then."""
    head = history.head(environment)
    managed = EMPTY if head is None else head.managed
    committed = commit(
        history,
        deployment_id,
        managed,
        wanted,
        environment=environment,
        sequence=sequence,
        directories=directories,
    )
    history.applied(deployment_id)
    return committed.managed_after


def ask(path: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    """Put a statement to a closed history's file, behind its back."""
    sql = sqlite3.connect(path, isolation_level=None)
    try:
        return sql.execute(statement, values).fetchall()
    finally:
        sql.close()
