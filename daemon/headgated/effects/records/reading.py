"""Reads record files, and puts aside what cannot be read without losing a byte of it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from headgated.core.errors import RecordError

T = TypeVar("T")
_BITS = 31
_HASH, _LOW = (1 << _BITS) - 1, (1 << 32) - 1
_ENOUGH = 64 * 1024
"""Bytes read at once; nearly every record is smaller."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """A record that could not be read."""

    path: Path
    moved_to: Path | None
    """Where its bytes are now; None: left where it was (a newer schema, or the file itself cannot be read)."""
    why: str


def read_record(path: Path, decode: Callable[[bytes], T]) -> T | SetAside:
    """Return the record in a file. A damaged one is renamed `NAME.corrupt-N`; one of a newer schema is left alone."""
    try:
        return decode(read_whole(path))
    except OSError as error:
        return SetAside(path, None, f"it cannot be read: {error.strerror}")
    except RecordError as error:
        if error.reason == "RECORD_NEWER":
            return SetAside(path, None, f"{error.message}; {error.hint}")
        return set_aside(path, error.message)


def set_aside(path: Path, why: str) -> SetAside:
    """Rename a damaged record, so that nobody takes it for a good one."""
    for number in range(1, 1000):
        aside = path.with_name(f"{path.name}.corrupt-{number}")
        if not os.path.lexists(aside):
            try:
                os.rename(path, aside)
            except OSError as error:
                return SetAside(path, None, f"{why}; it cannot be moved away: {error.strerror}")
            return SetAside(path, aside, why)
    return SetAside(path, None, f"{why}; there are too many like it to move it away")


def mark_of(status: os.stat_result) -> int:
    """Return a number of 63 bits that is another one when the file is, or its content."""
    changing = hash((status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))
    return (status.st_ino & _LOW) << _BITS | (changing & _HASH)


def is_marked(mark: int, inode: int) -> bool:
    """Tell whether a mark is of a file of that inode."""
    return mark >> _BITS == inode & _LOW and mark != 0


def read_whole(path: Path | str, directory: int | None = None) -> bytes:
    """Return the content of a regular file, never waiting and never following a symlink.

    Args:
        path: where it is.
        directory: descriptor of the directory that `path` is relative to.

    Raises:
        OSError: it cannot be read, or is something else.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    try:
        content = os.read(descriptor, _ENOUGH)
        if len(content) < _ENOUGH and content:
            return content
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        parts = [content]
        while parts[-1]:
            parts.append(os.read(descriptor, 16 * _ENOUGH))
        return b"".join(parts)
    finally:
        os.close(descriptor)
