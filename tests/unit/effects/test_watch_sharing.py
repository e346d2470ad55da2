"""Many roots on few inotify instances: what befalls one of them blinds no other (S4, S5, S6)."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from tests.unit.effects.watching import (
    Told,
    assert_sees,
    assert_sees_every_directory,
    kernel_watches,
    lookout_of,
    state_of,
    until,
    wait_mode,
    watching,
)

from headgated.effects.watch import Watcher, WatchMode
from headgated.effects.watch.lookout import Lookout
from headgated.effects.watch.reader import CONTENT, Event
from headgated.effects.watch.sharing import Readers, Shared


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def roots(tmp_path: Path) -> list[Path]:
    roots = [tmp_path / f"root{number}" for number in range(6)]
    for root in roots:
        (root / "sub").mkdir(parents=True)
    return roots


@contextmanager
def sharing(most: int, told: Told, *roots: Path, **pace: float) -> Iterator[Watcher]:
    """Watch roots with so many readers."""
    with watching(told, **pace) as watcher:
        watcher._surroundings.readers._most = most
        for root in roots:
            watcher.add(str(root))
        yield watcher


def instances() -> int:
    """How many inotify instances this process has."""
    links = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        except OSError:
            continue
    return links.count("anon_inode:inotify")


def test_many_roots_share_few_readers_and_are_told_apart(told: Told, roots: list[Path]) -> None:
    before = instances()
    with sharing(2, told, *roots) as watcher:
        assert instances() - before == 2
        for root in roots:
            (root / root.name).touch()
            assert told.wait_path(root, os.fsencode(root.name))
        for root in roots:
            assert told.paths(root) == {os.fsencode(root.name)}
        assert_sees_every_directory(told, roots[5])
        assert all(state_of(watcher, root).mode is WatchMode.EVENTS for root in roots)
    assert until(lambda: instances() == before)


def test_few_roots_have_a_reader_each(told: Told, roots: list[Path]) -> None:
    with watching(told, *roots[:3]) as watcher:
        assert len({id(lookout_of(watcher, root)._reader) for root in roots[:3]}) == 3


def test_root_that_goes_takes_only_its_own_watches_along(told: Told, roots: list[Path]) -> None:
    with sharing(1, told, *roots) as watcher:
        watches = kernel_watches(lookout_of(watcher, roots[0]))
        watcher.remove(str(roots[0]))
        assert kernel_watches(lookout_of(watcher, roots[1])) == watches - 2
        shutil.rmtree(roots[1])
        wait_mode(watcher, roots[1], WatchMode.ABSENT)
        for root in roots[2:]:
            assert_sees_every_directory(told, root)
        (roots[1] / "sub").mkdir(parents=True)
        wait_mode(watcher, roots[1], WatchMode.EVENTS)
        assert_sees_every_directory(told, roots[1])


def test_overflow_is_told_to_all_who_share_and_to_nobody_else(told: Told, roots: list[Path]) -> None:
    with sharing(2, told, *roots) as watcher:
        old = lookout_of(watcher, roots[0])
        same = [root for root in roots if lookout_of(watcher, root)._reader is old._reader]
        others = {root: lookout_of(watcher, root) for root in roots if root not in same}
        assert len(same) == len(others) == 3
        told.forget()
        old._shared.spend("the test says that the queue overflowed")
        for root in same:
            assert told.wait_everything(root)
            assert until(partial(_renewed, watcher, root, old))
        assert until(lambda: not old._reader.is_alive())
        assert all(lookout_of(watcher, root) is lookout for root, lookout in others.items())
        assert not any(told.everything(root) for root in others)
        for root in roots:
            assert_sees_every_directory(told, root)


def test_shared_reader_that_hangs_is_found_out_by_all(told: Told, roots: list[Path], tmp_path: Path) -> None:
    stuck = _Stuck()
    (tmp_path / "other").mkdir()
    with sharing(1, told, *roots[:3], cookie_interval=0.1) as watcher:
        old = lookout_of(watcher, roots[0])
        old._shared.patience = 0.0
        old._reader.watch(os.fsencode(tmp_path / "other"), CONTENT, stuck)
        (tmp_path / "other" / "file").touch()
        for root in roots[:3]:
            assert told.wait_everything(root)
            assert until(partial(_renewed, watcher, root, old))
        for root in roots[:3]:
            assert_sees(told, root)
        stuck.release.set()
        assert until(lambda: not old._reader.is_alive())


def test_nested_roots_that_share_a_reader_are_both_told(told: Told, roots: list[Path]) -> None:
    outer, inner = roots[0], roots[0] / "sub"
    with sharing(1, told, outer, inner) as watcher:
        (inner / "file").touch()
        assert told.wait_path(outer, b"sub/file")
        assert told.wait_path(inner, b"file")
        watcher.remove(str(inner))
        told.forget()
        (inner / "another").touch()
        assert told.wait_path(outer, b"sub/another")


def test_reader_that_is_spent_is_joined_no_more(tmp_path: Path) -> None:
    readers, told = Readers(1), list[str]()
    first = readers.join(told.append, 0.0)
    again = told.copy
    assert readers.join(print, 0.0) is first
    first.spend("over")
    assert told == ["over"]
    second = readers.join(told.append, 0.0)
    assert second is not first
    assert readers.users == 3
    readers.leave(first, print, lambda: None)
    assert first.reader.is_alive()
    readers.leave(first, told.append, lambda: None)
    readers.leave(second, told.append, lambda: None)
    assert until(lambda: not (first.reader.is_alive() or second.reader.is_alive()))
    assert again() == ["over"]
    del tmp_path


def _renewed(watcher: Watcher, root: Path, old: Lookout) -> bool:
    return lookout_of(watcher, root)._reader is not old._reader


class _Stuck:
    """A callback that keeps the reader's thread."""

    def __init__(self) -> None:
        self.release = threading.Event()

    def on_event(self, event: Event) -> None:
        self.release.wait(30)

    def on_watch_deleted(self, wd: int) -> None:
        pass

    def on_queue_overflow(self) -> None:
        pass


def test_whoever_begins_to_watch_waits_for_no_lingering() -> None:
    """A new reader has to answer before it may take its time."""
    shared = Shared(linger=30.0)
    shared.end()
