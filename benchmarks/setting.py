"""Where a run works and how large it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Setting:
    """Handed to each benchmark."""

    directory: Path
    """Empty at the start, removed at the end; on the file system that is measured."""
    quick: bool
    minutes: float = 10.0
    """How long the rounds of one benchmark may take, about."""
    most: int = 100_000
    """Files in the largest tree."""
    _began: float = field(default_factory=time.monotonic)

    def sizes(self, *sizes: int) -> tuple[int, ...]:
        """Return those sizes of trees that are asked for, the smallest in any case."""
        return tuple(size for size in sizes if size <= max(self.most, sizes[0]))

    def rounds(self, wanted: int, share: float = 1.0) -> Iterator[int]:
        """Yield the numbers of the rounds: as many as are wanted, fewer where the time does not suffice, one at least.

        Args:
            wanted: how many.
            share: of the minutes that one benchmark may take.
        """
        began = time.monotonic()
        for number in range(wanted):
            each = (time.monotonic() - began) / number if number else 0.0
            if number and time.monotonic() - began + each > self.minutes * 60 * share:
                return
            yield number

    def fresh(self, name: str) -> Path:
        """Make a directory that nobody has used before."""
        number = len(list(self.directory.iterdir()))
        made = self.directory / f"{number}-{name}"
        made.mkdir()
        return made

    def say(self, words: str) -> None:
        """Tell whoever waits what goes on."""
        print(f"[{time.monotonic() - self._began:6.0f} s] {words}", file=sys.stderr, flush=True)
