"""Directories below a root, reached by descriptor and never through a symlink.

Whoever can write below the root may swap a directory for a symlink at any moment; a path that was checked is then another
path when it is used. So nothing here is checked: the kernel is asked not to follow (openat2), or, where it cannot be asked,
each part is opened from its parent without following. Nothing outside the root is ever reached, except that a directory
which was opened and is then moved out of the root stays open.
"""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from types import TracebackType
from typing import Self

from headgated.effects import kernel

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_STAY_BELOW = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS | kernel.RESOLVE_NO_MAGICLINKS
_NO_SYMLINKS = kernel.RESOLVE_NO_SYMLINKS | kernel.RESOLVE_NO_MAGICLINKS

GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""What opening a directory says when the path does not lead to one: nothing there, something else, a symlink."""


def open_root(path: bytes, *, openat2: bool = True) -> int:
    """Open a directory by its absolute path, of which no part may be a symlink.

    Raises:
        OSError: ENOENT, ENOTDIR, ELOOP (or ENOTDIR) for a symlink anywhere in it, EACCES, ...
    """
    if openat2 and kernel.has_openat2():
        return kernel.open_at(kernel.AT_FDCWD, path, _DIRECTORY, _NO_SYMLINKS)
    top = os.open(b"/", _DIRECTORY)
    try:
        return _walk(top, path.strip(b"/"))
    finally:
        os.close(top)


def open_below(root: int, path: bytes, *, openat2: bool = True, one_mount: bool = False) -> int:
    """Open the directory at the relative `path` (`b""`: the root itself) below the open directory `root`.

    Raises:
        OSError: as `open_root`; EXDEV where `one_mount` is asked for and something is mounted on the way.
    """
    if not openat2 or not kernel.has_openat2():
        return _walk(root, path, one_mount=one_mount)
    stay = _STAY_BELOW | kernel.RESOLVE_NO_XDEV if one_mount else _STAY_BELOW
    try:
        return kernel.open_at(root, path or b".", _DIRECTORY, stay)
    except OSError as error:
        # The kernel gives up on RESOLVE_BENEATH when something is renamed meanwhile.
        if error.errno != errno.EAGAIN:
            raise
        return _walk(root, path, one_mount=one_mount)


def _walk(start: int, path: bytes, *, one_mount: bool = False) -> int:
    fd = os.open(b".", _DIRECTORY, dir_fd=start)
    for part in path.split(b"/") if path else ():
        try:
            following = os.open(part, _DIRECTORY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = following
        if one_mount and kernel.is_mount_point(fd, b"."):
            os.close(fd)
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    return fd


class Beneath:
    """Open directories below one root; each is opened once and kept, so that it stays the same directory.

    Of more than `capacity` directories the ones not used for longest are closed and opened anew when asked for. A context
    manager; not thread-safe.
    """

    def __init__(
        self,
        root: bytes,
        *,
        openat2: bool = True,
        capacity: int = 256,
        within: int | None = None,
        one_mount: bool = False,
    ) -> None:
        """Open `root`, an absolute path without symlinks.

        Args:
            root: the path; relative to `within`, where that is given.
            openat2: whether to use that call where the kernel has it.
            capacity: how many directories are kept open.
            within: an open directory.
            one_mount: enter nothing that is mounted below the root: EXDEV.

        Raises:
            OSError: as `open_root`.
        """
        self._openat2 = openat2
        self._capacity = capacity
        self._one_mount = one_mount
        if within is None:
            self._root = open_root(root, openat2=openat2)
        else:
            self._root = open_below(within, root, openat2=openat2, one_mount=one_mount)
        self._open: OrderedDict[bytes, int] = OrderedDict()

    def directory(self, path: bytes) -> int:
        """Return the descriptor of the directory at `path` (`b""`: the root). It is closed by this object, not by you.

        It is good until `capacity` other directories were asked for.

        Raises:
            OSError: one of `GONE` where there is no such directory; EACCES, ...
        """
        if not path:
            return self._root
        fd = self._open.get(path)
        if fd is not None:
            self._open.move_to_end(path)
            return fd
        fd = self._open[path] = open_below(self._root, path, openat2=self._openat2, one_mount=self._one_mount)
        if len(self._open) > self._capacity:
            os.close(self._open.popitem(last=False)[1])
        return fd

    def place(self, path: bytes) -> tuple[int, bytes]:
        """Return the descriptor of the directory that `path` is in, and its name there; `.` in the root for `b""`."""
        above, _, name = path.rpartition(b"/")
        return self.directory(above), name or b"."

    def forget(self, path: bytes) -> None:
        """Close the directory at `path` and all below it: what is there now may be another."""
        for known in [known for known in self._open if known == path or known.startswith(path + b"/")]:
            os.close(self._open.pop(known))

    def close(self) -> None:
        """Close every descriptor."""
        while self._open:
            os.close(self._open.popitem()[1])
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
