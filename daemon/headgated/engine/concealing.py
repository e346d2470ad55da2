"""Keeps secrets out of history: what a target has is turned into what may be kept of it.

A file that is as it was deployed is kept as it was deployed, with slots. In one that somebody edited, or put there, every value that
is or was one of the environment's secrets gives way to a slot, so that bringing the edit back brings the secret of then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace

from headgated.core.plan import Plan
from headgated.core.sealing import Sealing, cannot_keep
from headgated.core.tree import Directory, Entry, Kind, lookup, own
from headgated.effects.history import History


def unrevealing(live: Entry | None) -> Entry | None:
    """Return what may be shown of a live file: where there are secrets a keyed hash in place of its digest, which can be guessed from."""
    return replace(live, digest=live.seal) if live is not None and live.seal else live


class Concealer:
    """Turns live entries into entries to be kept; for one plan.

    Args:
        managed: what was deployed.
        sealing: the environment's secrets.
        history: has the contents of what was deployed.
        read: gives a live file's content.
        largest: bytes up to which a file is looked into. We never deployed a larger one with secrets: what became so large in the place of
            one cannot be kept.
    """

    def __init__(
        self,
        managed: Directory,
        sealing: Sealing,
        history: History,
        read: Callable[[bytes, Entry], Iterable[bytes]],
        largest: int,
    ) -> None:
        self._managed, self._sealing, self._history = managed, sealing, history
        self._read, self._largest = read, largest
        self.kept: dict[bytes, bytes] = {}
        """Contents, by digest, that are nowhere else: of edited files, with slots."""
        self._unknown: list[bytes] = []

    def plan(self, plan: Plan) -> Plan:
        """Return a plan that expects the same and tells no secret.

        Raises:
            DeploymentFailedError: SECRET_EDITED, with every path that cannot be kept.
        """
        if not any(change.expected is not None and change.expected.seal for change in plan.changes):
            return plan
        changes = tuple(
            replace(change, expected=self.entry(change.path, change.expected)) for change in plan.changes
        )
        self.close()
        return replace(plan, changes=changes)

    def entry(self, path: bytes, live: Entry | None) -> Entry | None:
        """Return what is kept of what is live at a path; `close` says whether it can be."""
        if live is None or live.kind != Kind.FILE or not live.seal:
            return live
        node = lookup(self._managed, path)
        ours = None if node is None else own(node)
        if ours is not None and ours.seal and ours.seal == live.seal:
            return replace(live, digest=ours.digest, size=ours.size)
        plain = replace(live, seal=b"")
        was_sealed = ours is not None and bool(ours.seal)
        if (ours is not None and ours.digest == live.digest) or not (was_sealed or self._sealing.active):
            return plain
        if ours is not None and was_sealed and (live.size > self._largest or not self._knows(ours)):
            self._unknown.append(path)
            return plain
        if live.size > self._largest:
            return plain
        content = self._sealing.conceal(b"".join(self._read(path, live)))
        digest = hashlib.sha256(content).digest()
        if digest == live.digest:
            return plain
        self.kept[digest] = content
        return replace(live, digest=digest, size=len(content))

    def close(self) -> None:
        """Refuse what cannot be kept.

        Raises:
            DeploymentFailedError: SECRET_EDITED, with every path.
        """
        if self._unknown:
            raise cannot_keep(self._unknown)

    def _knows(self, ours: Entry) -> bool:
        return self._sealing.knows(ours.seal, b"".join(self._history.read(ours.digest)))
