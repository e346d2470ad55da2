"""From many threads that notice changes to one that tells them.

Each source has a mailbox: a set of dirty paths, or "everything". Marking is O(1) and never waits; the one thread hands over
whatever has gathered as soon as it is free. Nothing is delayed on purpose, and nothing grows without bound.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

LIMIT = 10_000
"""Above so many dirty paths "everything" says it shorter."""

_log = logging.getLogger("headgated.watch")


class Mailbox:
    """What is dirty in one source. Thread-safe."""

    def __init__(self, root: str, ready: SimpleQueue[Mailbox | None]) -> None:
        self.root = root
        self.last_event_at: float | None = None
        self.last_rescan_at: float | None = None
        self._ready = ready
        self._lock = threading.Lock()
        self._dirty: set[bytes] | None = set()
        self._closed = False

    def mark(self, path: bytes) -> None:
        """Note that `path` may have changed; a directory stands for all below it, `b""` for everything."""
        self.last_event_at = time.time()
        if not path:
            self.mark_all()
            return
        with self._lock:
            if self._dirty is None:
                return
            first = not self._dirty
            self._dirty.add(path)
            if len(self._dirty) > LIMIT:
                self._dirty = None
        if first:
            self._ready.put(self)

    def mark_all(self) -> None:
        """Note that anything may have changed."""
        self.last_rescan_at = time.time()
        with self._lock:
            first = self._dirty is not None and not self._dirty
            self._dirty = None
        if first:
            self._ready.put(self)

    def take(self) -> frozenset[bytes] | None:
        """Empty the box and return what was in it; None: everything; an empty set: the box is closed."""
        with self._lock:
            dirty, self._dirty = self._dirty, set()
            if self._closed:
                return frozenset()
        return None if dirty is None else frozenset(dirty)

    def close(self) -> None:
        """Tell nothing any more."""
        with self._lock:
            self._closed = True


class Dispatch:
    """The thread that tells. Calls of `on_change` never overlap; what one raises is logged."""

    def __init__(self, on_change: Callable[[str, frozenset[bytes] | None], None]) -> None:
        self._on_change = on_change
        self._ready: SimpleQueue[Mailbox | None] = SimpleQueue()
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="headgate-watch", daemon=True)
        self._thread.start()

    def mailbox(self, root: str) -> Mailbox:
        """Return a new mailbox for `root`."""
        return Mailbox(root, self._ready)

    def close(self, patience: float) -> None:
        """End the thread. Waits for a call of `on_change` that is under way, at most `patience` seconds; not from within it."""
        self._ready.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join(patience)

    def _run(self) -> None:
        while (mailbox := self._ready.get()) is not None:
            dirty = mailbox.take()
            if dirty is None or dirty:
                self._tell(mailbox.root, dirty)

    def _tell(self, root: str, dirty: frozenset[bytes] | None) -> None:
        try:
            self._on_change(root, dirty)
            self._failing = False
        except Exception:  # noqa: BLE001  # one bad source harms no other
            if not self._failing:
                _log.exception("cannot tell of changes in %s", root)
            self._failing = True
