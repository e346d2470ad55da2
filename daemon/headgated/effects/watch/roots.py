"""What stands at the path of a source: which directory, or why none.

A watch is bound to an inode, a source is a path. Whether the two still belong together is told by comparing `look` with
what it said when the watch was set up. (device, inode) alone is not enough: inodes are used again, so a watch that the
kernel took away counts as another directory too (see `Watches.rooted`).
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands at a path."""

    real: bytes
    """The path without symlinks; as given where there is no directory."""
    identity: tuple[int, int] | None
    """(device, inode) of the directory."""
    problem: str
    """Why there is none; empty if there is."""


def look(root: str) -> Standing:
    """Return what stands at `root` now. Symlinks on the way and at the end are followed."""
    given = os.fsencode(os.path.abspath(root))
    try:
        real = os.path.realpath(given, strict=True)
        status = os.stat(real)
    except FileNotFoundError:
        return Standing(given, None, "there is no such directory")
    except OSError as error:
        return Standing(given, None, f"cannot be looked at: {error.strerror}")
    if not stat.S_ISDIR(status.st_mode):
        return Standing(given, None, "is not a directory")
    return Standing(real, (status.st_dev, status.st_ino), "")
