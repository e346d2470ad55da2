"""What one operation on a target works with."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from headgated.effects.beneath import Beneath
from headgated.effects.target.acts import Acts
from headgated.effects.target.failure import failed
from headgated.effects.target.look import Lens
from headgated.effects.target.verdict import State

_AT_ONCE = 16


@dataclass
class Site:
    """The target's directories, held open, with the means to look and to act."""

    beneath: Beneath
    lens: Lens
    acts: Acts
    marks: dict[tuple[int, int], State] = field(default_factory=dict)
    """(device, inode) of what this operation itself has moved, so that undoing it needs to read nothing."""

    def look(self, path: bytes) -> os.stat_result | None:
        """Return the stat of what is at `path`, not following it; None: nothing."""
        directory, name = self.beneath.place(path)
        try:
            return os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def sync_directories(self, paths: Iterable[bytes]) -> None:
        """Bring the names in each of these directories to the disk.

        Raises:
            DeploymentFailedError: it cannot be said what reached the disk.
        """
        wanted = list(paths)
        if len(wanted) == 1:
            self._sync(wanted[0], self.beneath.directory(wanted[0]))
            return
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for start in range(0, len(wanted), _AT_ONCE):
                batch = wanted[start : start + _AT_ONCE]
                list(pool.map(self._sync, batch, [self.beneath.directory(path) for path in batch]))

    def _sync(self, path: bytes, directory: int) -> None:
        try:
            self.acts.sync(directory)
        except OSError as error:
            raise failed("sync", path, error) from error
