"""Everything that watches one standing of one root: a reader, the cookie that proves it, the watches, the doorstep.

Each root has its own; the reader is its own too unless there are many roots (see `sharing`). A lookout is never mended: the keeper
opens a new one.
"""

from __future__ import annotations

import os
from contextlib import ExitStack

from headgated.effects.watch.bell import Bell
from headgated.effects.watch.dispatch import Mailbox
from headgated.effects.watch.doorstep import Doorstep
from headgated.effects.watch.reader import missing
from headgated.effects.watch.roots import Standing
from headgated.effects.watch.sharing import Readers
from headgated.effects.watch.watches import Watches


class Lookout:
    """Watches what stands at a root, and the way to it.

    Raises:
        OSError: if there can be no reader: too many instances, watches or open files, or it does not answer.
    """

    def __init__(
        self,
        root: str,
        standing: Standing,
        mailbox: Mailbox,
        bell: Bell,
        readers: Readers,
        linger: float = 0.0,
    ) -> None:
        if names := missing():
            raise AttributeError(f"it has no {', '.join(names)}")
        self.trouble = ""
        """Why this lookout is of no use any more; empty while it is."""
        self._bell = bell
        self._watches: Watches | None = None
        shared = readers.join(self._report, linger)
        self._shared, self._reader = shared, shared.reader
        paths = {os.fsencode(os.path.abspath(root)), standing.real}
        self._doorstep = Doorstep(self._reader, paths, bell.look)
        with ExitStack() as undo:
            undo.callback(readers.leave, shared, self._report, self._let_go)
            self._doorstep.step()
            if standing.identity:
                self._watches = Watches(self._reader, standing.real, mailbox.mark, bell.ring)
                self._watches.verify()
            self._undo = undo.pop_all()

    @property
    def directories(self) -> int:
        """How many directories are watched."""
        return self._watches.directories if self._watches else 0

    @property
    def rooted(self) -> bool:
        """Whether the root that it was opened for is still watched, if there was one."""
        return self._watches is None or self._watches.rooted

    @property
    def shortfall(self) -> str:
        """Why events do not tell everything; empty if they do."""
        return self._watches.shortfall if self._watches else ""

    def settle(self) -> None:
        """Do what events have asked for."""
        if self._watches:
            self._watches.settle()

    def verify(self) -> int:
        """Go through the whole tree and put right what is not; return how much was not."""
        return self._watches.verify() if self._watches else 0

    def step(self) -> None:
        """Watch the way to the root, as far as it is there now."""
        self._doorstep.step()

    def alive(self) -> bool:
        """Return whether events still come. Waits for up to two seconds where they do not; all who share it are told then."""
        return self._shared.alive()

    def close(self) -> None:
        """Stop watching."""
        self._undo.close()

    def _let_go(self) -> None:
        self._doorstep.close()
        if self._watches:
            self._watches.close()

    def _report(self, why: str) -> None:
        self.trouble = self.trouble or why
        self._bell.ring()
