"""What wakes the keeper of a source."""

from __future__ import annotations

import threading


class Bell:
    """Rung from any thread, heard by the one that waits. Ringing is O(1) and never waits."""

    def __init__(self) -> None:
        self._rung = threading.Event()
        self._look = False

    def ring(self) -> None:
        """Wake the keeper: there is work."""
        self._rung.set()

    def look(self) -> None:
        """Wake the keeper, and ask it to look whether the root is still the same."""
        self._look = True
        self._rung.set()

    def wait(self, timeout: float) -> None:
        """Wait until somebody rings, at most `timeout` seconds."""
        self._rung.wait(timeout)
        self._rung.clear()

    def take_look(self) -> bool:
        """Return whether somebody asked to look, and forget it."""
        asked, self._look = self._look, False
        return asked
