"""Linux calls that Python's `os` does not have: renameat2, openat2, syncfs, and whether a name is a mount point.

Each raises OSError like `os` does; a kernel, seccomp filter or file system that lacks a call shows as ENOSYS, EINVAL or
EOPNOTSUPP, and what to do then is the caller's business. All are thread-safe and release the interpreter lock.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import struct
from functools import cache

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08

AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW = 0x100
_AT_NO_AUTOMOUNT = 0x800
_STATX_ATTR_MOUNT_ROOT = 0x2000
_STATX_BYTES = 256

_SYS_OPENAT2 = 437  # the same everywhere
_SYS_RENAMEAT2 = {"x86_64": 316, "i386": 353, "i686": 353, "armv7l": 382, "ppc64le": 357, "s390x": 347}
_SYS_RENAMEAT2_GENERIC = 276  # aarch64, riscv64, loongarch64

_OPEN_HOW = struct.Struct("=QQQ")
_STATFS_BYTES = 256
_SYNCS_WHOLE = frozenset(
    {
        0xEF53,  # ext4
        0x58465342,  # xfs
        0x9123683E,  # btrfs
        0xF2F52010,  # f2fs
        0x01021994,  # tmpfs
        0x794C7630,  # overlayfs
    }
)

_SYNCS_UNNAMED = frozenset(
    {0xEF53, 0x58465342, 0x01021994}
)  # ext4, xfs, tmpfs; btrfs does not log what has no name

_UNSUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


def is_unsupported(error: OSError) -> bool:
    """Tell whether `error` says that a call or one of its flags does not exist here."""
    return error.errno in _UNSUPPORTED


def rename(directory: int, old: bytes, new: bytes, flags: int = 0) -> None:
    """Rename `old` to `new`, both names in the open directory.

    Args:
        directory: its descriptor.
        old: a name.
        new: a name.
        flags: 0, RENAME_NOREPLACE (FileExistsError if `new` exists) or RENAME_EXCHANGE (both must exist; they change places).
    """
    _check(_renameat2(directory, old, directory, new, flags), old)


def open_at(directory: int, path: bytes, flags: int, resolve: int) -> int:
    """Open an existing `path` below the open directory by openat2 and return its descriptor, closed on exec.

    Raises:
        OSError: ELOOP where RESOLVE_NO_SYMLINKS meets a symlink; ENOSYS where the call does not exist; others like open.
    """
    how = _OPEN_HOW.pack(flags | os.O_CLOEXEC, 0, resolve)
    while True:
        fd = int(
            _syscall(_SYS_OPENAT2, directory, ctypes.c_char_p(path), how, ctypes.c_size_t(_OPEN_HOW.size))
        )
        if fd >= 0:
            return fd
        if ctypes.get_errno() != errno.EINTR:
            _check(-1, path)


@cache
def has_openat2() -> bool:
    """Tell whether openat2 works here; found out once. seccomp filters are known to hide it."""
    try:
        os.close(open_at(AT_FDCWD, b"/", os.O_PATH | os.O_DIRECTORY, RESOLVE_NO_SYMLINKS))
    except OSError:
        return False
    return True


def is_mount_point(directory: int, name: bytes) -> bool:
    """Tell whether something is mounted on `name` in the open directory; bind-mounted files count.

    Kernels before 5.8 cannot say; there only another device than the directory's counts.
    """
    buffer = ctypes.create_string_buffer(_STATX_BYTES)
    _check(_statx(directory, name, _AT_SYMLINK_NOFOLLOW | _AT_NO_AUTOMOUNT, 0, buffer), name)
    (attributes,) = struct.unpack_from("=Q", buffer, 8)
    (known,) = struct.unpack_from("=Q", buffer, 56)
    if known & _STATX_ATTR_MOUNT_ROOT:
        return bool(attributes & _STATX_ATTR_MOUNT_ROOT)
    there = os.stat(name, dir_fd=directory, follow_symlinks=False)
    return there.st_dev != os.fstat(directory).st_dev


def sync_file_system(fd: int) -> None:
    """Write out everything of the file system that `fd` is on.

    Raises:
        OSError: also for a write-back that failed after `fd` was opened, where `syncs_whole` says so.
    """
    _check(_libc.syncfs(fd), b"")


def syncs_whole(fd: int) -> bool:
    """Tell whether `sync_file_system` brings all to the disk there, and tells if it could not.

    It does on the file systems of disks since Linux 5.8. Over FUSE, for one, it does not reach the server.
    """
    return _reports_sync_errors() and _kind(fd) in _SYNCS_WHOLE


def syncs_unnamed(fd: int) -> bool:
    """Tell whether a file without a name can be made, synced and then named there, and is on disk as soon as its name is."""
    return _kind(fd) in _SYNCS_UNNAMED and _has_proc()


@cache
def _has_proc() -> bool:
    return os.path.isdir("/proc/self/fd")


def _kind(fd: int) -> int:
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if _libc.fstatfs(fd, buffer) != 0:
        return 0
    (kind,) = struct.unpack_from("@l", buffer)
    return int(kind) & 0xFFFFFFFF


@cache
def _reports_sync_errors() -> bool:
    numbers = [int(number) for number in re.findall(r"\d+", os.uname().release)[:2]]
    return numbers >= [5, 8]


def _check(result: int, path: bytes) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)


def _renameat2(old_directory: int, old: bytes, new_directory: int, new: bytes, flags: int) -> int:
    call = getattr(_libc, "renameat2", None)
    if call is not None:
        return int(
            call(
                old_directory, ctypes.c_char_p(old), new_directory, ctypes.c_char_p(new), ctypes.c_uint(flags)
            )
        )
    number = _SYS_RENAMEAT2.get(platform.machine(), _SYS_RENAMEAT2_GENERIC)
    return int(
        _syscall(
            number,
            old_directory,
            ctypes.c_char_p(old),
            new_directory,
            ctypes.c_char_p(new),
            ctypes.c_uint(flags),
        )
    )


def _statx(directory: int, name: bytes, flags: int, mask: int, buffer: ctypes.Array[ctypes.c_char]) -> int:
    call = getattr(_libc, "statx", None)
    if call is None:  # pragma: no cover - libc before 2018
        ctypes.set_errno(errno.ENOSYS)
        return -1
    return int(call(directory, ctypes.c_char_p(name), flags, ctypes.c_uint(mask), buffer))
