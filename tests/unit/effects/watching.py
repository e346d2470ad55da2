"""What the tests of watching share: somebody who is told, and who knows how to wait for it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgated.effects.watch import Watcher, WatchMode, WatchState

if TYPE_CHECKING:
    from headgated.effects.watch.lookout import (
        Lookout,
    )  # not at run time: some tests have a watchdog without it

PATIENCE = 10.0
"""Seconds until something that should have happened counts as not happening."""
NEVER = 3600.0
"""An interval that ends after every test."""


class Told:
    """Everything that a watcher has told, in order."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self.changes: list[tuple[str, frozenset[bytes] | None]] = []
        self.states: list[WatchState] = []

    def change(self, root: str, paths: frozenset[bytes] | None) -> None:
        with self._news:
            self.changes.append((root, paths))
            self._news.notify_all()

    def state(self, state: WatchState) -> None:
        with self._news:
            self.states.append(state)
            self._news.notify_all()

    def forget(self) -> None:
        with self._news:
            self.changes.clear()
            self.states.clear()

    def paths(self, root: Path | str) -> set[bytes]:
        with self._news:
            return {path for at, paths in self.changes if at == str(root) for path in paths or ()}

    def everything(self, root: Path | str) -> int:
        """How often "everything" was told."""
        with self._news:
            return sum(at == str(root) and paths is None for at, paths in self.changes)

    def uncovered(self, root: Path | str, wanted: set[bytes]) -> set[bytes]:
        """Those of the wanted paths that neither they nor a directory above them, nor everything, was told."""
        if self.everything(root):
            return set()
        told = self.paths(root)
        return {path for path in wanted if not told.intersection(_with_parents(path))}

    def wait(self, happened: Callable[[], object], timeout: float = PATIENCE) -> bool:
        with self._news:
            return self._news.wait_for(lambda: bool(happened()), timeout)

    def wait_path(self, root: Path | str, *wanted: bytes, timeout: float = PATIENCE) -> bool:
        return self.wait(lambda: not self.uncovered(root, set(wanted)), timeout)

    def wait_everything(self, root: Path | str, times: int = 1, timeout: float = PATIENCE) -> bool:
        return self.wait(lambda: self.everything(root) >= times, timeout)


def _with_parents(path: bytes) -> Iterator[bytes]:
    while path:
        yield path
        path = path.rpartition(b"/")[0]


@contextmanager
def watching(told: Told, *roots: Path | str, **pace: Any) -> Iterator[Watcher]:
    """Watch roots; by events only, unless a pace is given."""
    pace = {"scan_interval": NEVER, "probe_interval": NEVER, "cookie_interval": NEVER} | pace
    watcher = Watcher(told.change, on_state=told.state, **pace)
    try:
        for root in roots:
            watcher.add(str(root))
        yield watcher
    finally:
        watcher.close()


def state_of(watcher: Watcher, root: Path | str) -> WatchState:
    return next(state for state in watcher.states() if state.root == str(root))


def wait_mode(watcher: Watcher, root: Path | str, mode: WatchMode, timeout: float = PATIENCE) -> WatchState:
    assert until(lambda: state_of(watcher, root).mode is mode, timeout), state_of(watcher, root)
    return state_of(watcher, root)


def until(happened: Callable[[], object], timeout: float = PATIENCE) -> bool:
    deadline = time.monotonic() + timeout
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def lookout_of(watcher: Watcher, root: Path | str) -> Lookout:
    lookout = watcher._keepers[str(root)]._lookout
    assert lookout
    return lookout


def kernel_watches(lookout: Lookout) -> int:
    """How many watches the kernel says there are."""
    descriptor = lookout._reader._inotify_fd
    return Path(f"/proc/self/fdinfo/{descriptor}").read_text().count("inotify wd:")


def directories_in(top: Path | str) -> list[str]:
    return [directory for directory, _, _ in os.walk(top)]


def relative(path: Path | str, root: Path | str) -> bytes:
    return os.fsencode(os.path.relpath(path, root))


def assert_sees(told: Told, root: Path | str, name: str = "probe") -> None:
    """A change made now is told, by its path or as everything."""
    told.forget()
    Path(root, name).write_text(name)
    assert told.wait_path(root, os.fsencode(name)), (told.changes, told.states)


def assert_sees_every_directory(told: Told, root: Path | str, name: str = "probe") -> None:
    told.forget()
    wanted = set()
    for directory in directories_in(root):
        Path(directory, name).touch()
        wanted.add(relative(Path(directory, name), root))
    assert told.wait(lambda: not told.uncovered(root, wanted)), sorted(told.uncovered(root, wanted))[:5]
