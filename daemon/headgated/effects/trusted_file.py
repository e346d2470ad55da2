"""Reads files that only root or the daemon's own user may have written: configuration, certificates, keys.

Promises that neither the file, nor a directory or symbolic link on the way to it, could have been changed or replaced by anybody
else at the time of reading. A directory that all may write to is taken where it is sticky (`/tmp`): there nobody can replace what is another's.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from headgated.core.errors import RefusedError

LARGEST = 4 * 1024 * 1024
"""Bytes; no file that is read here has reason to be larger."""
_MOST_LINKS = 40
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS_READ = stat.S_IRWXG | stat.S_IRWXO


def read_trusted(path: Path, *, private: bool = False) -> bytes:
    """Return a file's content.

    Args:
        path: absolute, or relative to the working directory.
        private: also insist on that nobody else may read it.

    Raises:
        RefusedError: FILE_NOT_TRUSTED, others may write it (or read, if private), or change the way to it; or FILE_NOT_READABLE.
    """
    try:
        real = _way_to(path.absolute())
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            found = os.fstat(descriptor)
            _check_file(path, found, private=private)
            return _read(path, descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise RefusedError(
            f"cannot read {path}: {error.strerror}",
            reason="FILE_NOT_READABLE",
            hint="name a file that is there and that the daemon's user may read",
            paths=[str(path)],
        ) from error


def _read(path: Path, descriptor: int) -> bytes:
    with open(descriptor, "rb", closefd=False) as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise RefusedError(
            f"cannot read {path}: it is larger than {LARGEST} bytes", reason="FILE_NOT_READABLE"
        )
    return content


def _way_to(path: Path) -> str:
    """Return the file's path without symbolic links, after looking at each directory and link on the way to it."""
    left, way, links = list(path.parts[1:]), "/", 0
    _check_directory(path, way, os.lstat(way))
    while left:
        part = left.pop(0)
        if part == "..":
            way = os.path.dirname(way)
            continue
        step = os.path.join(way, part)
        found = os.lstat(step)
        if stat.S_ISLNK(found.st_mode):
            _check_owner(path, step, found)
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = Path(os.readlink(step))
            if target.is_absolute():
                way = "/"
            left = [*(name for name in target.parts if name != "/"), *left]
            continue
        if left:
            _check_directory(path, step, found)
        way = step
    return way


def _check_directory(path: Path, step: str, found: os.stat_result) -> None:
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    _check_owner(path, step, found)
    if found.st_mode & _OTHERS_WRITE and not found.st_mode & stat.S_ISVTX:
        raise _untrusted(
            path, f"others may write to {step}, a directory on the way to it", f"chmod go-w {step}"
        )


def _check_file(path: Path, found: os.stat_result, *, private: bool) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise RefusedError(f"cannot read {path}: it is not a file", reason="FILE_NOT_READABLE")
    _check_owner(path, str(path), found)
    if found.st_mode & _OTHERS_WRITE:
        raise _untrusted(path, "others may write it", f"chmod go-w {path}")
    if private and found.st_mode & _OTHERS_READ:
        raise _untrusted(path, "others may read it", f"chmod 0600 {path}")


def _check_owner(path: Path, step: str, found: os.stat_result) -> None:
    if found.st_uid not in (0, os.geteuid()):
        raise _untrusted(path, f"{step} belongs to uid {found.st_uid}", f"chown root {step}")


def _untrusted(path: Path, why: str, hint: str) -> RefusedError:
    return RefusedError(
        f"cannot trust {path}: {why}; only root and the daemon's own user may",
        reason="FILE_NOT_TRUSTED",
        hint=hint,
        paths=[str(path)],
    )
