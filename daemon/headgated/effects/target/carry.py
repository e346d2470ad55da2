"""Makes a second tree of what is at a target: directories anew, all else by a second name of the very same file.

So nothing is copied: inodes, owners, times and attributes are the same ones, FIFOs, sockets and devices go along, and whoever
writes to a file writes to it in both trees.
"""

from __future__ import annotations

import errno
import os
import stat

from headgated.core.errors import DeploymentFailedError
from headgated.core.paths import parent
from headgated.effects.beneath import GONE
from headgated.effects.target.failure import failed, moved, show
from headgated.effects.target.inventory import Inventory, is_mounted, item_of, refuse_mounts, walk
from headgated.effects.target.metadata import dress_like
from headgated.effects.target.site import Site


class Carrier:
    """Carries what is in one tree along to another."""

    def __init__(self, old: Site, new: Site, carried: Inventory | None = None) -> None:
        """Take both trees, of which the new one's root is there, and what was carried before."""
        self._old, self._new = old, new
        self._times: dict[bytes, tuple[int, int]] = {}
        self.carried: Inventory = {} if carried is None else carried
        """What of the old tree is in the new one."""

    def run(self) -> None:
        """Carry everything along.

        Raises:
            DeploymentFailedError: MOUNT_POINT, CANNOT_CARRY and others, with the paths.
            TargetMovedError: it changes meanwhile.
        """
        mounts = []
        for path, there in walk(self._old):
            if stat.S_ISDIR(there.st_mode):
                self.make_directory(path)
            elif not self._link(path, there):
                mounts.append(path)
        refuse_mounts(mounts)
        for path in reversed([b"", *(path for path, item in self.carried.items() if item.is_directory)]):
            self.dress(path)

    def make_directory(self, path: bytes) -> None:
        """Make a directory in the new tree, until `dress` for us alone."""
        try:
            self._new.acts.make_directory(*self._new.beneath.place(path))
        except OSError as error:
            raise failed("carry along", path, error) from error
        self.carried[path] = item_of(os.fstat(self._new.beneath.directory(path)))

    def link(self, path: bytes) -> None:
        """Give something in the old tree its name in the new one as well.

        Raises:
            TargetMovedError: it is gone, or something is there.
            DeploymentFailedError: as `run`.
        """
        there = self._old.look(path)
        if there is None:
            raise moved(path)
        if not self._link(path, there):
            refuse_mounts([path])

    def dress(self, path: bytes) -> None:
        """Give a directory of the new tree what the old one has.

        Raises:
            DeploymentFailedError: METADATA, CANNOT_CARRY. TargetMovedError: the old one is gone.
        """
        try:
            old, new = self._old.beneath.directory(path), self._new.beneath.directory(path)
            dress_like(self._new.acts, new, path, old)
            there = os.fstat(old)
        except OSError as error:
            raise failed("carry along", path, error) from error
        self.carried[path] = item_of(there, old)
        self._times[path] = there.st_atime_ns, there.st_mtime_ns

    def give_times(self, touched: frozenset[bytes]) -> None:
        """Give the directories that nothing was changed in the times that they had.

        Raises:
            OSError: it cannot be done.
        """
        for path, times in self._times.items():
            if path not in touched:
                try:
                    self._new.acts.set_times(self._new.beneath.directory(path), *times)
                except OSError as error:
                    if error.errno not in GONE:
                        raise

    def _link(self, path: bytes, there: os.stat_result) -> bool:
        """Link; False where it is mounted there, so that it cannot be."""
        old, new = self._old, self._new
        directory, name = old.beneath.place(path)
        try:
            new.acts.link_to(directory, name, new.beneath.directory(parent(path)), name)
        except OSError as error:
            if error.errno == errno.EXDEV and is_mounted(old, path):
                return False
            raise _not_carried(path, error) from error
        after = new.look(path)
        if after is None or after.st_ino != there.st_ino:
            raise moved(path)
        for lens in (old.lens, new.lens):
            lens.renew(path, there, after)
        self.carried[path] = item_of(after)
        return True


def _not_carried(path: bytes, error: OSError) -> DeploymentFailedError:
    if error.errno not in (errno.EPERM, errno.EMLINK, errno.EXDEV, errno.EOPNOTSUPP):
        return failed("carry along", path, error)
    shown = show(path)
    return DeploymentFailedError(
        f"cannot carry {shown} along: it cannot have a second name"
        f" ({errno.errorcode.get(error.errno or 0, '?')})",
        reason="CANNOT_CARRY",
        hint="look for an immutable flag (lsattr), another owner while the daemon is not root, or another"
        " file system; or use strategy in-place",
        paths=[shown],
    )
