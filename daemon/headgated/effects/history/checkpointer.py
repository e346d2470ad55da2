"""Brings the write-ahead log to the disk and into the main file, on a thread and a connection of its own.

Does nothing, and is not even there, until a few megabytes were written. Then it syncs what large deployments write, so that
nobody else's commit has to wait for that, and checkpoints in a quiet moment, or at last without one. Nothing depends on it
but time and room: what fails is tried again after the next writes.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger("headgated.history")

EARLY = 4 * 1024 * 1024
"""Bytes of log after which a quiet moment is looked for."""
LATE = 64 * 1024 * 1024
"""Bytes of log after which no quiet moment is waited for."""
_QUIET = 0.02
"""Seconds without a write."""


class Checkpointer:
    """Keeps the log of a database short. Thread-safe.

    Args:
        path: the database.
        prepare: called once, when much was written for the first time.
        sync: syncs what was written, where that is much.
    """

    def __init__(self, path: Path, prepare: Callable[[], None], sync: Callable[[], None]) -> None:
        self._path, self._prepare, self._sync = path, prepare, sync
        self._pending = 0
        self._last = 0.0
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        """Guards the numbers."""
        self._running = threading.Lock()
        """Held during a checkpoint: a second one beside it would do nothing and say that it is done."""

    def written(self, size: int) -> None:
        """Note that the log has grown by `size` bytes."""
        with self._lock:
            self._pending += size
            self._last = time.monotonic()
            if self._pending < EARLY or self._stop.is_set():
                return
            self._wake.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="history-checkpoints", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Stop, after a checkpoint under way."""
        with self._lock:
            self._stop.set()
            self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def checkpoint(self) -> bool:
        """Checkpoint passively: hinder neither readers nor writers. Tell whether another one is needed.

        The log starts over only after a checkpoint during which nobody wrote.
        """
        with self._running:
            with self._lock:
                self._pending = 0
            if not self._try():
                return False
            with self._lock:
                return self._pending > 0

    def _try(self) -> bool:
        try:
            sql = sqlite3.connect(self._path, timeout=5.0, isolation_level=None)
            try:
                sql.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            finally:
                sql.close()
        except sqlite3.Error as error:
            log.warning("cannot bring the log of %s into it: %s", self._path, error)
            return False
        return True

    def _run(self) -> None:
        self._prepare()
        while not self._stop.is_set():
            self._wake.wait()
            self._wake.clear()
            again = True
            while again:
                while self._busy() and not self._stop.wait(_QUIET):
                    self._sync()
                again = not self._stop.is_set() and self.checkpoint()

    def _busy(self) -> bool:
        with self._lock:
            return self._pending < LATE and time.monotonic() - self._last < _QUIET
