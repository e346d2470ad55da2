"""The public socket: bound by us, or passed to us by systemd.

Promises that a socket of ours is never reachable with other owners or permissions than it shall have, that it replaces
nothing but a dead socket, and that only our own is removed at the end. Two daemons that start on one path within the same
moment are not kept apart here: the state lock does that.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import socket
import stat
from pathlib import Path
from typing import Self

from headgated.core.errors import RefusedError

PATH_BYTES = 107
"""The kernel's limit (`sun_path` less its end)."""
BACKLOG = 256


class Listener:
    """A listening Unix socket, not blocking."""

    def __init__(self, listening: socket.socket, path: Path | None = None) -> None:
        self.socket, self.path = listening, path
        self._identity = _identity(path) if path else None

    @classmethod
    def bind(cls, path: Path, *, mode: int = 0o660, group: str | int | None = None) -> Self:
        """Listen at `path`, with permission bits `mode` and, where given, `group` (name or gid).

        Raises:
            RefusedError: the path is too long, its directory is missing, something that must not be replaced is there, or the
                socket cannot be given to the group.
        """
        _refuse_long(path)
        _refuse_occupied(path)
        gid = _gid(group)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            path.unlink(missing_ok=True)
            listening.bind(os.fspath(path))
            listener = cls(listening, path)
        except OSError as error:
            listening.close()
            raise _refusal(path, error) from error
        try:
            # Nobody can connect before `listen`, so what the umask said until here does not matter.
            os.chown(path, -1, gid)
            path.chmod(mode)
            listening.listen(BACKLOG)
        except OSError as error:
            listener.close()
            raise _refusal(path, error) from error
        return listener

    @classmethod
    def adopt(cls, descriptor: int) -> Self:
        """Take over a listening Unix socket that was passed to this process. It is not removed at the end.

        Raises:
            RefusedError: the descriptor is no such socket.
        """
        try:
            passed = socket.socket(fileno=descriptor)
        except OSError as error:
            raise _not_passed(descriptor, error.strerror or str(error)) from error
        listens = passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if passed.family != socket.AF_UNIX or passed.type != socket.SOCK_STREAM or not listens:
            passed.detach()
            raise _not_passed(descriptor, "it is no listening Unix stream socket")
        passed.settimeout(0)
        os.set_inheritable(passed.fileno(), False)  # noqa: FBT003 - its signature
        return cls(passed)

    def close(self) -> None:
        """Stop listening, and remove the socket's name if it still is ours."""
        # In this order: once closed, the inode's number may be another socket's.
        if self.path and self._identity and _identity(self.path) == self._identity:
            with contextlib.suppress(OSError):
                self.path.unlink()
        self._identity = None
        self.socket.close()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _refuse_long(path: Path) -> None:
    length = len(os.fsencode(path))
    if length > PATH_BYTES:
        raise RefusedError(
            f"cannot listen at {path}: the path is longer than a socket's may be ({length} bytes, at most {PATH_BYTES})",
            reason="SOCKET_PATH_TOO_LONG",
            hint="choose a shorter path",
        )


def _refuse_occupied(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise _refusal(path, error) from error
    if not stat.S_ISSOCK(mode):
        raise RefusedError(
            f"cannot listen at {path}: something is there that is not a socket",
            reason="SOCKET_PATH_TAKEN",
            hint="remove it, or choose another path",
        )
    if _answers(path):
        raise RefusedError(
            f"cannot listen at {path}: a program listens there already",
            reason="SOCKET_IN_USE",
            hint="stop the other daemon, or choose another path",
        )


def _answers(path: Path) -> bool:
    """Tell whether anybody may be listening; only a refused connection says no."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            return probe.connect_ex(os.fspath(path)) not in (errno.ECONNREFUSED, errno.ENOENT)
        except OSError:
            return True


def _gid(group: str | int | None) -> int:
    if group is None:
        return -1
    if isinstance(group, int):
        return group
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise RefusedError(
            f"cannot give the socket to group {group}: there is no such group",
            reason="GROUP_UNKNOWN",
            hint=f"create it (groupadd --system {group}), or configure another",
        ) from error


def _refusal(path: Path, error: OSError) -> RefusedError:
    hint = (
        "create the directory first"
        if error.errno == errno.ENOENT
        else "check the directory's owner and permissions"
    )
    if error.errno == errno.EPERM:
        hint = "run the daemon as root, or as a member of the socket's group"
    return RefusedError(
        f"cannot listen at {path}: {error.strerror}",
        reason="SOCKET_NOT_BOUND",
        hint=hint,
        paths=[os.fspath(path)],
    )


def _not_passed(descriptor: int, why: str) -> RefusedError:
    return RefusedError(
        f"cannot listen on descriptor {descriptor}: {why}",
        reason="SOCKET_NOT_PASSED",
        hint="check the socket unit, or start the daemon without socket activation",
    )
