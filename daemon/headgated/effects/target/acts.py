"""Every call by which a target is changed, one method each.

There is no other door: a subclass that counts, fails or dies at one of them sees everything that a deployment does.
"""

from __future__ import annotations

import errno
import os

from headgated.effects import kernel

_UNNAMED_FILE = os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Acts:
    """Changes a target. All names are in an open directory; nothing follows a symlink; errors are OSError."""

    def __init__(self, *, flagged_renames: bool = True) -> None:
        """Say whether renames may use RENAME_EXCHANGE and RENAME_NOREPLACE; without, it is as where no file system has them."""
        self._flagged_renames = flagged_renames

    def create(self, directory: int, name: bytes) -> int:
        """Make a new empty file that only we can read, and return its descriptor."""
        return os.open(name, _NEW_FILE, 0o600, dir_fd=directory)

    def create_unnamed(self, directory: int) -> int:
        """Make a new empty file that only we can reach, on the file system of a directory; return its descriptor."""
        return os.open(b".", _UNNAMED_FILE, 0o600, dir_fd=directory)

    def give_name(self, fd: int, directory: int, name: bytes) -> None:
        """Give a file without a name one, if that is free."""
        os.link(b"/proc/self/fd/%d" % fd, name, dst_dir_fd=directory, follow_symlinks=True)

    def write(self, fd: int, content: bytes | memoryview) -> int:
        """Write what fits; return how many bytes did."""
        return os.write(fd, content)

    def symlink(self, target: bytes, directory: int, name: bytes) -> None:
        """Make a symlink."""
        os.symlink(target, name, dir_fd=directory)

    def make_directory(self, directory: int, name: bytes) -> None:
        """Make a directory that only we can enter."""
        os.mkdir(name, 0o700, dir_fd=directory)

    def chown(self, fd: int, uid: int, gid: int) -> None:
        """Give a file or directory to somebody; -1 keeps."""
        os.fchown(fd, uid, gid)

    def chown_link(self, directory: int, name: bytes, uid: int, gid: int) -> None:
        """Give a symlink to somebody; -1 keeps."""
        os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False)

    def chmod(self, fd: int, mode: int) -> None:
        """Set permission bits."""
        os.fchmod(fd, mode)

    def set_attribute(self, where: int | bytes, name: str, value: bytes) -> None:
        """Set an extended attribute of a descriptor, or of a path without following it."""
        if isinstance(where, int):
            os.setxattr(where, name, value)
        else:
            os.setxattr(where, name, value, follow_symlinks=False)

    def drop_attribute(self, fd: int, name: str) -> None:
        """Remove an extended attribute."""
        os.removexattr(fd, name)

    def sync(self, fd: int) -> None:
        """Bring a file's content, or a directory's names, to the disk. An error here is never cured by trying again."""
        os.fsync(fd)

    def sync_file_system(self, fd: int) -> None:
        """Bring everything on the file system of `fd` to the disk."""
        kernel.sync_file_system(fd)

    def link(self, directory: int, old: bytes, new: bytes) -> None:
        """Give a file or symlink a second name, if that is free."""
        os.link(old, new, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)

    def link_to(self, directory: int, name: bytes, other: int, new: bytes) -> None:
        """Give anything but a directory a name in another directory, if that is free there."""
        os.link(name, new, src_dir_fd=directory, dst_dir_fd=other, follow_symlinks=False)

    def set_times(self, fd: int, accessed: int, modified: int) -> None:
        """Set when a directory was read and changed, in nanoseconds since the epoch."""
        os.utime(fd, ns=(accessed, modified))

    def rename(self, directory: int, old: bytes, new: bytes, flags: int = 0) -> None:
        """Rename within a directory; see `effects.kernel.rename` for flags."""
        if flags and not self._flagged_renames:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), old)
        kernel.rename(directory, old, new, flags)

    def unlink(self, directory: int, name: bytes) -> None:
        """Remove a name of a file or symlink."""
        os.unlink(name, dir_fd=directory)

    def remove_directory(self, directory: int, name: bytes) -> None:
        """Remove an empty directory."""
        os.rmdir(name, dir_fd=directory)
