"""The mount table: what is mounted at, above and below a source, and which of that tells no events.

Mounting something over a directory makes no inotify event. The kernel marks the open mount table instead, so that asking
costs one system call while nothing changes.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import threading
from dataclasses import dataclass

# fmt: off
EVENTLESS = frozenset({
    "9p", "afs", "beegfs", "ceph", "cifs", "coda", "drvfs", "fakeowner", "fuse", "gfs2", "glusterfs", "gpfs", "hgfs",
    "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "prl_fs", "proc", "pvfs2", "smb3", "smbfs", "sysfs", "vboxsf",
    "virtiofs", "vmhgfs",
})
# fmt: on
"""File systems that change without this kernel's doing: inotify tells only what was done here. So do all of `fuse.*`."""

_REMEMBERED = 2_000
"""Answers."""
_ESCAPED = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the mount table."""

    number: int
    """Unique among the present mounts."""
    point: bytes
    kind: str
    """Type of the file system."""

    @property
    def eventless(self) -> bool:
        """Whether it can change without an event."""
        return self.kind in EVENTLESS or self.kind.startswith("fuse.")


class Mounts:
    """The mount table as it is now. Thread-safe; does without where there is no such file."""

    def __init__(self, table: str = "/proc/self/mountinfo") -> None:
        self._lock = threading.Lock()
        self._table = table
        self._mounts: tuple[Mount, ...] = ()
        self._found: dict[bytes, tuple[Mount, ...]] = {}
        """What was answered since the table was last read: the same paths are asked for every few seconds."""
        self._news = select.poll()
        self._open: int | None = None
        with contextlib.suppress(OSError):
            self._open = os.open(table, os.O_RDONLY)
            self._news.register(self._open, select.POLLPRI | select.POLLERR)
            self._read()

    def around(self, path: bytes) -> tuple[Mount, ...]:
        """Return the mount that `path` (absolute, real) lies in, then those at or below it."""
        with self._lock:
            if self._open is not None and self._news.poll(0):
                self._read()
            found = self._found.get(path)
            if found is None:
                if len(self._found) >= _REMEMBERED:
                    self._found.clear()
                found = self._found[path] = _around(path, self._mounts)
            return found

    def close(self) -> None:
        """Close the table; it stays as it was last read."""
        with self._lock:
            if self._open is not None:
                os.close(self._open)
            self._open = None

    def _read(self) -> None:
        with open(self._table, "rb") as table:
            self._mounts = parse(table.read())
        self._found.clear()


def parse(table: bytes) -> tuple[Mount, ...]:
    """Return the mounts of a mount table as `/proc/<pid>/mountinfo` shows it (see proc(5))."""
    mounts = []
    for line in table.splitlines():
        place, _, kind = line.partition(b" - ")
        fields = place.split(b" ")
        if kind and len(fields) > 4:  # noqa: PLR2004  # fifth field: the mount point
            point = _ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), fields[4])
            mounts.append(Mount(int(fields[0]), point, kind.split(b" ")[0].decode("utf-8", "replace")))
    return tuple(mounts)


def _around(path: bytes, mounts: tuple[Mount, ...]) -> tuple[Mount, ...]:
    holding = [mount for mount in mounts if _within(path, mount.point)]
    below = tuple(mount for mount in mounts if _within(mount.point, path))
    # The longest mount point holds it; among equals the last one, mounted over the others.
    return (
        (max(enumerate(holding), key=lambda each: (len(each[1].point), each[0]))[1], *below)
        if holding
        else below
    )


def _within(path: bytes, directory: bytes) -> bool:
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")
