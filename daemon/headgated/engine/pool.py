"""Threads for blocking work: at most so many that work, and besides them those that only wait for a service.

A reload that is tried for minutes, or a health probe, keeps its thread. While it does so another may work in its place: environments
that wait, however many, hold up no other.

The standard library's pool guesses from past work whether a thread is free, and may guess wrong where threads wait for longer than
they work: what is queued then stays there. This one counts.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Task:
    """A call, and the future that waits for what comes of it."""

    future: Future[Any]
    call: Callable[[], Any]

    def carry_out(self) -> None:
        """Call, and put into the future what comes of it, whatever it is."""
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self.call()
        except BaseException as error:  # noqa: BLE001 - it is for who asked
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class Pool(Executor):
    """Runs functions in threads, in the order in which they come. Thread-safe.

    Args:
        most: how many threads may work at once, besides those that wait.
        name: how their names begin.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most, self._name = most, name
        self._changed = threading.Condition()
        self._queue: deque[Task] = deque()
        self._threads: set[threading.Thread] = set()
        self._idle = self._waiting = self._begun = 0
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a function as soon as a thread is free for it.

        Raises:
            RuntimeError: if the pool is closed.
        """
        future: Future[T] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("cannot take up work: the pool of threads is closed")
            self._queue.append(Task(future, partial(fn, *args, **kwargs)))
            self._call_up()
        return future

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Let another thread work while this one only waits."""
        with self._changed:
            self._waiting += 1
            self._call_up()
        try:
            yield
        finally:
            with self._changed:
                self._waiting -= 1

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as every executor has it
        """Take up no more; what is queued is still done, unless it is to be cancelled. Wait for the threads to end, if wished."""
        with self._changed:
            self._closed = True
            given_up = tuple(self._queue) if cancel_futures else ()
            if cancel_futures:
                self._queue.clear()
            self._changed.notify_all()
            threads = tuple(self._threads)
        for task in given_up:
            task.future.cancel()
        for thread in threads if wait else ():
            thread.join()

    def _call_up(self) -> None:
        """See to it that somebody does what is queued. The caller holds the lock."""
        if self._idle:
            self._changed.notify(min(self._idle, len(self._queue)))
        if self._idle < len(self._queue) and self._working() < self._most:
            self._begun += 1
            # Not waited for when the interpreter ends: who owns the pool shuts it down, or leaves on purpose what hangs.
            thread = threading.Thread(target=self._work, name=f"{self._name}_{self._begun}", daemon=True)
            self._threads.add(thread)
            thread.start()

    def _working(self) -> int:
        return len(self._threads) - self._waiting

    def _work(self) -> None:
        """Do what is queued, until the pool is closed or, after a wait of others, there are threads enough without this one."""
        while (task := self._next()) is not None:
            task.carry_out()
            del task  # What it refers to is not kept while nothing comes.

    def _next(self) -> Task | None:
        with self._changed:
            while not self._queue and not self._closed and self._working() <= self._most:
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            if self._queue and self._working() <= self._most:
                return self._queue.popleft()
            self._threads.discard(threading.current_thread())
            self._call_up()  # What this one was woken for is for another.
            return None
