"""Brings secrets into plans and keeps them out of what is kept: what planning and telling ask of the vault.

Whoever calls holds the environment's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from headgated.core.environment import Environment
from headgated.core.errors import HeadgateError
from headgated.core.plan import Plan
from headgated.core.sealing import NO_SECRETS, Sealing
from headgated.core.tree import Entry, walk
from headgated.effects.history import History
from headgated.engine.concealing import Concealer
from headgated.engine.runtime import Runtime
from headgated.engine.vault import Vault

Read = Callable[[bytes, Entry], Iterable[bytes]]
"""Gives what is at a path of a target."""


class Secrecy:
    """One for all environments."""

    def __init__(self, vault: Vault, history: History) -> None:
        self.vault, self._history = vault, history

    def sealing(self, runtime: Runtime, environment: Environment) -> Sealing:
        """Return an environment's secrets as they are now.

        Raises:
            DeploymentFailedError: SECRET_UNAVAILABLE.
        """
        runtime.sealing = self.vault.sealing(environment)
        return runtime.sealing

    def sealing_for(self, runtime: Runtime, environment: Environment, plan: Plan) -> Sealing:
        """Return the secrets, where a plan from history has to do with any; those that only would be overwritten may be lacking.

        Raises:
            DeploymentFailedError: SECRET_UNAVAILABLE.
        """
        if any(change.wanted is not None and change.wanted.seal for change in plan.changes):
            return self.sealing(runtime, environment)
        if any(change.expected is not None and change.expected.seal for change in plan.changes):
            with suppress(HeadgateError):
                return self.sealing(runtime, environment)
        return NO_SECRETS

    def concealer(self, runtime: Runtime, sealing: Sealing, read: Read, largest: int) -> Concealer:
        """Return what keeps secrets out of what is kept of a target."""
        return Concealer(runtime.managed, sealing, self._history, read, largest)

    def resealed(
        self, runtime: Runtime, environment: Environment, entries: Mapping[bytes, Entry | None]
    ) -> Mapping[bytes, Entry | None]:
        """Return entries of history, those with secrets as they are with the secrets of now.

        Raises:
            DeploymentFailedError: SECRET_UNAVAILABLE, SECRET_UNKNOWN, SECRET_KEY_LOST.
        """
        sealed = {path: entry for path, entry in entries.items() if entry is not None and entry.seal}
        if not sealed:
            return entries
        sealing = self.sealing(runtime, environment)
        return {
            **entries,
            **{path: sealing.reseal(entry, self._content(entry)) for path, entry in sealed.items()},
        }

    def has_unknown(self, runtime: Runtime, environment: Environment) -> bool:
        """Tell whether the target may have secrets that are not known (any more), so that they cannot be hidden in what is told.

        After a restart only the secrets of now are known; a file may still have been deployed with others.
        """
        if not self.vault.mac(bytes(32)):
            return False
        sealed = {entry.seal: entry for _, entry in walk(runtime.managed) if entry.seal}
        try:
            sealing = self.sealing(runtime, environment) if sealed else NO_SECRETS
            return not all(sealing.knows(seal, self._content(entry)) for seal, entry in sealed.items())
        except HeadgateError:
            return True

    def _content(self, entry: Entry) -> bytes:
        return b"".join(self._history.read(entry.digest))
