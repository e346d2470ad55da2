"""Threads for blocking work: at most so many that work, and besides them those that only wait for a service.

A reload that is tried for minutes, or a health probe, keeps its thread. While it does so another may work in its place: environments
that wait, however many, hold up no other.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress


class Pool(ThreadPoolExecutor):
    """Runs functions in threads. Thread-safe.

    Args:
        most: how many threads there may be, besides those that wait.
        name: how their names begin.
    """

    def __init__(self, most: int, name: str) -> None:
        super().__init__(most, thread_name_prefix=name)
        self._changing = threading.Lock()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Let another thread work while this one only waits."""
        self._allow(1)
        try:
            with suppress(RuntimeError):  # It is closed: nothing more is to be done.
                self.submit(_nothing)  # What is queued already is taken up only when more comes.
            yield
        finally:
            self._allow(-1)

    def _allow(self, more: int) -> None:
        with self._changing:
            self._max_workers += more


def _nothing() -> None:
    """Nothing is to be done."""
