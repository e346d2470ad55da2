"""Keeps secrets out of what is kept: history, records and diffs have slots where a file at the target has values.

A file with secrets is rendered twice over: with a *slot* in place of each secret, which is what trees, plans and history know
(sealed), and with the values, only as it is written to the target (open). Its entry carries a *seal*, a keyed hash of the open
content: so the file is recognised at the target, and a changed secret is a change, although nothing that is kept tells the value.

Slots are made with a key of the installation: nobody who does not have it can write one into a source.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from headgated.core.errors import DeploymentFailedError
from headgated.core.masking import MASK
from headgated.core.paths import escape
from headgated.core.tree import Entry

KEY_BYTES = 32
SHORTEST, LONGEST = 4, 64 * 1024
"""Bytes of a secret: a shorter one cannot be found in what is to be shown, and a longer one is none."""

_SLOT = re.compile(rb"HEADGATE_SECRET\.([0-9a-f]{16})\.([A-Za-z_][A-Za-z0-9_]{0,127})\.")
_SHOWN_SLOT = re.compile(_SLOT.pattern.decode("ascii"))
Values = Mapping[str, bytes]
"""Secrets by name."""


@dataclass(frozen=True, slots=True, repr=False)
class SealingKey:
    """What slots and seals of one installation are made with."""

    key: bytes

    def mac(self, digest: bytes) -> bytes:
        """Return the seal of an open content, by its SHA-256 (32 bytes)."""
        return hmac.digest(self.key, digest, "sha256")

    @property
    def tag(self) -> bytes:
        """What tells this installation's slots from others (16 characters)."""
        return hmac.digest(self.key, b"slot", "sha256").hex()[:16].encode("ascii")


class Sealing:
    """One environment's secrets at one moment. Never changed; never shows a value.

    Args:
        key: of the installation; None: it never had a secret.
        values: the secrets by name.
        earlier: what they were before, newest first, as far as that is still known.
    """

    def __init__(
        self, key: SealingKey | None = None, values: Values | None = None, earlier: Sequence[Values] = ()
    ) -> None:
        self._key, self._values, self._earlier = key, dict(values or {}), tuple(earlier)
        self._tag = b"" if key is None else key.tag

    @property
    def active(self) -> bool:
        """Whether there are secrets."""
        return bool(self._values)

    @property
    def version(self) -> str:
        """A keyed hash of all of them, by name: another one where any has changed; empty where there are none."""
        if self._key is None or not self._values:
            return ""
        told = hashlib.sha256()
        for name in sorted(self._values):
            told.update(b"%s\0%d\0%s" % (name.encode(), len(self._values[name]), self._values[name]))
        return self._key.mac(told.digest()).hex()

    def slots(self) -> dict[str, str]:
        """Return what is rendered in place of each secret, by name."""
        return {name: f"HEADGATE_SECRET.{self._tag.decode()}.{name}." for name in self._values}

    def seal(self, content: bytes) -> bytes:
        """Return the seal of a sealed content; empty where it has no slot.

        Raises:
            DeploymentFailedError: as `open`.
        """
        opened = self.open(content)
        if opened is content or self._key is None:
            return b""
        return self._key.mac(hashlib.sha256(opened).digest())

    def open(self, content: bytes) -> bytes:
        """Return a sealed content with the values of now in it; the very same object where it has no slot of ours.

        Raises:
            DeploymentFailedError: SECRET_UNKNOWN, a secret in it is not declared any more.
        """
        return self._opened(content, self._values)

    def _opened(self, content: bytes, values: Values) -> bytes:
        if not self._tag or self._tag not in content:
            return content
        missing: dict[str, None] = {}
        ours = 0

        def put_in(slot: re.Match[bytes]) -> bytes:
            nonlocal ours
            if slot[1] != self._tag:
                return slot[0]
            ours += 1
            value = values.get(slot[2].decode("ascii"))
            if value is None:
                missing[slot[2].decode("ascii")] = None
                return b""
            return value

        opened = _SLOT.sub(put_in, content)
        if missing:
            raise DeploymentFailedError(
                f"cannot put in the secret {', '.join(missing)}: the environment does not declare it",
                reason="SECRET_UNKNOWN",
                hint="declare it: headgate env set NAME --secret KEY=REFERENCE",
                paths=tuple(missing),
            )
        return opened if ours else content

    def reseal(self, entry: Entry, content: bytes) -> Entry:
        """Return the entry of a sealed content from history, with the seal that it has with the values of now.

        Raises:
            DeploymentFailedError: SECRET_UNKNOWN; SECRET_KEY_LOST, its slots are of another installation.
        """
        seal = self.seal(content)
        if not seal:
            raise DeploymentFailedError(
                "cannot put secrets into a file from history: it was sealed with another key",
                reason="SECRET_KEY_LOST",
                hint="bring back secrets.key of the state directory from where history.db came from, or deploy anew",
            )
        return replace(entry, seal=seal)

    def conceal(self, content: bytes) -> bytes:
        """Return a content with a slot in place of every value that is or was one of these secrets.

        Values of now are put back to where they were by `open`; earlier ones are replaced by those of now.
        """
        found: dict[bytes, str] = {}
        for values in (self._values, *self._earlier):
            for name, value in values.items():
                found.setdefault(value, name)
        slots = self.slots()
        for value in sorted(found, key=len, reverse=True):
            if value in content and found[value] in slots:
                content = content.replace(value, slots[found[value]].encode("ascii"))
        return content

    def knows(self, seal: bytes, content: bytes) -> bool:
        """Tell whether the values are known with which a sealed content had this seal: what it was deployed with."""
        for values in (self._values, *self._earlier):
            try:
                opened = self._opened(content, values)
            except DeploymentFailedError:
                continue
            if self._key is not None and self._key.mac(hashlib.sha256(opened).digest()) == seal:
                return True
        return False


NO_SECRETS = Sealing()


def names_in(content: bytes) -> tuple[str, ...]:
    """Return the names of the secrets that a sealed content has slots for, each once, in order."""
    return tuple(dict.fromkeys(slot[2].decode("ascii") for slot in _SLOT.finditer(content)))


def as_references(content: bytes) -> bytes:
    """Return a sealed content with `${NAME}` in place of each slot: what is given to people."""
    return _SLOT.sub(rb"${\2}", content)


def mask_slots(text: str) -> str:
    """Return text with each slot hidden as a secret is."""
    return _SHOWN_SLOT.sub(MASK, text)


def cannot_keep(paths: Iterable[bytes]) -> DeploymentFailedError:
    """Return why edits cannot be overwritten: nobody can say what in them must not get into history."""
    shown = [escape(path) for path in paths]
    return DeploymentFailedError(
        f"cannot keep what was edited by hand at {shown[0]}: it was deployed with secrets that have changed since and are not known"
        " any more, or is too large to look for them, so they cannot be kept out of history",
        reason="SECRET_EDITED",
        hint="save what you need of the edit elsewhere, remove the file, then deploy again",
        paths=shown,
    )
