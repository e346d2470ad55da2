"""What is known of edits by hand at one target: where to look, what was found there, and what somebody said may be overwritten.

Only remembers; `drift` looks. All of it can be found out again, but for what was said, which a restart forgets.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping

from headgated.core.hold import fingerprint
from headgated.core.tree import Entry

Found = Mapping[bytes, Entry | None]
"""Managed path -> what is there in place of what was deployed; None: nothing, or no file at all."""

LOOKED_AT = 10_000
"""With more paths than this to look at, everything is looked at."""


class Edits:
    """One target's edits. Thread-safe where events come in; all else is for whoever holds the environment's lock."""

    def __init__(self) -> None:
        self.known: Found = {}
        """What the last look found; replaced whole, never changed."""
        self.healed_at = 0.0
        """When auto-sync last put something back; monotonic seconds."""
        self.pause = 0.0
        """Seconds after `healed_at` in which it does not do so again."""
        self._overwritable: Mapping[bytes, str] = {}
        self._dirty: set[bytes] | None = None
        self._first: float | None = None
        self._last = 0.0
        self._lock = threading.Lock()

    def mark(self, paths: Iterable[bytes] | None) -> None:
        """Note what may have changed at the target; a directory stands for all below it, None for everything."""
        with self._lock:
            if paths is None:
                self._dirty = None
                return
            self._last = time.monotonic()
            if self._first is None:
                self._first = self._last
            if self._dirty is not None:
                self._dirty.update(paths)
                if len(self._dirty) > LOOKED_AT:
                    self._dirty = None

    def take(self) -> frozenset[bytes] | None:
        """Return what was marked since the last time; None: everything."""
        with self._lock:
            dirty, self._dirty = self._dirty, set()
            return None if dirty is None else frozenset(dirty)

    def calm(self) -> None:
        """Note that nothing is edited: the next edit begins a new round."""
        with self._lock:
            self._first = None

    def unsettled_for(self, quiet: float, latest: float) -> float:
        """Return in how many seconds the edits count as settled: so long after the last, or after the first of this round."""
        with self._lock:
            if self._first is None:
                return 0.0
            return max(0.0, min(self._last + quiet, self._first + latest) - time.monotonic())

    def allow(self) -> None:
        """Somebody says that what is known now may be overwritten; not what is edited after it."""
        self._overwritable = {path: fingerprint(live) for path, live in self.known.items()}

    def allowed(self, path: bytes, live: Entry | None) -> bool:
        """Tell whether somebody said that what is there may be overwritten."""
        return self._overwritable.get(path) == fingerprint(live)
