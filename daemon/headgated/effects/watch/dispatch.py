"""From many threads that notice changes to one that tells them.

Each source has a mailbox: a set of dirty paths, or "everything". Marking is O(1) and never waits; the one thread hands over
whatever has gathered as soon as it is free and nobody is writing a file there any more; that is not waited for long. What belongs together
is so told together. Nothing grows without bound.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue

LIMIT = 10_000
"""Above so many dirty paths "everything" says it shorter."""

LONGEST_HOLD = 2.0
"""Seconds that changes wait for files that are being written: as long as a source that is never quiet, by default."""

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
        self._writing: dict[bytes, tuple[float, float]] = {}
        """Paths that go on changing: since when, and until when that is waited for."""
        self._since = 0.0
        """When the first of what is in it was marked."""
        self._closed = False

    def mark(self, path: bytes, wait: float | None = 0.0) -> None:
        """Note that `path` may have changed; a directory stands for all below it, `b""` for everything.

        Args:
            path: which.
            wait: more than 0: it goes on changing, and nothing is told until it is marked with 0, but for no more than so many seconds after
                the first such mark; None: that nobody knows, so that what was said before stands.
        """
        self.last_event_at = time.time()
        if not path:
            self.mark_all()
            return
        with self._lock:
            if wait is None and path in self._writing:
                return
            news = self._begun()
            if wait:
                now = time.monotonic()
                since, until = self._writing.get(path, (now, now))
                self._writing[path] = since, max(until, since + wait)
            elif self._writing.pop(path, None) is not None and not self._writing:
                news = True
            if self._dirty is not None:
                self._dirty.add(path)
            if len(self._dirty or self._writing) > LIMIT:
                self._dirty, news = None, True
                self._writing.clear()
        if news:
            self._ready.put(self)

    def mark_all(self) -> None:
        """Note that anything may have changed."""
        self.last_rescan_at = time.time()
        with self._lock:
            news, self._dirty = self._begun(), None
        if news:
            self._ready.put(self)

    def take(self) -> tuple[frozenset[bytes] | None, float | None]:
        """Empty the box and return what is to be told (None: everything), and when to look into it again (None: when it is marked).

        While somebody writes a file there is nothing to be told, for as long as that is waited for.
        """
        with self._lock:
            if self._closed:
                return frozenset(), None
            now = time.monotonic()
            for path in [path for path, (_, until) in self._writing.items() if until <= now]:
                del self._writing[path]
            latest = self._since + LONGEST_HOLD
            if self._writing and now < latest:
                return frozenset(), min(latest, *(until for _, until in self._writing.values()))
            self._writing.clear()
            dirty, self._dirty = self._dirty, set()
        return None if dirty is None else frozenset(dirty), None

    def close(self) -> None:
        """Tell nothing any more."""
        with self._lock:
            self._closed = True

    def _begun(self) -> bool:
        """Tell whether the box is empty, and that it is not any more."""
        empty = self._dirty is not None and not self._dirty
        if empty:
            self._since = time.monotonic()
        return empty


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
        due: dict[Mailbox, float] = {}
        while True:
            try:
                mailbox = self._ready.get(timeout=_until(due.values()))
            except Empty:
                mailbox = min(due, key=lambda box: due[box])
            if mailbox is None:
                return
            dirty, again = mailbox.take()
            if again is None:
                due.pop(mailbox, None)
            else:
                due[mailbox] = again
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


def _until(times: Iterable[float]) -> float | None:
    """Return the seconds until the first of these times; None: there is none."""
    first = min(times, default=None)
    return None if first is None else max(0.0, first - time.monotonic())
