"""Reads one file that a caller names outright, outside every source."""

from __future__ import annotations

import errno
import hashlib
import os
import stat

from headgated.core.errors import DeploymentFailedError, SourceMovedError
from headgated.core.tree import Entry, Kind


def read_loose(path: str, largest: int) -> tuple[Entry, bytes]:
    """Return a regular file of at most `largest` bytes and its content.

    Raises:
        DeploymentFailedError: FILE_NOT_FOUND, SPECIAL_FILE (not a regular file; a symbolic link is not followed),
            SOURCE_UNREADABLE, TOO_LARGE.
        SourceMovedError: it changed while it was read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(path, error) from None
    with open(descriptor, "rb") as file:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise DeploymentFailedError(
                f"cannot deploy {path}: not a regular file", reason="SPECIAL_FILE", paths=[path]
            )
        if before.st_size > largest:
            raise DeploymentFailedError(
                f"cannot deploy {path}: it has {before.st_size} bytes, and a file outside every source may have {largest}",
                reason="TOO_LARGE",
                hint="put it into a source directory, or raise limits.stream_above in the daemon's configuration",
                paths=[path],
            )
        try:
            content = file.read(largest + 1)
        except OSError as error:
            raise _unreadable(path, error) from None
        after = os.fstat(descriptor)
    if (before.st_size, before.st_mtime_ns, before.st_ctime_ns) != (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    ):
        raise SourceMovedError(f"cannot deploy {path}: it changes while it is read", paths=[path])
    entry = Entry(
        Kind.FILE,
        mode=stat.S_IMODE(before.st_mode) & 0o1777,
        digest=hashlib.sha256(content).digest(),
        size=len(content),
        uid=before.st_uid,
        gid=before.st_gid,
        template=b"$" in content and b"\0" not in content,
    )
    return entry, content


def _unreadable(path: str, error: OSError) -> DeploymentFailedError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return DeploymentFailedError(
            f"cannot deploy {path}: there is no such file",
            reason="FILE_NOT_FOUND",
            hint="check the path",
            paths=[path],
        )
    if error.errno == errno.ELOOP:
        return DeploymentFailedError(
            f"cannot deploy {path}: it is a symbolic link",
            reason="SPECIAL_FILE",
            hint="name the file itself",
            paths=[path],
        )
    return DeploymentFailedError(
        f"cannot read {path}: {error.strerror}",
        reason="SOURCE_UNREADABLE",
        hint="let the daemon's user read it",
        paths=[path],
    )
