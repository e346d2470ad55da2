"""The environments' secrets: gets them, keeps them in memory alone, and notices when one has changed.

What was got is good for a while (`[secrets] refresh`); whoever asks for a deployment or a plan gets what is there now. A secret
that was had once and cannot be had now stays what it was, and `status` says so: a provider that is down must not keep anybody
from deploying, least of all from rolling back.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from headgated.core.commands import Command
from headgated.core.environment import Environment
from headgated.core.errors import Fault, HeadgateError, RecordError
from headgated.core.sealing import KEY_BYTES, Sealing, SealingKey
from headgated.core.secret_references import SecretRules, reference_faults
from headgated.effects.commands import CommandRunner
from headgated.effects.durable import write_durable
from headgated.effects.known_secrets import learn
from headgated.effects.secret_values import SecretError, secret_value
from headgated.engine.views import Problem

log = logging.getLogger("headgated.secrets")

EARLIER = 8
"""So many earlier values of an environment's secrets are remembered."""
STALE = "SECRET_STALE"


@dataclass(frozen=True, slots=True)
class SecretMeans:
    """Where secrets may come from; root says so."""

    files: tuple[str, ...]
    variables: tuple[str, ...]
    refresh: float
    """Seconds."""
    providers: Mapping[str, Command]

    @property
    def rules(self) -> SecretRules:
        """What references may name."""
        return SecretRules(self.files, self.variables, self.providers.keys())


@dataclass(frozen=True, slots=True, repr=False)
class _Known:
    references: Mapping[str, str]
    sealing: Sealing
    values: Mapping[str, bytes]
    earlier: tuple[Mapping[str, bytes], ...]
    due: float
    """When to ask again, by the monotonic clock."""


class Vault:
    """Gives each environment its `Sealing`. Thread-safe; blocking.

    Args:
        directory: the state directory; the installation's key lies in it.
        means: returns where secrets may come from now.
        runner: runs providers.
        problems: where to say what cannot be had.
    """

    def __init__(
        self,
        directory: Path,
        means: Callable[[], SecretMeans],
        runner: CommandRunner,
        problems: list[Problem],
    ) -> None:
        self._file, self._means, self._runner, self._problems = (
            directory / "secrets.key",
            means,
            runner,
            problems,
        )
        self._lock = threading.Lock()
        self._key = self._read_key()
        self._none = Sealing(self._key)
        """For environments without secrets: files that had some are still recognised."""
        self._known: dict[str, _Known] = {}
        self._stale: dict[tuple[str, str], Problem] = {}

    def mac(self, digest: bytes) -> bytes:
        """Return the seal of an open content, by its SHA-256; empty where this installation never had a secret."""
        key = self._key
        return key.mac(digest) if key is not None else b""

    def faults(self, environment: Environment) -> list[Fault]:
        """Return what is wrong with an environment's references."""
        return reference_faults(environment.secrets, self._means().rules)

    def ask_anew(self, environment: str) -> None:
        """Have an environment's secrets looked up again when they are needed next."""
        with self._lock:
            known = self._known.get(environment)
            if known is not None:
                self._known[environment] = _Known(
                    known.references, known.sealing, known.values, known.earlier, 0.0
                )

    def forget(self, environment: str) -> None:
        """Let go of the secrets of an environment that is gone."""
        with self._lock:
            self._known.pop(environment, None)
            for place in [place for place in self._stale if place[0] == environment]:
                self._clear(place)

    def sealing(self, environment: Environment) -> Sealing:
        """Return an environment's secrets: the very same object for as long as they are the same.

        Raises:
            SecretError: SECRET_UNAVAILABLE, one cannot be had and never was since the daemon started.
        """
        if not environment.secrets:
            return self._none
        with self._lock:
            known = self._known.get(environment.name)
        same = known is not None and known.references == environment.secrets
        if known is not None and same and time.monotonic() < known.due:
            return known.sealing
        values = self._ask(environment, known)
        with self._lock:
            if known is not None and same and known.values == values:
                sealing, earlier = known.sealing, known.earlier
            else:
                earlier = ((known.values, *known.earlier) if known is not None else ())[:EARLIER]
                sealing = Sealing(self._make_key(), values, earlier)
                if same:
                    log.info("%s: a secret has changed", environment.name)
            due = time.monotonic() + self._means().refresh
            self._known[environment.name] = _Known(dict(environment.secrets), sealing, values, earlier, due)
            return sealing

    def _ask(self, environment: Environment, known: _Known | None) -> dict[str, bytes]:
        means = self._means()
        faults = reference_faults(environment.secrets, means.rules)
        if faults:
            raise SecretError(
                "cannot get secrets: " + "; ".join(f"{fault.field}: {fault.message}" for fault in faults),
                hint="allow it in the daemon's configuration, or change the reference: headgate env set NAME --secret",
            )
        values: dict[str, bytes] = {}
        lacking: dict[str, HeadgateError] = {}
        for name, reference in sorted(environment.secrets.items()):
            place = environment.name, name
            try:
                values[name] = secret_value(reference, means.files, means.providers, self._runner)
            except HeadgateError as error:
                if known is None or known.references.get(name) != reference or name not in known.values:
                    lacking[name] = error
                    continue
                values[name] = known.values[name]
                self._tell(place, error)
            else:
                learn((values[name],))  # Also where others are lacking: programs may print it all the same.
                with self._lock:
                    self._clear(place)
        if lacking:
            raise SecretError(
                "; ".join(f"{name}: {error.message}" for name, error in lacking.items()),
                hint=next(iter(lacking.values())).hint,
                paths=lacking,
            )
        return values

    def _tell(self, place: tuple[str, str], error: HeadgateError) -> None:
        environment, name = place
        text = f"{environment}: the secret {name} stays what it was: {error.message}"
        with self._lock:
            if place in self._stale and self._stale[place].message == text:
                return
            self._clear(place)
            log.warning("%s", text)
            self._stale[place] = problem = Problem(STALE, text, error.hint)
            self._problems.append(problem)

    def _clear(self, place: tuple[str, str]) -> None:
        problem = self._stale.pop(place, None)
        if problem is not None:
            self._problems.remove(problem)
            log.info("%s: the secret %s can be had again", *place)

    def _read_key(self) -> SealingKey | None:
        try:
            key = self._file.read_bytes()
        except FileNotFoundError:
            return None
        if len(key) != KEY_BYTES:
            raise RecordError(
                f"cannot use {self._file}: it has {len(key)} bytes, not {KEY_BYTES}",
                hint="bring it back from a backup; without it no file with secrets is recognised at its target",
            )
        return SealingKey(key)

    def _make_key(self) -> SealingKey:
        if self._key is None:
            key = os.urandom(KEY_BYTES)
            write_durable(self._file.parent, self._file.name, key)
            self._key = SealingKey(key)
            self._none = Sealing(self._key)
        return self._key
