"""The daemon, counting: what it asks SQLite for, and how much memory it takes at once. Run as a program by `counting`.

    python -m tests.guard.counted COUNTS [the daemon's own arguments]

On SIGUSR1 it writes what it has counted since the last time to the file COUNTS, as JSON. On SIGUSR2 it begins to follow memory, which makes
everything slower.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sqlite3
import sys
import tracemalloc
from pathlib import Path
from typing import Any

from headgated.__main__ import main

_open = sqlite3.connect


class Counts:
    """What has been counted since it was last told."""

    def __init__(self, told: Path) -> None:
        self._told = told
        self.statements = 0
        self._before = 0

    def connect(self, *arguments: Any, **options: Any) -> sqlite3.Connection:
        """Open a database as SQLite does, and count what it is asked for."""
        connection: sqlite3.Connection = _open(*arguments, **options)
        connection.set_trace_callback(self._statement)
        return connection

    def _statement(self, _statement: str) -> None:
        self.statements += 1

    def follow(self, *_: object) -> None:
        """Begin to follow memory."""
        tracemalloc.start()
        self.tell()

    def tell(self, *_: object) -> None:
        """Write what has been counted, and begin anew."""
        current, peak = tracemalloc.get_traced_memory()
        counts = {"statements": self.statements, "peak": peak - self._before}
        beside = self._told.with_suffix(".new")
        beside.write_text(json.dumps(counts), encoding="utf-8")
        beside.replace(self._told)
        self.statements, self._before = 0, current
        if tracemalloc.is_tracing():
            tracemalloc.reset_peak()


def let_anybody_trace() -> None:
    """Let strace attach although it is not an ancestor, where the kernel asks for that (Yama): PR_SET_PTRACER, ANY."""
    ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1 % 2**64), 0, 0, 0)


def run() -> int:
    """Run the daemon."""
    let_anybody_trace()
    told, *arguments = sys.argv[1:]
    counts = Counts(Path(told))
    sqlite3.connect = counts.connect  # type: ignore[assignment]
    signal.signal(signal.SIGUSR1, counts.tell)
    signal.signal(signal.SIGUSR2, counts.follow)
    return main(arguments)


if __name__ == "__main__":
    os.environ.pop("NOTIFY_SOCKET", None)
    sys.exit(run())
