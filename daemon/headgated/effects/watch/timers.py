"""When the keeper of a source is to do what."""

from __future__ import annotations

import random
from collections.abc import Callable


class Timers:
    """Named moments. Not thread-safe; the clock, in seconds, only has to go forward."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: dict[str, float] = {}

    def set(self, name: str, delay: float) -> None:
        """Let `name` be due in `delay` seconds, whatever was set before."""
        self._due[name] = self._clock() + delay

    def hasten(self, name: str, delay: float) -> None:
        """Let `name` be due in `delay` seconds, or sooner if it was."""
        self._due[name] = min(self._clock() + delay, self._due.get(name, float("inf")))

    def running(self, name: str) -> bool:
        """Return whether `name` is set and was not taken yet."""
        return name in self._due

    def drop(self, name: str) -> None:
        """Let `name` not be due."""
        self._due.pop(name, None)

    def take(self, name: str) -> bool:
        """Return whether `name` is due, once."""
        if self._due.get(name, float("inf")) > self._clock():
            return False
        del self._due[name]
        return True

    def wait(self) -> float:
        """Return how many seconds there are until anything is due."""
        return max(0.0, min(self._due.values(), default=3600.0) - self._clock())


class Backoff:
    """Growing delays: some tries are free, then `first` seconds, twice as much each time, at most `cap`."""

    def __init__(self, first: float, cap: float, free: int = 0) -> None:
        self._first = first
        self._cap = cap
        self._free = free
        self._tries = 0

    def next(self) -> float:
        """Return the seconds to wait before the next try."""
        self._tries += 1
        if self._tries <= self._free:
            return 0.0
        return min(self._cap, self._first * 2.0 ** min(self._tries - self._free - 1, 30))

    def reset(self) -> None:
        """Begin anew: it works again."""
        self._tries = 0


def spread(interval: float, least: float = 0.9) -> float:
    """Return about `interval` seconds, so that what starts together does not go on together."""
    return interval * random.uniform(least, 1.1)  # noqa: S311  # spreads load, hides nothing
