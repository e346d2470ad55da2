"""The target directory itself: opening it, and making it where there is none."""

from __future__ import annotations

import errno
import os

from headgated.core.errors import DeploymentFailedError
from headgated.core.paths import escape
from headgated.effects.beneath import Beneath
from headgated.effects.target.failure import failed

TARGET_MISSING = "TARGET_MISSING"

_MODE = 0o755
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_beneath(root: bytes, *, openat2: bool = True) -> Beneath:
    """Open the target.

    Raises:
        DeploymentFailedError: TARGET_MISSING, TARGET_SYMLINK (some part of the path is one now), TARGET_NOT_A_DIRECTORY,
            PERMISSION, ...
    """
    try:
        return Beneath(root, openat2=openat2)
    except OSError as error:
        raise _unusable(root, error) from error


def make_root(root: bytes) -> None:
    """Make the target directory (0755, whatever the umask) and its parents, as far as they are missing, and bring that to the disk.

    Raises:
        DeploymentFailedError: as `open_beneath`, or it cannot be made.
    """
    try:
        open_beneath(root).close()
        return
    except DeploymentFailedError as error:
        if error.reason != TARGET_MISSING:
            raise
    try:
        _make(root)
    except OSError as error:
        raise _unusable(root, error) from error


def _make(root: bytes) -> None:
    fd = os.open(b"/", _DIRECTORY)
    try:
        for part in root.strip(b"/").split(b"/"):
            following = _enter(fd, part)
            os.close(fd)
            fd = following
    finally:
        os.close(fd)


def _enter(fd: int, part: bytes) -> int:
    try:
        return os.open(part, _DIRECTORY, dir_fd=fd)
    except FileNotFoundError:
        os.mkdir(part, _MODE, dir_fd=fd)
        made = os.open(part, _DIRECTORY, dir_fd=fd)
        if os.fstat(made).st_mode & 0o777 != _MODE:
            os.fchmod(
                made, _MODE
            )  # A service's umask is narrow, and who reads a target is seldom who deploys to it.
        os.fsync(fd)
        return made


def _unusable(root: bytes, error: OSError) -> DeploymentFailedError:
    shown = escape(root)
    if error.errno == errno.ENOENT:
        what, reason, hint = "it is not there", TARGET_MISSING, "mount it, or make the directory again"
    elif error.errno in (errno.ENOTDIR, errno.ELOOP) and os.path.realpath(root) != root:
        what, reason, hint = (
            "a part of its path is a symlink",
            "TARGET_SYMLINK",
            "set the target to its real path",
        )
    elif error.errno == errno.ENOTDIR:
        what, reason, hint = (
            "it is not a directory",
            "TARGET_NOT_A_DIRECTORY",
            "move away what is in its place",
        )
    else:
        other = failed("use", root, error)
        what, reason, hint = os.strerror(error.errno or 0), other.reason, other.hint
    return DeploymentFailedError(
        f"cannot use target {shown}: {what}", reason=reason, hint=hint, paths=[shown]
    )
