"""Where directories really are, and whether two of them are the same or one is inside the other.

Compared by real path and by device and inode of the directory and all above it, so that symlinks and bind mounts are seen
through. A directory that does not exist yet is judged by the nearest one above it that does.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


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
        real = os.path.realpath(path)
        above = frozenset(identity for p in Path(real).parents if (identity := _identity(str(p))) is not None)
        return cls(path, real, _identity(real), above)

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
    if os.path.isdir(path):
        return "" if os.access(path, os.W_OK | os.X_OK) else f"{path} cannot be written by the daemon"
    if os.path.lexists(path):
        return f"{path} is not a directory"
    nearest = next(p for p in Path(path).parents if p.exists())
    if not nearest.is_dir():
        return f"{path} cannot be created: {nearest} is not a directory"
    if not os.access(nearest, os.W_OK | os.X_OK):
        return f"{path} cannot be created: the daemon cannot write to {nearest}"
    return ""
