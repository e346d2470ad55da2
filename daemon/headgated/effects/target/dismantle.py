"""Takes a whole tree apart that is no longer, or never was, the target.

Nothing goes that is not somewhere else: a file that the other tree has too loses one of its names, what history has goes, and
what somebody made or wrote here meanwhile is brought over to the other tree, or kept there under a name that says so.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping

from headgated.core.errors import DeploymentFailedError
from headgated.core.paths import escape, join, parent
from headgated.core.steps import OWN_PREFIX
from headgated.core.tree import Entry, Kind
from headgated.effects.beneath import GONE
from headgated.effects.target.inventory import Inventory, is_mounted, walk
from headgated.effects.target.look import SpecialFileError
from headgated.effects.target.metadata import dress_like
from headgated.effects.target.site import Site

_KEPT = OWN_PREFIX + b"kept-"
_NAMES = 1000
_TO_EMPTY = 0o300
_HIDDEN = GONE | {errno.EXDEV}
"""What opening a directory says when nothing of ours can be there: gone, or something is mounted on it."""


class Dismantling:
    """Takes one tree apart.

    Args:
        gone: the tree.
        live: the other tree, which is at the target; None: there is none.
        known: what may go, by path: history has it, or we have made it.
        carried: what the two trees had in common; None: nobody remembers, so they are compared.
        own: how our own names begin; they may go.
    """

    def __init__(
        self,
        gone: Site,
        live: Site | None,
        known: Mapping[bytes, Entry],
        carried: Inventory | None,
        own: bytes,
    ) -> None:
        self._gone, self._live = gone, live
        self._known, self._carried, self._own = known, carried, own
        self._elsewhere: frozenset[int] | None = None
        self.notes: list[str] = []
        """What was brought over or could not go, for people."""

    def run(self, marker: bytes) -> bool:
        """Remove everything in the tree, its marker last; tell whether it is empty now.

        Raises:
            OSError, TargetMovedError: something cannot be read or removed. May be called again.
        """
        empty = self._empty(b"", marker)
        if empty and self._gone.look(marker) is not None:
            self._gone.acts.unlink(self._gone.beneath.directory(b""), marker)
        return empty

    def _empty(self, at: bytes, spare: bytes = b"") -> bool:
        fd = self._gone.beneath.directory(at)
        if os.geteuid() != 0 and os.fstat(fd).st_mode & _TO_EMPTY != _TO_EMPTY:
            self._gone.acts.chmod(fd, 0o700)
        names = [os.fsencode(name) for name in os.listdir(fd)]
        done = [self._remove(join(at, name)) for name in sorted(names) if name != spare]
        return all(done)

    def _remove(self, path: bytes) -> bool:
        there = self._gone.look(path)
        if there is None:
            return True
        if stat.S_ISDIR(there.st_mode):
            if is_mounted(self._gone, path):
                return self._leave(path)
            return self._empty(path) and self._remove_directory(path)
        live = self._look_live(path)
        if not self._may_go(path, there, live):
            self._save(path)
        directory, name = self._gone.beneath.place(path)
        try:
            self._gone.acts.unlink(directory, name)
        except OSError as error:
            if error.errno == errno.EBUSY:
                return self._leave(path)
            raise
        if self._live is not None and live is not None and live.st_ino == there.st_ino:
            after = self._look_live(path)
            if after is not None:
                self._live.lens.renew(path, live, after)
        return True

    def _leave(self, path: bytes) -> bool:
        self.notes.append(f"{escape(path)} in the replaced directory stays: something is mounted there")
        return False

    def _remove_directory(self, path: bytes) -> bool:
        self._gone.beneath.forget(path)
        directory, name = self._gone.beneath.place(path)
        try:
            self._gone.acts.remove_directory(directory, name)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return self._empty(path)
            raise
        return True

    def _may_go(self, path: bytes, there: os.stat_result, live: os.stat_result | None) -> bool:
        """Whether nothing is lost with this name."""
        if path.rpartition(b"/")[2].startswith(self._own):
            return True
        if live is not None and live.st_ino == there.st_ino:
            return True
        known = self._known.get(path)
        if known is not None and known.kind != Kind.DIRECTORY and self._matches(path, known):
            return True
        if self._carried is not None:
            carried = self._carried.get(path)
            return carried is not None and carried.inode == there.st_ino
        return there.st_ino in self._inodes_elsewhere()

    def _matches(self, path: bytes, known: Entry) -> bool:
        directory, name = self._gone.beneath.place(path)
        try:
            return known.matches(self._gone.lens.entry(directory, name, path))
        except SpecialFileError:
            return False

    def _look_live(self, path: bytes) -> os.stat_result | None:
        if self._live is None:
            return None
        try:
            return self._live.look(path)
        except OSError as error:
            if error.errno in _HIDDEN:
                return None
            raise

    def _inodes_elsewhere(self) -> frozenset[int]:
        """Return the inodes that the other tree has, wherever: somebody may have renamed things there."""
        if self._elsewhere is None:
            self._elsewhere = frozenset() if self._live is None else frozenset(_inodes(self._live))
        return self._elsewhere

    def _save(self, path: bytes) -> None:
        """Give what somebody else made or wrote its place in the other tree, or else a name that is never removed."""
        if self._live is None:
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
        source, name = self._gone.beneath.place(path)
        if path not in self._known and self._has_directory(parent(path)):
            try:
                self._link(source, name, self._live.beneath.directory(parent(path)), name)
            except FileExistsError:
                pass
            else:
                return
        self._keep(path, source, name)

    def _has_directory(self, path: bytes) -> bool:
        """Whether the other tree has this directory; one that somebody else made here is made there."""
        live, gone = self._live, self._gone
        assert live is not None  # noqa: S101 - asked by `_save` alone
        try:
            live.beneath.directory(path)
        except OSError as error:
            if error.errno == errno.EXDEV:
                return False
            if error.errno not in GONE:
                raise
        else:
            return True
        ours = path in self._known or (self._carried is not None and path in self._carried)
        if ours or not self._has_directory(parent(path)) or self._look_live(path) is not None:
            return False
        live.acts.make_directory(*live.beneath.place(path))
        dress_like(live.acts, live.beneath.directory(path), path, gone.beneath.directory(path))
        return True

    def _keep(self, path: bytes, source: int, name: bytes) -> None:
        live = self._live
        assert live is not None  # noqa: S101 - asked by `_save` alone
        above = parent(path)
        while above and self._directory_if_any(live, above) is None:
            above = parent(above)
        directory = live.beneath.directory(above)
        for count in range(_NAMES):
            other = _KEPT + self._own.removeprefix(OWN_PREFIX) + b"%d" % count
            try:
                self._link(source, name, directory, other)
            except FileExistsError:
                continue
            kept = escape(join(above, other))
            self.notes.append(
                f"{escape(path)} was changed by somebody else meanwhile; what was there is kept as {kept}"
            )
            return
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)

    def _link(self, source: int, name: bytes, directory: int, new: bytes) -> None:
        """Link, so that a power cut loses neither name."""
        self._gone.acts.link_to(source, name, directory, new)
        self._gone.acts.sync(directory)

    def _directory_if_any(self, site: Site, path: bytes) -> int | None:
        try:
            return site.beneath.directory(path)
        except OSError as error:
            if error.errno in _HIDDEN:
                return None
            raise


def _inodes(site: Site) -> Iterator[int]:
    """Yield the inodes of a tree, but for those below a mount."""
    try:
        for _, there in walk(site):
            yield there.st_ino
    except DeploymentFailedError as error:
        if error.reason != "MOUNT_POINT":
            raise


def sweep_tree(site: Site, own: bytes, marker: bytes) -> None:
    """Remove what a deployment that was cut off left under its own names in a tree, but for its marker.

    Raises:
        OSError, DeploymentFailedError: it cannot be read or removed.
    """
    try:
        for path, there in walk(site):
            mine = path.rpartition(b"/")[2].startswith(own) and path != marker
            if mine and not stat.S_ISDIR(there.st_mode):
                site.acts.unlink(*site.beneath.place(path))
    except DeploymentFailedError as error:
        if error.reason != "MOUNT_POINT":
            raise
