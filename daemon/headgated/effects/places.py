"""Where directories really are, and whether two of them are the same or one is inside the other.

Compared by real path and by device and inode of the directory and all above it, so that symlinks and bind mounts are seen
through. A directory that does not exist yet is judged by the nearest one above it that does.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T", bound=Hashable)
_Key: TypeAlias = str | tuple[int, int]


@dataclass(frozen=True, slots=True)
class Place:
    """A directory, existing or not."""

    path: str
    """As it was given."""
    real: str
    """With every symlink resolved."""
    identity: tuple[int, int] | None
    """(device, inode); None where it does not exist."""
    above: frozenset[tuple[int, int]]
    """Identities of every existing directory above it."""

    @classmethod
    def of(cls, path: str) -> Place:
        """Look at `path` as it is now."""
        return Ground().place(path)

    def same(self, other: Place) -> bool:
        """Tell whether both are one directory."""
        return self.real == other.real or (self.identity is not None and self.identity == other.identity)

    def inside(self, other: Place) -> bool:
        """Tell whether this is below `other`."""
        return self.real.startswith(other.real.rstrip("/") + "/") or (
            other.identity is not None and other.identity in self.above
        )

    def overlaps(self, other: Place) -> bool:
        """Tell whether they are one, or one is inside the other."""
        return self.same(other) or self.inside(other) or other.inside(self)


class Ground:
    """Directories as they are at one moment: what many places have in common is looked at once."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}
        self._reals: dict[str, str] = {}
        self._above: dict[str, frozenset[tuple[int, int]]] = {}
        self._identities: dict[str, tuple[int, int] | None] = {}

    def place(self, path: str) -> Place:
        """Return where `path` is."""
        if path not in self._places:
            real = self._real(path)
            self._places[path] = Place(path, real, self._identity(real), self._all_above(real))
        return self._places[path]

    def _real(self, path: str) -> str:
        parent, name = os.path.split(path)
        if not os.path.isabs(path) or name in ("", ".", "..") or os.path.islink(path):
            return os.path.realpath(path)
        if parent not in self._reals:
            self._reals[parent] = os.path.realpath(parent)
        return os.path.join(self._reals[parent], name)

    def _all_above(self, real: str) -> frozenset[tuple[int, int]]:
        parent = os.path.dirname(real)
        if parent == real:
            return frozenset()
        if parent not in self._above:
            above = (self._identity(str(path)) for path in Path(real).parents)
            self._above[parent] = frozenset(identity for identity in above if identity is not None)
        return self._above[parent]

    def _identity(self, real: str) -> tuple[int, int] | None:
        if real not in self._identities:
            self._identities[real] = _identity(real)
        return self._identities[real]


class Neighbours(Generic[T]):
    """Places by where they are, to find those that overlap another without asking each."""

    def __init__(self) -> None:
        self._at: dict[_Key, list[T]] = {}
        self._below: dict[_Key, list[T]] = {}

    def add(self, place: Place, what: T) -> None:
        """Note that `what` is at `place`."""
        for key in _keys(place):
            self._at.setdefault(key, []).append(what)
        for key in _keys_above(place):
            self._below.setdefault(key, []).append(what)

    def overlapping(self, place: Place) -> list[T]:
        """Return what is at, above or below `place`, each once: exactly what `Place.overlaps` says yes to."""
        found: dict[T, None] = {}
        for key in _keys(place):
            found |= dict.fromkeys(self._at.get(key, ()))
            found |= dict.fromkeys(self._below.get(key, ()))
        for key in _keys_above(place):
            found |= dict.fromkeys(self._at.get(key, ()))
        return list(found)


def _keys(place: Place) -> Iterator[_Key]:
    yield place.real
    if place.identity is not None:
        yield place.identity


def _keys_above(place: Place) -> Iterator[_Key]:
    yield from place.above
    yield from map(str, Path(place.real).parents)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def source_fault(path: str) -> str:
    """Return why `path` cannot be a source now; empty where it can."""
    if not os.path.lexists(path):
        return f"{path} does not exist; create it first"
    if not os.path.isdir(path):
        return f"{path} is not a directory"
    if not os.access(path, os.R_OK | os.X_OK):
        return f"{path} cannot be read by the daemon"
    return ""


def target_fault(path: str) -> str:
    """Return why `path` can be neither used nor created as a target; empty where it can."""
    allowed = "; allow it in the unit, with ReadWritePaths=" if "INVOCATION_ID" in os.environ else ""
    if os.path.isdir(path):
        return (
            "" if os.access(path, os.W_OK | os.X_OK) else f"{path} cannot be written by the daemon{allowed}"
        )
    if os.path.lexists(path):
        return f"{path} is not a directory"
    nearest = next(p for p in Path(path).parents if p.exists())
    if not nearest.is_dir():
        return f"{path} cannot be created: {nearest} is not a directory"
    if not os.access(nearest, os.W_OK | os.X_OK):
        return f"{path} cannot be created: the daemon cannot write to {nearest}{allowed}"
    return ""
