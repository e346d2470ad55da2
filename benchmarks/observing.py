"""Tells when new bytes are whole at a target: `limits/observer.c`, a process apart from all that is measured."""

from __future__ import annotations

import select
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.limits import program


@dataclass(frozen=True)
class Seen:
    """One version of one file, seen whole."""

    index: int
    number: int
    nanoseconds: int
    """CLOCK_MONOTONIC, as `time.monotonic_ns`."""


class NotSeenError(Exception):
    """A version did not arrive in time."""


class Observer:
    """Watches files at targets."""

    def __init__(self, files: Sequence[Path], size: int, *, rendered: bool = False) -> None:
        self.torn = self.missing = 0
        self._process = subprocess.Popen(
            [program("observer"), str(size), "rendered" if rendered else "plain", *map(str, files)],
            stdout=subprocess.PIPE,
        )
        self._pending = b""
        while self._line(10) != b"ready":
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def next(self, seconds: float = 10.0) -> Seen:
        """Wait for the next sight of a new version.

        Raises:
            NotSeenError: there was none in time.
        """
        index, number, at, torn, missing = map(int, self._line(seconds).split())
        self.torn, self.missing = torn, missing
        return Seen(index, number, at)

    def wait(self, number: int, seconds: float = 10.0) -> int:
        """Wait until version `number` is seen at the one file; return when, in nanoseconds."""
        end = time.monotonic() + seconds
        while True:
            seen = self.next(end - time.monotonic())
            if seen.number == number:
                return seen.nanoseconds

    def wait_each(self, numbers: dict[int, int], seconds: float = 300.0) -> int:
        """Wait until each file, by index, is seen in its version; return when the last was, in nanoseconds."""
        end, waiting, last = time.monotonic() + seconds, dict(numbers), 0
        while waiting:
            seen = self.next(end - time.monotonic())
            if waiting.get(seen.index) == seen.number:
                del waiting[seen.index]
                last = seen.nanoseconds
        return last

    def _line(self, seconds: float) -> bytes:
        end = time.monotonic() + seconds
        out = self._process.stdout
        while b"\n" not in self._pending:
            if out is None or not select.select([out], [], [], max(0.0, end - time.monotonic()))[0]:
                raise NotSeenError(f"nothing new was seen at the target within {seconds:.1f} s")
            more = out.read1(1 << 16)  # type: ignore[attr-defined] # a pipe is a BufferedReader
            if not more:
                raise RuntimeError("the observer ended")
            self._pending += more
        line, _, self._pending = self._pending.partition(b"\n")
        return line
