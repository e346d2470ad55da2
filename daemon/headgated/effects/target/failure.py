"""What the kernel says, as an error a person can act on."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from headgated.core.errors import DeploymentFailedError, TargetMovedError
from headgated.core.paths import escape
from headgated.effects.beneath import GONE

_REASONS = {
    errno.ENOSPC: ("NO_SPACE", "make room on the target's file system"),
    errno.EDQUOT: ("QUOTA", "raise the quota of the daemon's user on the target's file system"),
    errno.EIO: ("IO_ERROR", "look for disk errors in the kernel log"),
    errno.EROFS: (
        "READ_ONLY",
        "mount the target's file system writable, and let the service write there (ReadWritePaths=)",
    ),
    errno.EACCES: ("PERMISSION", "let the daemon's user write there"),
    errno.EPERM: ("PERMISSION", "let the daemon's user write there; look for an immutable flag (lsattr)"),
    errno.EXDEV: (
        "CROSS_DEVICE",
        "this file system does not rename such a thing in place (overlay?); use another target",
    ),
    errno.EBUSY: ("BUSY", "unmount what is mounted there"),
    errno.EOPNOTSUPP: (
        "EXCHANGE_UNSUPPORTED",
        "this file system can neither exchange two files nor link one, so nothing can be replaced safely; use another target",
    ),
    errno.ETXTBSY: ("BUSY", "something runs this file"),
    errno.ENAMETOOLONG: ("NAME_TOO_LONG", "use a shorter name in the source"),
    errno.EFBIG: (
        "TOO_LARGE",
        "the daemon's file size limit (LimitFSIZE=) or the file system does not allow it",
    ),
}

MOVED = GONE | {errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR, errno.ESTALE}
"""What a call says when somebody else made, removed or replaced something in its way."""


def show(path: bytes) -> str:
    """Return a path relative to the target as text."""
    return escape(path) or "the target directory"


def failed(what: str, path: bytes, error: OSError) -> DeploymentFailedError:
    """Return the error for a call that failed.

    Args:
        what: the step, as a verb phrase: "place", "write".
        path: relative to the target.
        error: what the kernel said.
    """
    shown = show(path)
    if error.errno in MOVED:
        return moved(path)
    code = error.errno or 0
    reason, hint = _REASONS.get(code, ("OS_ERROR", ""))
    name = errno.errorcode.get(code, "unknown error")
    return DeploymentFailedError(
        f"cannot {what} {shown}: {os.strerror(code)} ({name})", reason=reason, hint=hint, paths=[shown]
    )


def moved(*paths: bytes) -> TargetMovedError:
    """Return the error for paths that are no longer what the plan found."""
    shown = [show(path) for path in paths]
    more = f" and {len(shown) - 1} more" if len(shown) > 1 else ""
    return TargetMovedError(
        f"cannot deploy: {shown[0]}{more} changed at the target after the plan was made", paths=shown
    )


def refused(reason: str, what: str, paths: Iterable[bytes], hint: str) -> DeploymentFailedError:
    """Return the error for what was found to be impossible before anything changed; `what` follows the first path."""
    shown = [show(path) for path in paths]
    more = f" (and {len(shown) - 1} more)" if len(shown) > 1 else ""
    return DeploymentFailedError(
        f"cannot deploy: {shown[0]} {what}{more}", reason=reason, hint=hint, paths=shown
    )
