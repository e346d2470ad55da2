"""Where a run works and how large it is."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Setting:
    """Handed to each benchmark."""

    directory: Path
    """Empty at the start, removed at the end; on the file system that is measured."""
    quick: bool
    _began: float = field(default_factory=time.monotonic)

    def fresh(self, name: str) -> Path:
        """Make a directory that nobody has used before."""
        number = len(list(self.directory.iterdir()))
        made = self.directory / f"{number}-{name}"
        made.mkdir()
        return made

    def say(self, words: str) -> None:
        """Tell whoever waits what goes on."""
        print(f"[{time.monotonic() - self._began:6.0f} s] {words}", file=sys.stderr, flush=True)
