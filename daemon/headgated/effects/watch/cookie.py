"""Proof that events still come: change something that nobody else has, and wait for its event.

The cookie is a file in memory. Its event goes through the same kernel queue, thread and tables as all others, so that it comes
back only if these live. It lies in no directory: sources may be read-only or belong to others, a state directory may be full,
and a killed daemon leaves nothing behind. It needs one watch for life, none for each try, so it works at the watch limit too.
What it cannot prove, that each directory is watched, the descriptors in `watches` and the identity in `roots` do.
"""

from __future__ import annotations

import os
import threading

from headgated.effects.watch.reader import Descriptor, Event, Flag, Reader, mask

PATIENCE = 2.0
"""Seconds without any sign of life until a reader counts as dead."""


class Cookie:
    """Asks one reader whether it is alive."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._back = threading.Event()
        self._file = os.memfd_create("headgate-cookie")
        try:
            reader.watch(b"/proc/self/fd/%d" % self._file, mask(Flag.IN_ATTRIB), self)
        except OSError:
            os.close(self._file)
            raise

    def alive(self) -> bool:
        """Put the cookie down and wait for it: at once where all is well, patiently while the reader is busy."""
        self._back.clear()
        os.fchmod(self._file, 0o600)
        before = self._reader.progress
        while self._reader.is_alive():
            if self._back.wait(PATIENCE):  # somebody else may have put it down again since
                return True
            if self._reader.progress == before:
                return False
            before = self._reader.progress
        return False

    def close(self) -> None:
        """Throw the cookie away."""
        os.close(self._file)

    def on_event(self, event: Event) -> None:
        """It came back."""
        if event.is_attrib:
            self._back.set()

    def on_watch_deleted(self, wd: Descriptor) -> None:
        """Nothing to do: the next try fails."""

    def on_queue_overflow(self) -> None:
        """Nothing to do: the reader tells."""
