"""Watches sources: the one noun of this package that others use."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from headgated.effects.watch.dispatch import Dispatch
from headgated.effects.watch.keeper import Keeper, Surroundings
from headgated.effects.watch.mounts import Mounts
from headgated.effects.watch.sharing import Readers
from headgated.effects.watch.state import Pace, WatchState

PATIENCE = 10.0
"""Seconds that `add` waits for a source to be watched, and `close` for all to be let go."""


def _ignore(_state: WatchState) -> None:
    pass


class Watcher:
    """Tells when something in a source may have changed.

    Args:
        on_change: called with a root as it was given to `add` and the paths in it that may have changed, relative; a directory
            stands for all below it, None for everything. Called by one thread, one call at a time; must return soon; what
            comes meanwhile is gathered. May call every method here. What it raises is logged.
        on_state: called when the mode or message of a root changes, by a thread of that root's own.
        scan_interval: about so often, in seconds, None is told for each root whatever events say.
        probe_interval: so often a root is looked at: is it there, is it still the same directory, what is mounted.
        cookie_interval: about so often it is proved that events still come.
        poll_interval: as scan_interval, for a root in mode POLLING.
        clock: seconds; only differences matter. The times in `WatchState` are of the wall clock.
    """

    def __init__(
        self,
        on_change: Callable[[str, frozenset[bytes] | None], None],
        *,
        on_state: Callable[[WatchState], None] = _ignore,
        scan_interval: float = 60.0,
        probe_interval: float = 2.0,
        cookie_interval: float = 30.0,
        poll_interval: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_state = on_state
        self._poll_interval = poll_interval
        self._pace = Pace(scan_interval, probe_interval, cookie_interval, min(poll_interval, scan_interval))
        self._lock = threading.Lock()
        self._keepers: dict[str, Keeper] = {}
        self._closed = False
        self._surroundings = Surroundings(Mounts(), Readers(), clock)
        self._dispatch = Dispatch(on_change)

    def add(self, root: str, *, linger: float = 0.0, may_be_absent: bool = False) -> None:
        """Watch the directory `root`; if there is none, look for it until there is. Again: nothing.

        With `linger`, changes are told some seconds later: cheaper where there are many and none is urgent. With
        `may_be_absent`, that it is not there yet is no reason to warn.

        Every change made after this returned is told; what is there already is for the caller to scan, now. Should setting up
        take longer than ten seconds (a file system that hangs, millions of directories), it goes on by itself and ends with
        a call of `on_change(root, None)`. After `close`: nothing.
        """
        with self._lock:
            if self._closed:
                return
            keeper = self._keepers.get(root)
            if keeper is None:
                mailbox = self._dispatch.mailbox(root)
                keeper = Keeper(
                    root,
                    mailbox,
                    self._surroundings,
                    self._on_state,
                    self._pace,
                    linger,
                    may_be_absent=may_be_absent,
                )
                keeper.start()
                self._keepers[root] = keeper
        keeper.begun(PATIENCE)

    def remove(self, root: str) -> None:
        """Stop watching `root`. A call of `on_change` that is under way ends; none begins. Not watched: nothing."""
        with self._lock:
            keeper = self._keepers.pop(root, None)
        if keeper:
            keeper.stop()
            keeper.join(PATIENCE)

    def close(self) -> None:
        """Stop watching everything. Waits for its threads, but not for one that hangs with a file system."""
        with self._lock:
            keepers, self._keepers = list(self._keepers.values()), {}
            closed, self._closed = self._closed, True
        for keeper in keepers:
            keeper.stop()
        deadline = time.monotonic() + PATIENCE
        for keeper in keepers:
            keeper.join(max(0.0, deadline - time.monotonic()))
        if not closed:
            self._dispatch.close(PATIENCE)
            self._surroundings.mounts.close()

    def scan_every(self, seconds: float) -> None:
        """Change `scan_interval`, from each root's next scan on."""
        with self._lock:
            self._pace = replace(self._pace, scan=seconds, poll=min(self._poll_interval, seconds))
            for keeper in self._keepers.values():
                keeper.keep_pace(self._pace)

    def states(self) -> list[WatchState]:
        """Return how each root is watched, in the order in which they were added."""
        with self._lock:
            return [keeper.state for keeper in self._keepers.values()]
