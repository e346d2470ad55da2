"""Knows the blocking work under way, and tells work that is stuck from work that takes long.

What counts as progress is what the kernel sees of the thread that does the work:

- It reads, writes or computes: it gets on, however slowly.
- It waits for the kernel (a disk, a file system over a network, a command): it is slow, not stuck. A restart would not make the
  disk faster, and would cost everybody else the daemon.
- It waits for a lock and nothing else, for longer than the patience, and no other work that has been there all that time gets on
  and might hold the lock: that is a deadlock. It is stuck.
- It has computed for ten times the patience and neither read nor written a byte: it goes round in circles. It is stuck.

Promises to be on the side of going on where there is doubt; what cannot be told is not called stuck.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from headgated.effects.threads import ThreadLook, any_on_disk, look

P = ParamSpec("P")
T = TypeVar("T")
CIRCLES = 10
"""How many times the patience a thread may compute without any reading or writing."""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Finding:
    """Work that is stuck, or that waits."""

    what: str
    seconds: float
    """For how long."""
    trace: str = ""
    """Where it is, as a traceback."""


@dataclass(slots=True, eq=False)
class _Work:
    what: str
    thread: int
    ident: int
    began: float
    well_at: float
    """When it was last seen to get on, or to wait for the kernel."""
    moved_at: float
    """When it was last seen to get on."""
    seen: ThreadLook | None = None
    cpu_at_io: int = 0
    """Clock ticks used when it was last seen to have read or written, or to wait for the kernel."""

    @property
    def computed(self) -> float:
        """Seconds of processor time since it last read or wrote."""
        return 0.0 if self.seen is None else (self.seen.cpu - self.cpu_at_io) / _TICKS


class Vigil:
    """Watches over blocking work. Thread-safe; `look` is called by one thread.

    Args:
        patience: seconds that work may stand still before it counts as stuck.
        clock: seconds; only differences matter.
    """

    def __init__(self, patience: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.patience, self._clock = patience, clock
        self._work: set[_Work] = set()
        self._lock = threading.Lock()

    def watched(self, function: Callable[P, T], what: str) -> Callable[P, T]:
        """Return `function` made so that it is watched while it runs, in whatever thread."""

        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            with self.over(what):
                return function(*args, **kwargs)

        return run

    @contextmanager
    def over(self, what: str) -> Iterator[None]:
        """Watch over what this thread does inside."""
        now = self._clock()
        work = _Work(what, threading.get_native_id(), threading.get_ident(), now, now, now)
        with self._lock:
            self._work.add(work)
        try:
            yield
        finally:
            with self._lock:
                self._work.discard(work)

    def look(self) -> list[Finding]:
        """Look at all work; returns what is stuck. Call it several times within the patience."""
        now = self._clock()
        works = self._all()
        for work in works:
            _look_at(work, now)
        circling = [work for work in works if work.computed > CIRCLES * self.patience]
        locked = [work for work in works if self._locked(work, works, now)]
        if locked and any_on_disk():
            locked = []  # A thread that is nobody's work may hold the lock while it writes.
        return [Finding(work.what, now - work.moved_at, _trace(work.ident)) for work in (*circling, *locked)]

    def waiting(self) -> list[Finding]:
        """Return the work that has stood still for longer than the patience, the longest first; slow, or stuck."""
        now = self._clock()
        late = [work for work in self._all() if now - work.moved_at > self.patience]
        return [Finding(work.what, now - work.moved_at) for work in sorted(late, key=lambda w: w.moved_at)]

    def _all(self) -> list[_Work]:
        with self._lock:
            return list(self._work)

    def _locked(self, work: _Work, works: list[_Work], now: float) -> bool:
        if now - work.well_at <= self.patience:
            return False
        # Who holds the lock has held it since before; only work that old, and well, is a reason to wait on.
        older = (other for other in works if other is not work and other.began <= work.well_at)
        return not any(now - other.well_at <= self.patience for other in older)


def _look_at(work: _Work, now: float) -> None:
    found, before = look(work.thread), work.seen
    work.seen = found
    if found is None:
        work.well_at = now
        return
    if found.in_kernel:
        work.well_at = now
    if found.in_kernel or before is None or not found.io or found.io != before.io:
        work.cpu_at_io = found.cpu
    if before is not None and found != before:
        work.well_at = work.moved_at = now


def _trace(ident: int) -> str:
    frame = sys._current_frames().get(ident)  # noqa: SLF001 - documented, the only way to see another thread
    return "" if frame is None else "".join(traceback.format_stack(frame)).rstrip()
