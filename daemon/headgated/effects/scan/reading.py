"""Reading one name through a directory's descriptor, without following a link and without waiting for anybody."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from headgated.effects.scan.fresh import Fresh
from headgated.effects.signature import signature

CHUNK = 1 << 20
"""Bytes read at once."""

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY

MOVED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EAGAIN, errno.ESTALE})
"""Errors that say "it is no longer what it was a moment ago"."""

_SECOND = 1_000_000_000
_FINE_CLOCK = 50_000_000
_COARSE_CLOCK = 2_100_000_000


class MovedError(Exception):
    """What was to be read is no longer what it was; look again."""


def is_racy(found: os.stat_result, read_at: int) -> bool:
    """Tell whether what was read at `read_at` (nanoseconds since the epoch) may yet change under the same signature.

    Kernels stamp by a clock that ticks every few milliseconds, some file systems in whole seconds. Git's index has the
    same rule. A time in the future counts as racy.
    """
    tick = _FINE_CLOCK if found.st_ctime_ns % _SECOND else _COARSE_CLOCK
    return read_at - found.st_ctime_ns < tick


@contextmanager
def opened(name: bytes | str, flags: int, directory: int | None = None) -> Iterator[int]:
    """Open `name` (in `directory`, where given), and close it afterwards."""
    descriptor = os.open(name, flags, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_unmoved(directory: int, name: bytes, expected: bytes) -> Iterator[bytes]:
    """Yield the content of the file whose `signature` is `expected`, at most 1 MiB at once; good once all is read.

    Raises:
        MovedError: it is not that file, or no longer, or it changed while it was read.
        OSError: it cannot be read.
    """
    descriptor = os.open(name, OPEN_FILE, dir_fd=directory)
    try:
        yield from _chunks(descriptor, _size_unmoved(descriptor, expected))
        _size_unmoved(descriptor, expected)
    finally:
        os.close(descriptor)


def digest_unmoved(
    directory: int, name: bytes, expected: bytes, fresh: Fresh | None = None
) -> tuple[bytes, bool]:
    """Return (SHA-256, whether rendering may change it: it has a `$` and no NUL). Otherwise as `read_unmoved`.

    Args:
        directory, name, expected: as `read_unmoved` has them.
        fresh: takes in the content of a small file, by digest.
    """
    descriptor = os.open(name, OPEN_FILE, dir_fd=directory)
    try:
        size = _size_unmoved(descriptor, expected)
        first = os.read(descriptor, min(size, CHUNK))
        sha, dollar, nul = hashlib.sha256(first), b"$" in first, b"\0" in first
        for chunk in _chunks(descriptor, size - len(first)):
            sha.update(chunk)
            dollar = dollar or b"$" in chunk
            nul = nul or b"\0" in chunk
        _size_unmoved(descriptor, expected)
    finally:
        os.close(descriptor)
    digest = sha.digest()
    if fresh is not None and len(first) == size:
        fresh.keep(digest, first)
    return digest, dollar and not nul


def _size_unmoved(descriptor: int, expected: bytes) -> int:
    found = os.fstat(descriptor)
    if signature(found) != expected:
        raise MovedError
    return found.st_size


def read_known(descriptor: int, size: int, digest: bytes) -> Iterator[bytes]:
    """Yield a file's content, at most 1 MiB at once, the last of it only after all proved to be what `digest` says.

    Raises:
        MovedError: it is not, or no file at all.
        OSError: it cannot be read.
    """
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise MovedError
    sha, last = hashlib.sha256(), b""
    for chunk in _chunks(descriptor, size):
        if last:
            yield last
        sha.update(chunk)
        last = chunk
    if sha.digest() != digest or os.fstat(descriptor).st_size != size:
        raise MovedError
    if last:
        yield last


def _chunks(descriptor: int, size: int) -> Iterator[bytes]:
    """Yield exactly `size` bytes; never more, however fast a file grows."""
    while size:
        chunk = os.read(descriptor, min(size, CHUNK))
        if not chunk:
            raise MovedError
        size -= len(chunk)
        yield chunk
