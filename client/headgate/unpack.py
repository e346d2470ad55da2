"""Puts an exported state into a directory: all of it, or nothing.

Trusts no name in the archive: each lies in a directory that was made here, so nothing is written outside. Modes and symlinks are
kept; everything belongs to whoever runs this.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from headgate.errors import HeadgateError, InternalError, RefusedError
from headgate.filename import escape

_BLOCK = 1024 * 1024


def unpack(pieces: Iterable[bytes], directory: Path) -> int:
    """Unpack a tar archive into a directory that is empty or not there; returns how many files and symlinks it has.

    Args:
        pieces: the archive's bytes; what they raise is passed on.
        directory: made if need be, but not what it lies in.

    Raises:
        RefusedError: NOT_EMPTY, the directory has something in it.
        HeadgateError: NOT_WRITABLE, it cannot be written.
        InternalError: these bytes are no archive that was exported.
    """
    made = _make(directory)
    try:
        return _fill(iter(pieces), directory)
    except BaseException as error:
        _empty(directory, made=made)
        if isinstance(error, OSError):
            raise _not_writable(directory, error) from error
        if isinstance(error, tarfile.TarError):
            raise InternalError(f"cannot unpack into {escape(directory)}: {error}") from error
        raise


def _make(directory: Path) -> bool:
    """Make a directory, or see that it is empty; tell whether it was made."""
    try:
        if not directory.is_dir():
            directory.mkdir()
            return True
        if not any(directory.iterdir()):
            return False
    except OSError as error:
        raise _not_writable(directory, error) from error
    raise RefusedError(
        f"cannot write to {escape(directory)}: there is something in it",
        reason="NOT_EMPTY",
        hint="name an empty directory, or one that does not exist",
    )


def _fill(pieces: Iterator[bytes], directory: Path) -> int:
    modes: dict[str, int] = {"": -1}
    count = 0
    stream = cast("IO[bytes]", _Stream(pieces))
    with tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", errors="surrogateescape") as archive:
        for member in archive:
            above, _, name = member.name.rpartition("/")
            if above not in modes or name in ("", ".", ".."):
                raise tarfile.TarError(f"{escape(member.name)} is no path in what was exported")
            _put(archive, member, directory / member.name)
            if member.isdir():
                modes[member.name] = member.mode
            else:
                count += 1
    for _ in pieces:
        pass  # only at its end does the daemon say that all was well
    for path, mode in reversed(modes.items()):
        if path:
            (directory / path).chmod(mode)
    return count


def _put(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    if member.isdir():
        path.mkdir(0o700)
    elif member.issym():
        path.symlink_to(member.linkname)
    elif member.isreg() and (content := archive.extractfile(member)) is not None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            shutil.copyfileobj(content, file, _BLOCK)
            os.fchmod(descriptor, member.mode)
    else:
        raise tarfile.TarError(f"{escape(member.name)} is neither a file nor a directory nor a symlink")


def _empty(directory: Path, *, made: bool) -> None:
    """Remove what was unpacked; whatever cannot be removed stays."""
    with suppress(OSError):
        for path in directory.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
        if made:
            directory.rmdir()


def _not_writable(directory: Path, error: OSError) -> HeadgateError:
    return HeadgateError(
        f"cannot write to {escape(directory)}: {error.strerror or error}",
        reason="NOT_WRITABLE",
        hint="what was written of it is gone again; mend the cause, or name another directory",
    )


class _Stream:
    """Pieces as a file to read from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._left = pieces, bytearray()

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end."""
        while len(self._left) < size and (piece := next(self._pieces, b"")):
            self._left += piece
        taken = bytes(self._left[:size])
        del self._left[:size]
        return taken
