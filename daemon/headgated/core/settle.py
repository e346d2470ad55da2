"""When a source that changes has changed enough: after a quiet time, and after a latest time however much it goes on."""

from __future__ import annotations


class Settle:
    """Pure timing. `now` is monotonic seconds from the caller; nothing here waits.

    Tell it each change as it is noticed. Act when `due()` is not later than now, and call `acted()` as you begin: a change
    that comes while you act begins a new round and is not lost.
    """

    def __init__(self, quiet: float, latest: float) -> None:
        """Make a timer with nothing pending.

        Args:
            quiet: seconds without a change after which to act; 0: at once.
            latest: seconds after the first change after which to act although changes go on.
        """
        self._quiet = quiet
        self._latest = latest
        self._first: float | None = None
        self._last = 0.0

    @property
    def at_once(self) -> bool:
        """Whether a change is acted on without waiting for anything."""
        return self._quiet <= 0

    def changed(self, now: float) -> None:
        """Note a change."""
        if self._first is None:
            self._first = self._last = now
        self._last = max(self._last, now)

    def due(self) -> float | None:
        """Return when to act, or None where nothing has changed since the last time."""
        if self._first is None:
            return None
        return min(self._last + self._quiet, self._first + self._latest)

    def acted(self) -> None:
        """Forget what has changed so far."""
        self._first = None
