"""Which directories of a tree are watched, and which path an event is about.

The rule that keeps this right while directories come, go and move: an event about a directory is never believed in detail. It
only says at which path to look again (`settle`): what stands there now is watched, what was recorded there and is something
else now is let go. So it does not matter in which order events come, whether two of them belong together, or what has
happened since. A watch descriptor belongs to an inode and may for a moment be known under two paths; events are then told
under both, which is harmless.

A directory is watched first, listed second and told third, so that whoever scans on being told misses nothing in it.

Two threads meet here: the reader only looks a path up and leaves a note; one keeper makes the changes and does everything that
touches the file system, so that a hanging file system cannot stop the reader.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from enum import Enum

from headgated.core.paths import escape, join, parent
from headgated.effects.watch.reader import CONTENT, Descriptor, Event, Flag, Reader, mask

BACKLOG = 10_000
"""Above so many paths to look at again the whole tree is."""

NOT_BELOW = b".git"
"""What is below a directory of this name is never deployed, and is much: hundreds of directories, and events at each command."""

_STRUCTURE = mask(Flag.IN_CREATE, Flag.IN_DELETE, Flag.IN_MOVE)
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class _Grip(Enum):
    NEW = "watched from now on"
    KNOWN = "watched before"
    FAILED = "there, but cannot be watched"
    GONE = "no directory"


class Watches:
    """The watches on all directories at and below `base`."""

    def __init__(
        self, reader: Reader, base: bytes, mark: Callable[[bytes], None], ring: Callable[[], None]
    ) -> None:
        self._reader = reader
        self._base = base
        self._mark = mark
        self._ring = ring
        self._lock = threading.Lock()
        self._descriptors: dict[bytes, Descriptor] = {}
        self._paths: dict[Descriptor, tuple[bytes, ...]] = {}
        self._below: dict[bytes, set[bytes]] = {}
        self._orphans: set[Descriptor] = set()
        self._failed: dict[bytes, OSError] = {}
        self._attributes: dict[bytes, tuple[int, int, int]] = {}
        self._unsettled: dict[bytes, bool] = {}
        self._touched: set[bytes] = set()

    @property
    def directories(self) -> int:
        """How many are watched."""
        return len(self._descriptors)

    @property
    def rooted(self) -> bool:
        """Whether the root itself is watched, or could not be for another reason than being gone."""
        return b"" in self._descriptors or b"" in self._failed

    @property
    def shortfall(self) -> str:
        """Why not every directory is watched; empty if every one is."""
        failed = dict(self._failed)
        if not failed:
            return ""
        if any(error.errno == errno.ENOSPC for error in failed.values()):
            return (
                f"inotify watch limit reached: {self.directories} of {self.directories + len(failed)} directories are watched"
                " (raise fs.inotify.max_user_watches)"
            )
        path, error = min(failed.items())
        what = f"'{escape(path):.200}'" if path else "the root"
        return f"{len(failed)} of {self.directories + len(failed)} directories cannot be watched: {what}: {error.strerror}"

    def verify(self) -> int:
        """Go through the whole tree, watch what is not watched, let go what is gone. Return how much was not right."""
        wrong = self._walk(b"", deep=True)
        self._let_go()
        return wrong

    def settle(self) -> None:
        """Look again wherever an event asked for it, and tell."""
        with self._lock:
            unsettled, self._unsettled = self._unsettled, {}
            touched, self._touched = self._touched, set()
        if len(unsettled) > BACKLOG:
            unsettled = {b"": True}
        for path, deep in unsettled.items():
            self._walk(path, deep=deep)
        for path in touched:
            if self._note_attributes(path) and path not in unsettled:
                self._walk(path, deep=False)  # it may have become readable
                unsettled[path] = False
        self._let_go()
        for path in unsettled:
            self._mark(path)

    def on_event(self, event: Event) -> None:
        """Note what an event is about. Called by the reader; O(1)."""
        flags, name = event.mask, event.name
        with self._lock:
            for directory in self._paths.get(event.wd, ()):
                path = join(directory, name) if name else directory
                if flags & Flag.IN_ISDIR and flags & _STRUCTURE:
                    self._look_again(path, deep=bool(flags & Flag.IN_MOVE))
                elif flags & Flag.IN_ATTRIB and (flags & Flag.IN_ISDIR or not name):
                    self._touched.add(path)
                    self._ring()
                elif name:
                    self._mark(path)

    def on_watch_deleted(self, wd: Descriptor) -> None:
        """Forget a watch that the kernel took away: the directory was removed, or unmounted. Called by the reader."""
        with self._lock:
            for path in self._paths.pop(wd, ()):
                if self._descriptors.get(path) == wd:
                    del self._descriptors[path]
                    self._look_again(path, deep=False)

    def on_queue_overflow(self) -> None:
        """Nothing to do: the reader tells."""

    def _look_again(self, path: bytes, *, deep: bool) -> None:
        self._unsettled[path] = deep or self._unsettled.get(path, False)
        self._ring()

    def _walk(self, path: bytes, *, deep: bool) -> int:
        """Watch the directory at `path`, if there is one, and all below; return how much changed.

        What is watched already is taken to be right below too, unless `deep`.
        """
        changed = 0
        stack = [path]
        while stack:
            here = stack.pop()
            grip, lost = self._take(here)
            changed += lost + (grip is _Grip.NEW)
            if grip is _Grip.NEW or (deep and grip is not _Grip.GONE) or grip is _Grip.FAILED:
                below = self._list(here)
                changed += self._prune(here, below)
                stack.extend(below)
        return changed

    def _take(self, path: bytes) -> tuple[_Grip, int]:
        """Watch the one directory at `path`; return what came of it, and how many records there were wrong."""
        with self._lock:
            try:
                wd = self._reader.watch(os.path.join(self._base, path), CONTENT, self)
            except OSError as error:
                lost = self._release(path)
                if error.errno in _GONE:
                    return _Grip.GONE, lost
                self._fail(path, error)
                return _Grip.FAILED, 0
            if self._descriptors.get(path) == wd and path not in self._failed:
                return _Grip.KNOWN, 0
            lost = self._release(path)
            self._record(path, wd)
        self._note_attributes(path)
        return _Grip.NEW, lost

    def _list(self, path: bytes) -> list[bytes]:
        """Return the directories in `path`. Where it cannot be listed: those known, and that it failed is noted."""
        if path.rpartition(b"/")[2] == NOT_BELOW:
            return []
        try:
            with os.scandir(os.path.join(self._base, path)) as entries:
                return [join(path, entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError as error:
            with self._lock:
                if error.errno not in _GONE:
                    self._fail(path, error)
                return list(self._below.get(path, ()))

    def _prune(self, path: bytes, below: list[bytes]) -> int:
        """Let go what was in `path` and is not any more; return how much."""
        with self._lock:
            return sum(self._release(gone) for gone in self._below.get(path, set()).difference(below))

    def _note_attributes(self, path: bytes) -> bool:
        """Return whether mode or owner are others than before. Times change whenever the content does: no news."""
        try:
            status = os.lstat(os.path.join(self._base, path))
        except OSError:
            return False
        now = (status.st_mode, status.st_uid, status.st_gid)
        before, self._attributes[path] = self._attributes.get(path), now
        return before != now

    def _record(self, path: bytes, wd: Descriptor) -> None:
        self._descriptors[path] = wd
        self._paths[wd] = (*self._paths.get(wd, ()), path)
        self._orphans.discard(wd)
        self._link(path)

    def _fail(self, path: bytes, error: OSError) -> None:
        self._failed[path] = error
        self._link(path)

    def _link(self, path: bytes) -> None:
        """Make `path` reachable from the root, also where a directory on the way is not watched (any more, or yet)."""
        while path and path not in (siblings := self._below.setdefault(parent(path), set())):
            siblings.add(path)
            path = parent(path)

    def _release(self, path: bytes) -> int:
        """Forget `path` and everything below; return how many watches that were."""
        lost = 0
        if path and (siblings := self._below.get(parent(path))):
            siblings.discard(path)
        stack = [path]
        while stack:
            here = stack.pop()
            stack.extend(self._below.pop(here, ()))
            self._failed.pop(here, None)
            self._attributes.pop(here, None)
            if (wd := self._descriptors.pop(here, None)) is not None:
                self._orphan(wd, here)
                lost += 1
        return lost

    def _orphan(self, wd: Descriptor, path: bytes) -> None:
        if others := tuple(other for other in self._paths.get(wd, ()) if other != path):
            self._paths[wd] = others
        else:
            self._paths.pop(wd, None)
            self._orphans.add(wd)

    def _let_go(self) -> None:
        """Give watches back that nothing refers to; not sooner, for a directory that moves is found again under its new path."""
        with self._lock:
            orphans, self._orphans = self._orphans, set()
        if orphans:
            self._reader.unwatch(orphans, self)
