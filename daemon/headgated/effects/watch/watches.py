"""Which directories of a tree are watched, and which path an event is about.

The rule that keeps this right while directories come, go and move: an event about a directory is never believed in detail. It
only says at which path to look again (`settle`): what stands there now is watched, what was registered there and is something
else now is let go. So it does not matter in which order events come, whether two of them belong together, or what has
happened since. A watch descriptor belongs to an inode and may for a moment be known under two paths; events are then told
under both, which is harmless.

A directory is watched first, listed second and told third, so that whoever scans on being told misses nothing in it.

Two threads meet here: the reader only looks a path up and leaves a note; one keeper makes all changes and does everything that
touches the file system, so that the reader keeps up.
"""

from __future__ import annotations

import errno
import math
import os
import threading
from collections.abc import Callable
from enum import Enum

from headgated.core.paths import escape, join
from headgated.core.steps import OWN_PREFIX
from headgated.effects.watch.reader import CONTENT, Descriptor, Event, Flag, Reader, mask
from headgated.effects.watch.register import Register

BACKLOG = 10_000
"""Above so many paths to look at again the whole tree is."""

NOT_BELOW = b".git"
"""What is below a directory of this name is never deployed, and is much: hundreds of directories, events at each command."""

LONGEST_BIRTH = 0.25
"""Seconds in which who made a name and opened it begins to write. Who made a link or a directory does nothing more."""

_STRUCTURE = mask(Flag.IN_CREATE, Flag.IN_DELETE, Flag.IN_MOVE)
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class _Grip(Enum):
    NEW = "watched from now on"
    KNOWN = "watched before"
    FAILED = "there, but cannot be watched"
    GONE = "no directory"


class Watches:
    """The watches on all directories at and below `base`, but for the inside of `.git` and of our own temporaries.

    Args:
        reader: registers them, and calls back.
        base: absolute path, without symlinks.
        mark: told of each path that may have changed, `b""` for everything, and how long to wait for more (see `Mailbox.mark`).
        ring: called when there is something to settle.
    """

    def __init__(
        self,
        reader: Reader,
        base: bytes,
        mark: Callable[[bytes, float | None], None],
        ring: Callable[[], None],
    ) -> None:
        self._reader = reader
        self._base = base
        self._mark = mark
        self._ring = ring
        self._lock = threading.Lock()
        self._register = Register()
        self._unsettled: dict[bytes, bool] = {}
        self._touched: set[bytes] = set()

    @property
    def directories(self) -> int:
        """How many are watched."""
        return self._register.watched

    @property
    def rooted(self) -> bool:
        """Whether the root itself is watched, or could not be for another reason than being gone."""
        return b"" in self._register

    @property
    def shortfall(self) -> str:
        """Why not every directory is watched; empty if every one is."""
        failed = self._register.failed
        if not failed:
            return ""
        there = self.directories + len(failed)
        if any(error.errno == errno.ENOSPC for error in failed.values()):
            watched = f"{self.directories} of {there} directories are watched"
            return f"inotify watch limit reached: {watched} (raise fs.inotify.max_user_watches)"
        path, error = min(failed.items())
        what = f"'{escape(path):.200}'" if path else "the root"
        return f"{len(failed)} of {there} directories cannot be watched: {what}: {error.strerror}"

    def verify(self) -> int:
        """Go through the whole tree, watch what is not watched, let go what is gone. Return how much was not right."""
        wrong = self._walk(b"", deep=True)
        self._let_go()
        return wrong

    def settle(self) -> None:
        """Look again wherever an event asked for it, then tell.

        In a directory that was made just now somebody may be writing already, unseen: what comes is waited for as after the birth
        of a file. One that moved here is taken to be whole.
        """
        with self._lock:
            unsettled, self._unsettled = self._unsettled, {}
            touched, self._touched = self._touched, set()
        if len(unsettled) > BACKLOG:
            unsettled = {b"": True}
        waits = dict.fromkeys(unsettled, 0.0)
        for path, deep in unsettled.items():
            before = self.directories
            self._walk(path, deep=deep)
            if self.directories > before and not deep:
                waits[path] = LONGEST_BIRTH
        for path in touched.difference(unsettled):
            if self._attributes_differ(path):
                self._walk(path, deep=False)  # it may have become readable
                waits[path] = 0.0
        self._let_go()
        for path, wait in waits.items():
            self._mark(path, wait)

    def close(self) -> None:
        """Let everything go, one by one: for a reader that others go on with."""
        with self._lock:
            self._register.release(b"")
        self._let_go()

    def on_event(self, event: Event) -> None:
        """Note what an event is about. Called by the reader; O(1)."""
        flags, name = event.mask, event.name
        if name.startswith(OWN_PREFIX):
            return  # Our own temporary, at a target: what becomes of it is told under the name that it gets.
        with self._lock:
            for directory in self._register.paths(event.wd):
                path = join(directory, name) if name else directory
                if flags & Flag.IN_ISDIR and not (name and _is_closed(directory)):
                    self._note(path, flags)
                elif name:
                    self._mark(path, _patience(flags))

    def on_watch_deleted(self, wd: Descriptor) -> None:
        """Forget a watch that the kernel took away: the directory was removed, or unmounted. Called by the reader."""
        with self._lock:
            for path in self._register.lose(wd):
                self._unsettled.setdefault(path, False)
        self._ring()

    def on_queue_overflow(self) -> None:
        """Nothing to do: the reader tells."""

    def _note(self, path: bytes, flags: int) -> None:
        """Note what a directory asks for: to be looked at again where names changed, to be compared where attributes did."""
        if flags & _STRUCTURE:
            self._unsettled[path] = bool(flags & Flag.IN_MOVE) or self._unsettled.get(path, False)
        elif flags & Flag.IN_ATTRIB:
            self._touched.add(path)
        self._ring()

    def _walk(self, path: bytes, *, deep: bool) -> int:
        """Watch the directory at `path`, if there is one, and all below; return how much changed.

        What is watched already is taken to be right below too, unless `deep`: a directory that moved may have changed while it
        was away, and what was told of that led nowhere.
        """
        changed = 0
        stack = [path]
        while stack:
            here = stack.pop()
            grip, lost = self._take(here)
            changed += lost + (grip is _Grip.NEW)
            if grip in (_Grip.NEW, _Grip.FAILED) or (deep and grip is _Grip.KNOWN):
                below = self._list(here)
                changed += self._prune(here, below)
                stack.extend(below)
        return changed

    def _take(self, path: bytes) -> tuple[_Grip, int]:
        """Watch the one directory at `path`; return what came of it, and how many watches were registered there wrongly."""
        with self._lock:
            try:
                wd = self._reader.watch(os.path.join(self._base, path), CONTENT, self)
            except OSError as error:
                lost = self._register.release(path)
                if error.errno in _GONE:
                    return _Grip.GONE, lost
                self._register.fail(path, error)
                return _Grip.FAILED, 0
            if self._register.descriptor(path) == wd:
                return _Grip.KNOWN, 0
            lost = self._register.release(path)
            self._register.record(path, wd)
        self._attributes_differ(path)
        return _Grip.NEW, lost

    def _list(self, path: bytes) -> list[bytes]:
        """Return the directories in `path`. Where it cannot be listed: those known, and that it failed is noted."""
        if _is_closed(path):
            return []
        try:
            with os.scandir(os.path.join(self._base, path)) as entries:
                return [
                    join(path, entry.name)
                    for entry in entries
                    if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(OWN_PREFIX)
                ]
        except OSError as error:
            with self._lock:
                if error.errno not in _GONE:
                    self._register.fail(path, error)
                return list(self._register.below(path))

    def _prune(self, path: bytes, below: list[bytes]) -> int:
        """Let go what was in `path` and is not any more; return how much."""
        with self._lock:
            return sum(self._register.release(gone) for gone in self._register.below(path).difference(below))

    def _attributes_differ(self, path: bytes) -> bool:
        """Tell whether mode or owner are others than before. Times are set with every change of content: no news."""
        try:
            status = os.lstat(os.path.join(self._base, path))
        except OSError:
            return False
        return self._register.differs(path, (status.st_mode, status.st_uid, status.st_gid))

    def _let_go(self) -> None:
        """Give back what stands for nothing any more. Not sooner: what moved is found again under its new path."""
        with self._lock:
            orphans = self._register.take_orphans()
        if orphans:
            self._reader.unwatch(orphans, self)


def _patience(flags: int) -> float | None:
    """Return for how many seconds at most what comes after an event is to be waited for; None: as long as before.

    Whoever writes a file in place makes or empties it, writes, and closes it; until then nobody knows whether that is all. How long
    those are waited for who never close it is the mailbox's to say. Links are made without being opened.
    """
    if flags & Flag.IN_MODIFY:
        return math.inf
    if flags & Flag.IN_CREATE:
        return LONGEST_BIRTH
    return None if flags & Flag.IN_ATTRIB else 0.0


def _is_closed(path: bytes) -> bool:
    return path.rpartition(b"/")[2] == NOT_BELOW
