"""Where a root comes and goes: the directories that it, and the symlink that it may be, are in.

Only a quicker way to learn what probing finds anyway. A parent in which too much else happens is left to probing.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from headgated.effects.watch.reader import NAMES, Descriptor, Event, Reader

CROWD = 500
"""Events about other names, from one probe to the next, that make a parent not worth watching."""


class Doorstep:
    """Tells when a name that leads to the root appears, goes or is replaced."""

    def __init__(self, reader: Reader, paths: set[bytes], look: Callable[[], None]) -> None:
        self._reader = reader
        self._look = look
        self._names = {os.path.basename(path) for path in paths} - {b""}
        self._parents: dict[bytes, Descriptor | None] = {
            os.path.dirname(path): None for path in paths if path != b"/"
        }
        self._strangers = 0

    def step(self) -> None:
        """Watch each parent that stands there now. To be called from time to time; cheap while nothing changes."""
        if self._strangers > CROWD:
            self.close()
        self._strangers = 0
        for parent, before in self._parents.items():
            now = self._watch(parent)
            if before is not None and now != before:
                self._reader.unwatch([before], self)
            self._parents[parent] = now

    def on_event(self, event: Event) -> None:
        """Something came or went in a parent."""
        if event.name in self._names:
            self._look()
        else:
            self._strangers += 1

    def on_watch_deleted(self, wd: Descriptor) -> None:  # noqa: ARG002  # the protocol's
        """A parent went."""
        self._look()

    def on_queue_overflow(self) -> None:
        """Nothing to do: the reader tells."""

    def _watch(self, parent: bytes) -> Descriptor | None:
        try:
            return self._reader.watch(parent, NAMES, self)
        except OSError:
            return None

    def close(self) -> None:
        """Watch no parent any more."""
        self._reader.unwatch([wd for wd in self._parents.values() if wd is not None], self)
        self._parents.clear()
