"""Whether a directory can be exchanged as a whole, found out before it is tried."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from headgated.core.paths import escape
from headgated.core.steps import OWN_PREFIX
from headgated.effects import kernel

_TRIAL = b"-try"
_MOUNTS = "/proc/self/mountinfo"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One reason why a target cannot be deployed to with strategy atomic."""

    reason: str
    """For machines."""
    what: str
    """What is wrong, with the path."""
    hint: str
    path: bytes


Rename = Callable[[int, bytes, bytes, int], None]


def obstacles(target: str, *, trial: bool, rename: Rename = kernel.rename) -> list[Obstacle]:
    """Return everything that keeps a target, existing or not, from being exchanged as a whole.

    Args:
        target: absolute.
        trial: also try an exchange beside it, by two empty directories of our own.
        rename: the call for that.
    """
    real = os.fsencode(os.path.realpath(target))
    if real == b"/":
        return [
            Obstacle("NO_PARENT", "/ has no directory above it", "use strategy in-place", real),
        ]
    above = _nearest(os.path.dirname(real))
    found = [*_of_parent(above), *_of_target(real), *_mounts_below(real)]
    if trial and not found:
        found += _tried(above, rename)
    return found


def _nearest(path: bytes) -> bytes:
    """Return the path, or the nearest above it that is there: where the missing ones will be made."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _of_parent(above: bytes) -> Iterator[Obstacle]:
    shown = escape(above)
    if os.statvfs(above).f_flag & os.ST_RDONLY:
        yield Obstacle(
            "READ_ONLY",
            f"{shown}, where the new directory is built, is on a read-only file system",
            "mount it writable and let the service write there (ReadWritePaths=), or use strategy in-place",
            above,
        )
    elif not os.access(above, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        yield Obstacle(
            "NOT_WRITABLE",
            f"{shown}, where the new directory is built, cannot be written by the daemon",
            "let the daemon's user write there, or use strategy in-place",
            above,
        )


def _of_target(real: bytes) -> Iterator[Obstacle]:
    above, name = os.path.split(real)
    if not os.path.isdir(real):
        return
    directory = os.open(above, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if kernel.is_mount_point(directory, name):
            yield Obstacle(
                "MOUNT_POINT",
                f"{escape(real)} is a mount point, so it cannot be exchanged",
                "make the target a directory below it, or use strategy in-place",
                real,
            )
        elif os.stat(real).st_dev != os.stat(above).st_dev:
            yield Obstacle(
                "CROSS_DEVICE",
                f"{escape(real)} is on another file system (or subvolume) than the directory above it",
                "make the target a directory below it, or use strategy in-place",
                real,
            )
    finally:
        os.close(directory)


def _mounts_below(real: bytes) -> Iterator[Obstacle]:
    try:
        table = Path(_MOUNTS).read_bytes()
    except OSError:
        return
    points = {_unescaped(fields[4]) for fields in map(bytes.split, table.splitlines()) if len(fields) > 4}  # noqa: PLR2004 - the mount point is the fifth
    for point in sorted(points):
        if point.startswith(real + b"/"):
            yield Obstacle(
                "MOUNT_POINT",
                f"{escape(point)} is mounted inside the target",
                "unmount it, or use strategy in-place",
                point,
            )


def _unescaped(point: bytes) -> bytes:
    """Return a mount point as it is; the table shows spaces and the like as octal numbers."""
    first, *rest = point.split(b"\\")
    return first + b"".join(bytes([int(part[:3], 8)]) + part[3:] for part in rest)


def _tried(above: bytes, rename: Rename) -> Iterator[Obstacle]:
    directory = os.open(above, _DIRECTORY)
    one, other = (OWN_PREFIX + secrets.token_hex(6).encode() + b"-%d" % n + _TRIAL for n in (1, 2))
    try:
        _sweep_trials(directory)
        for name in (one, other):
            os.mkdir(name, 0o700, dir_fd=directory)
        rename(directory, one, other, kernel.RENAME_EXCHANGE)
    except OSError as error:
        unsupported = kernel.is_unsupported(error)
        yield Obstacle(
            "EXCHANGE_UNSUPPORTED" if unsupported else "OS_ERROR",
            f"{escape(above)} is on a file system that cannot exchange two directories"
            if unsupported
            else f"a directory cannot be built in {escape(above)}: {os.strerror(error.errno or 0)}"
            f" ({errno.errorcode.get(error.errno or 0, '?')})",
            "use strategy in-place",
            above,
        )
    finally:
        for name in (one, other):
            with suppress(OSError):
                os.rmdir(name, dir_fd=directory)
        os.close(directory)


def _sweep_trials(directory: int) -> None:
    """Remove what a trial that was killed left."""
    for name in map(os.fsencode, os.listdir(directory)):
        if name.startswith(OWN_PREFIX) and name.endswith(_TRIAL):
            with suppress(OSError):
                os.rmdir(name, dir_fd=directory)
