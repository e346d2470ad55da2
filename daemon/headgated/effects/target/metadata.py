"""Owner, permission bits and extended attributes of what is staged, before it has its place.

Owner first (changing it drops setuid), then the attributes of the replaced file, then the bits. Nobody gets a right on the
way that they have neither before nor after: a file begins as ours alone, and an access control list is carried over with
the wanted bits already in it. In such a list the group bits are its mask; the wanted bits win, as with chmod.
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from headgated.core.errors import DeploymentFailedError
from headgated.core.paths import escape
from headgated.core.tree import Entry, Kind
from headgated.effects.target.acts import Acts
from headgated.effects.target.failure import show

ACL = "system.posix_acl_access"
_DEFAULT_ACL = "system.posix_acl_default"
_CARRIED = ("user.", "security.", "trusted.")
_BOUND_TO_CONTENT = frozenset({"security.capability", "security.ima", "security.evm"})
"""The kernel drops these when a file is written to; new content must not inherit a power or a signature."""
_NO_SUCH = frozenset({errno.EOPNOTSUPP, errno.ENODATA})

_ACL_ENTRY = struct.Struct("<HHI")
_ACL_OWNER, _ACL_GROUP, _ACL_MASK, _ACL_OTHER = 0x01, 0x04, 0x10, 0x20


def dress(
    acts: Acts, fd: int, path: bytes, wanted: Entry, expected: Entry | None, replaced: int | None
) -> os.stat_result:
    """Give a staged file or directory what it shall have in the end; return its stat then.

    Args:
        acts: changes it.
        fd: the staged file or directory.
        path: where it will be, for errors.
        wanted: mode (None: of a file what it replaces has; else 0644 or 0755), uid and gid (None: as `expected`, or as it was made).
        expected: what it replaces, if anything.
        replaced: a descriptor of that, if it is a file too.

    Raises:
        DeploymentFailedError: METADATA, something could not be given or carried over; PERMISSION, the owner.
    """
    there = os.fstat(fd)
    uid, gid = owner(wanted, expected, there)
    if (uid, gid) != (-1, -1):
        _give(acts, fd, path, wanted, uid, gid)
    mode = wanted.mode
    if mode is None and expected is not None and wanted.kind == expected.kind == Kind.FILE:
        mode = expected.mode
    if mode is None:
        mode = 0o755 if wanted.kind == Kind.DIRECTORY else 0o644
    if replaced is not None:
        _carry(acts, fd, path, replaced, mode)
    # chown takes setuid away and an access control list changes the bits: what counts is what is there now.
    if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
        acts.chmod(fd, mode)
    there = os.fstat(fd)
    if stat.S_IMODE(there.st_mode) != mode:
        raise _lost(
            path,
            f"mode {mode:04o}",
            "the file system keeps no such permission bits, or they need another owner",
        )
    return there


def dress_link(
    acts: Acts, directory: int, name: bytes, path: bytes, wanted: Entry, expected: Entry | None
) -> None:
    """Give a staged symlink its owner, and the attributes of the symlink that it replaces at `path` in the same directory."""
    there = os.stat(name, dir_fd=directory, follow_symlinks=False)
    uid, gid = owner(wanted, expected, there)
    if (uid, gid) != (-1, -1):
        try:
            acts.chown_link(directory, name, uid, gid)
        except PermissionError as error:
            if wanted.uid is not None or wanted.gid is not None:
                raise _not_given(path, uid, gid) from error
    if expected is not None and expected.kind == Kind.SYMLINK:
        # Attributes of a symlink have no call that takes a directory; this path is our own descriptor.
        here = b"/proc/self/fd/%d/" % directory
        _copy(acts, here + name, path, here + path.rpartition(b"/")[2])


def dress_like(acts: Acts, fd: int, path: bytes, model: int) -> None:
    """Give a directory the owner, bits, attributes and access control lists of another.

    Raises:
        DeploymentFailedError: METADATA, something could not be given; CANNOT_CARRY, the owner.
        OSError: another call failed.
    """
    there, like = os.fstat(fd), os.fstat(model)
    uid = -1 if there.st_uid == like.st_uid else like.st_uid
    gid = -1 if there.st_gid == like.st_gid else like.st_gid
    if (uid, gid) != (-1, -1):
        try:
            acts.chown(fd, uid, gid)
        except PermissionError as error:
            shown = show(path)
            raise DeploymentFailedError(
                f"cannot carry {shown} along: only root may give a directory to its owner (EPERM)",
                reason="CANNOT_CARRY",
                hint="run the daemon as root or with CAP_CHOWN, or use strategy in-place",
                paths=[shown],
            ) from error
    wanted = attributes_of(model)
    for name in attributes_of(fd).keys() - wanted.keys():
        acts.drop_attribute(fd, name)
    have = attributes_of(fd)
    for name, value in wanted.items():
        if have.get(name) != value:
            _set(acts, fd, path, name, value)
    mode = stat.S_IMODE(like.st_mode)
    if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
        acts.chmod(fd, mode)
    if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
        raise _lost(path, f"mode {mode:04o}", "the file system keeps no such permission bits")


def attributes_of(fd: int) -> dict[str, bytes]:
    """Return the extended attributes of a directory that are carried over, its access control lists among them."""
    names = [name for name in _names(fd) if name in (ACL, _DEFAULT_ACL) or name.startswith(_CARRIED)]
    values = {name: _value(fd, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def owner(wanted: Entry, expected: Entry | None, there: os.stat_result) -> tuple[int, int]:
    """Return the uid and gid to give; -1 where it is right already or not ours to say."""
    uid = wanted.uid if wanted.uid is not None or expected is None else expected.uid
    gid = wanted.gid if wanted.gid is not None or expected is None else expected.gid
    return (
        -1 if uid is None or uid == there.st_uid else uid,
        -1 if gid is None or gid == there.st_gid else gid,
    )


def acl_with_mode(acl: bytes, mode: int) -> bytes:
    """Return an access control list (as the kernel stores it) that shows as the permission bits `mode`."""
    entries = [list(_ACL_ENTRY.unpack_from(acl, at)) for at in range(4, len(acl), _ACL_ENTRY.size)]
    tags = {entry[0] for entry in entries}
    bits = {
        _ACL_OWNER: mode >> 6 & 7,
        _ACL_OTHER: mode & 7,
        _ACL_MASK if _ACL_MASK in tags else _ACL_GROUP: mode >> 3 & 7,
    }
    return acl[:4] + b"".join(
        _ACL_ENTRY.pack(tag, bits.get(tag, rights), who) for tag, rights, who in entries
    )


def _give(acts: Acts, fd: int, path: bytes, wanted: Entry, uid: int, gid: int) -> None:
    """Change the owner; one that was asked for must be given, one that was merely there before is kept if we may."""
    try:
        acts.chown(fd, uid, gid)
        return
    except PermissionError:
        pass
    for one, other, asked in ((uid, -1, wanted.uid), (-1, gid, wanted.gid)):
        if (one, other) == (-1, -1):
            continue
        try:
            acts.chown(fd, one, other)
        except PermissionError as error:
            if asked is not None:
                raise _not_given(path, one, other) from error


def _carry(acts: Acts, fd: int, path: bytes, replaced: int, mode: int) -> None:
    names = _copy(acts, fd, path, replaced)
    if ACL in names:
        _set(acts, fd, path, ACL, acl_with_mode(os.getxattr(replaced, ACL), mode))
    elif ACL in _names(fd):
        acts.drop_attribute(fd, ACL)  # inherited from the directory's default; the replaced file had none


def _copy(acts: Acts, to: int | bytes, path: bytes, source: int | bytes) -> list[str]:
    names = _names(source)
    present = _names(to) if names else []
    for name in names:
        if name.startswith(_CARRIED) and name not in _BOUND_TO_CONTENT:
            value = _value(source, name)
            if value is not None and (name not in present or _value(to, name) != value):
                _set(acts, to, path, name, value)
    return names


def _set(acts: Acts, where: int | bytes, path: bytes, name: str, value: bytes) -> None:
    try:
        acts.set_attribute(where, name, value)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        if error.errno != errno.EOPNOTSUPP:
            raise _lost(path, f"extended attribute {name}", os.strerror(error.errno or 0)) from error


def _names(where: int | bytes) -> list[str]:
    try:
        return os.listxattr(where) if isinstance(where, int) else os.listxattr(where, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return []
        raise


def _value(where: int | bytes, name: str) -> bytes | None:
    try:
        return (
            os.getxattr(where, name)
            if isinstance(where, int)
            else os.getxattr(where, name, follow_symlinks=False)
        )
    except OSError as error:
        if error.errno in _NO_SUCH:
            return None
        raise


def _lost(path: bytes, what: str, why: str) -> DeploymentFailedError:
    shown = escape(path)
    return DeploymentFailedError(f"cannot give {shown} its {what}: {why}", reason="METADATA", paths=[shown])


def _not_given(path: bytes, uid: int, gid: int) -> DeploymentFailedError:
    shown = escape(path)
    names = [f"user {uid}"] * (uid != -1) + [f"group {gid}"] * (gid != -1)
    return DeploymentFailedError(
        f"cannot give {shown} to {' and '.join(names)}: only root may (EPERM)",
        reason="PERMISSION",
        hint="run the daemon as root, with CAP_CHOWN, or set owner: keep",
        paths=[shown],
    )
