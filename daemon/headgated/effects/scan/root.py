"""What stands where a source should be, and how to get at something below it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from headgated.core.source import RootState
from headgated.effects import kernel
from headgated.effects.scan.reading import OPEN_DIRECTORY

_OPEN_ROOT = OPEN_DIRECTORY & ~os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class Root:
    """A source's directory. `descriptor` is open only inside `open_root`, and only in state OK."""

    state: RootState
    descriptor: int = -1
    identity: tuple[int, int] | None = None
    """(device, inode)."""
    is_mount: bool = False
    """On another device than its parent."""
    problem: str = ""
    """What the kernel said."""


@contextmanager
def open_root(path: str) -> Iterator[Root]:
    """Open a source's directory; where `path` is a symlink, what it leads to now."""
    try:
        descriptor = os.open(path, _OPEN_ROOT)
    except OSError as error:
        yield unavailable(error)
        return
    try:
        yield _examined(descriptor)
    finally:
        os.close(descriptor)


def _examined(descriptor: int) -> Root:
    try:
        found = os.fstat(descriptor)
        above = os.stat("..", dir_fd=descriptor)
    except OSError as error:
        return unavailable(error)
    return Root(RootState.OK, descriptor, (found.st_dev, found.st_ino), found.st_dev != above.st_dev)


def unavailable(error: OSError) -> Root:
    """Return what an error in reading a source's directory says about it."""
    states = {errno.ENOENT: RootState.ABSENT, errno.ENOTDIR: RootState.NOT_A_DIRECTORY}
    return Root(states.get(error.errno or 0, RootState.UNREADABLE), problem=error.strerror or str(error))


def open_below(root: str, path: bytes, flags: int) -> int:
    """Open `path` below `root` for reading, following no symlink below the root; return its descriptor.

    By one call where the kernel follows no symlink for us, else directory by directory.

    Raises:
        OSError: it cannot be opened.
    """
    here = os.open(root, _OPEN_ROOT)
    try:
        if kernel.has_openat2():
            return kernel.open_at(here, path, flags, kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS)
        *directories, name = path.split(b"/")
        for directory in directories:
            below = os.open(directory, OPEN_DIRECTORY, dir_fd=here)
            os.close(here)
            here = below
        return os.open(name, flags, dir_fd=here)
    finally:
        os.close(here)
