"""The inotify reader: watchdog's, made to notice when it goes blind.

watchdog's own answer to an overflowed queue (set up all watches again in the same instance) can overflow the queue again, for
ever; its thread may die while everything looks alive; and its recursive watches go wrong when directories move. So only
the layer that reads and registers is taken from it, `InotifyFD`; which directories to watch is decided in `watches`, and an
overflow or a dying thread is reported, for a fresh reader to take over.

This leans on names that watchdog keeps to itself: `missing` tells whether they are as expected, and a reader is trusted only
after it has answered a cookie (see `lookout`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import reduce
from operator import or_

from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchCallback,
    WatchDescriptor,
)

Callback = WatchCallback
Descriptor = WatchDescriptor
Flag = InotifyConstants
Flags = Mask
Event = InotifyEvent

_PRIVATE = ("_add_callback", "_get_or_create_watch", "_close_resources")
_PUBLIC = ("add_callback", "remove_callbacks", "handle_event", "read_events", "run", "start", "stop", "join")

EMPTY_READS = 3
"""So many reads without an event in a row mean that the descriptor is no inotify queue any more."""


def mask(*flags: int) -> Flags:
    """Return the flags as one mask."""
    return Mask(reduce(or_, flags, 0))


def missing() -> list[str]:
    """Return the names that this module needs and watchdog does not have; empty: all is as expected."""
    return [name for name in (*_PUBLIC, *_PRIVATE) if not callable(getattr(InotifyFD, name, None))]


class Reader(InotifyFD):
    """One inotify instance and the thread that reads it. `trouble` is called, in that thread, when it must be replaced."""

    def __init__(self, trouble: Callable[[str], None]) -> None:
        super().__init__()
        os.set_inheritable(self._inotify_fd, False)  # noqa: FBT003  # no child process needs it
        self.name = "headgate-inotify"
        self._trouble = trouble
        self.linger = 0.0
        """Seconds that events are let gather in the kernel before they are read: where nobody is in a hurry, a thread that
        wakes for each event takes its share of the interpreter from those who are."""
        self.crowded = False
        """Whether others than one root wait for its events."""
        self.progress = 0
        """Grows with each event: tells a busy reader from a dead one."""

    def watch(self, path: bytes, wanted: Flags, callback: Callback) -> Descriptor:
        """Watch `path` and return the descriptor, the same one for the same inode.

        Raises:
            OSError: with the kernel's reason, among them ENOSPC for the watch limit.
        """
        if self.crowded:  # a file system that hangs shall do so now, not while everybody waits for the lock
            with suppress(OSError):
                os.lstat(path)
        descriptor = self.add_callback(path, wanted, callback, _id(callback))
        if descriptor < 0:  # watchdog says nothing about EACCES, and registers the -1
            self.remove_callbacks([(descriptor, _id(callback))])
            raise PermissionError(13, "Permission denied", path)
        return descriptor

    def unwatch(self, descriptors: Iterable[Descriptor], callback: Callback) -> None:
        """Stop telling `callback` about these; descriptors that are gone already do not matter."""
        self.remove_callbacks([(descriptor, _id(callback)) for descriptor in descriptors])

    def retire(self) -> None:
        """Stop for good; everything is given back to the kernel at once. Waits a moment for the thread."""
        with self._lock:
            self._watch_for_wd.clear()  # closing the instance ends its watches; one by one takes a second for 20,000
        self.stop()
        if self.is_alive():
            self.join(timeout=1.0)

    def run(self) -> None:
        """Read and hand out events until stopped; whatever else ends it is reported."""
        try:
            self._read()
        except Exception as error:  # noqa: BLE001  # no thread may die unnoticed
            self._leave()
            self._report(f"the inotify reader died: {error!r}")

    def handle_event(self, event: Event) -> None:
        """Hand one event to those who watch there."""
        self.progress += 1
        if event.is_queue_overflow:
            self._report("the kernel's event queue overflowed")
        else:
            super().handle_event(event)

    def _read(self) -> None:
        empty = 0
        while self.should_keep_running():
            if self.linger and self._poller is not None:
                self._poller.poll()
                time.sleep(self.linger)
            events = self.read_events()
            empty = 0 if events else empty + 1
            for event in events:
                self.handle_event(event)
            events.clear()  # The next may be long in coming.
            if empty >= EMPTY_READS and self.should_keep_running():
                raise OSError(9, "the inotify descriptor is closed or replaced")

    def _report(self, why: str) -> None:
        if self.should_keep_running():  # what becomes of a retired reader is of no interest
            self._trouble(why)

    def _leave(self) -> None:
        """Let whoever comes last, this thread or `stop`, close the descriptors."""
        with self._lock:
            self._is_reading = False
            if self._closed:
                self._close_resources()

    def _add_callback(self, path: bytes, mask: Mask, callback: Callback, id_: CallbackId) -> Descriptor:
        # The inherited one warns at each directory that is registered twice, which is ordinary here, and writes out its
        # whole table of watches for it: quadratic time, megabytes of log.
        watch = self._get_or_create_watch(path, mask)
        watch.callbacks[id_] = callback
        return watch.wd


def _id(callback: Callback) -> CallbackId:
    return CallbackId(id(callback))


CONTENT = mask(
    Flag.IN_CREATE,
    Flag.IN_DELETE,
    Flag.IN_DELETE_SELF,
    Flag.IN_MOVE,
    Flag.IN_MODIFY,
    Flag.IN_ATTRIB,
    Flag.IN_CLOSE_WRITE,
    Flag.IN_ONLYDIR,
    Flag.IN_DONT_FOLLOW,
    Flag.IN_EXCL_UNLINK,
)
"""Everything that changes what a scan finds, and nothing that reading causes: no opening, no closing without a write."""

NAMES = mask(Flag.IN_CREATE, Flag.IN_DELETE, Flag.IN_MOVE, Flag.IN_ONLYDIR, Flag.IN_MASK_ADD)
"""Which names come and go, nothing else; added to a wider mask where there is one."""
