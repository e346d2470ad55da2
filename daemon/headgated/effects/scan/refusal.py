"""What can be told to be undeployable without opening it."""

from __future__ import annotations

import os
import stat

from headgated.core.paths import escape
from headgated.core.source import ScanFault
from headgated.effects.scan.limits import ScanLimits

_LONGEST_PATH = 4095
_SPECIAL = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def refused_directory(path: bytes, limits: ScanLimits) -> ScanFault | None:
    """Return why a directory is not even looked into."""
    if path.count(b"/") >= limits.max_depth:
        return _cannot_deploy(path, "TOO_DEEP", f"it is more than {limits.max_depth} directories deep")
    return _too_long(path)


def refused_leaf(path: bytes, found: os.stat_result, limits: ScanLimits) -> ScanFault | None:
    """Return why something that is no directory is not read."""
    kind = stat.S_IFMT(found.st_mode)
    if kind not in (stat.S_IFREG, stat.S_IFLNK):
        what = _SPECIAL.get(kind, "of an unknown kind")
        return _cannot_deploy(path, "SPECIAL_FILE", f"it is {what}, not a file, directory or symlink")
    if kind == stat.S_IFREG and found.st_mode & (stat.S_ISUID | stat.S_ISGID):
        return _cannot_deploy(path, "SETUID", "it has the setuid or setgid bit")
    if found.st_size > limits.max_file_bytes:
        why = f"it has {found.st_size} bytes, more than the limit of {limits.max_file_bytes}"
        return _cannot_deploy(path, "TOO_LARGE", why)
    return _too_long(path)


def unreadable(path: bytes, error: OSError) -> ScanFault:
    """Return the fault that an error in reading is."""
    return ScanFault(path, "UNREADABLE", f"cannot read {escape(path)}: {error.strerror}")


def _too_long(path: bytes) -> ScanFault | None:
    if len(path) <= _LONGEST_PATH:
        return None
    return _cannot_deploy(path, "PATH_TOO_LONG", f"its path is longer than {_LONGEST_PATH} bytes")


def _cannot_deploy(path: bytes, reason: str, why: str) -> ScanFault:
    return ScanFault(path, reason, f"cannot deploy {escape(path)}: {why}")
