"""The one place that makes a small write durable: temporary file, whole write, sync, rename, sync of the directory.

After a crash or power cut there is the old file or the new one, whole. A temporary that a kill leaves behind is never taken for
anything else (`.headgate-*.tmp`) and goes with `sweep_temporaries`.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from headgated.core.errors import UnavailableError

_HINTS = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "raise the quota or free some space there",
    errno.EROFS: "mount the file system read-write",
}
_PREFIX, _SUFFIX = ".headgate-", ".tmp"
_PAGE = bytes(4096)
_ROOM = 64
"""Blocks, and files."""


def at_once() -> None:
    """There is nothing to wait for."""


def write_durable(
    directory: Path,
    name: str,
    data: bytes,
    *,
    mode: int = 0o600,
    replace: bool = True,
    after: Callable[[], object] = at_once,
) -> None:
    """Write a file so that a crash or power cut leaves the old one or the new one, whole.

    Args:
        directory: where; it must exist.
        name: the file's name.
        data: all of its content.
        mode: its permission bits, whatever the umask.
        replace: False: there must be no file of that name.
        after: waits for what has to be on disk before the file gets its name; called when the file's bytes are. What it raises
            leaves nothing behind.

    Raises:
        FileExistsError: there is one, and it may not be replaced.
        UnavailableError: STATE_NOT_WRITABLE, with path and cause; what was there is there still.
    """
    temporary = directory / f"{_PREFIX}{secrets.token_hex(6)}{_SUFFIX}"
    try:
        try:
            _write_synced(temporary, data, mode)
            after()
            if replace:
                os.rename(temporary, directory / name)
            else:
                os.link(temporary, directory / name)
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(directory)
    except FileExistsError:
        raise
    except OSError as error:
        raise not_writable(directory / name, error) from error


def check_writable(directory: Path) -> None:
    """Find out whether anything can be written to a directory now: try a page, and take it away again.

    Raises:
        UnavailableError: STATE_NOT_WRITABLE, with path and cause.
    """
    trial = directory / f"{_PREFIX}{secrets.token_hex(6)}{_SUFFIX}"
    try:
        descriptor = os.open(
            trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            if os.write(descriptor, _PAGE) < len(_PAGE):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)
            os.unlink(trial)
    except OSError as error:
        raise not_writable(directory, error) from error


def has_room(directory: Path) -> bool:
    """Tell whether there is room for a few small files in a directory, on a file system that may be written to."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return False
    return (
        not found.f_flag & os.ST_RDONLY
        and found.f_bavail >= _ROOM
        and (not found.f_files or found.f_favail > _ROOM)
    )


def remove_durable(path: Path) -> None:
    """Remove a file, so that it stays removed; one that is not there is removed already.

    Raises:
        UnavailableError: STATE_NOT_WRITABLE.
    """
    try:
        path.unlink(missing_ok=True)
        sync_directory(path.parent)
    except OSError as error:
        raise not_writable(path, error) from error


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_temporary(name: str) -> bool:
    """Tell whether a file is what a kill left behind in the middle of a write."""
    return name.startswith(_PREFIX) and name.endswith(_SUFFIX)


def sweep_temporaries(directory: Path) -> None:
    """Remove what a kill left behind. Nobody may be writing there.

    Raises:
        UnavailableError: STATE_NOT_WRITABLE.
    """
    try:
        for name in filter(is_temporary, os.listdir(directory)):
            os.unlink(directory / name)
    except OSError as error:
        raise not_writable(directory, error) from error


def not_writable(path: Path, error: OSError) -> UnavailableError:
    """Return an error of the state directory as the daemon tells it."""
    return UnavailableError(
        f"cannot write {path}: {error.strerror}",
        reason="STATE_NOT_WRITABLE",
        hint=_HINTS.get(error.errno or 0, "make the state directory writable for the daemon's user"),
        paths=[str(path)],
    )


def _write_synced(path: Path, data: bytes, mode: int) -> None:
    """A sync that fails is not tried again: the kernel reports a lost write once, and the next sync says that all is well."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
