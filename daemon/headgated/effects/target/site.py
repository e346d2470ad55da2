"""What one operation on a target works with."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from headgated.effects.beneath import Beneath
from headgated.effects.target.acts import Acts
from headgated.effects.target.look import Lens
from headgated.effects.target.verdict import State


@dataclass
class Site:
    """The target's directories, held open, with the means to look and to act."""

    beneath: Beneath
    lens: Lens
    acts: Acts
    marks: dict[tuple[int, int], State] = field(default_factory=dict)
    """(device, inode) of what this operation itself has moved, so that undoing it needs to read nothing."""
    changed: set[bytes] | None = None
    """Directories whose attributes this operation itself has begun to change; None: it does not know."""

    def look(self, path: bytes) -> os.stat_result | None:
        """Return the stat of what is at `path`, not following it; None: nothing."""
        directory, name = self.beneath.place(path)
        try:
            return os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return None
