"""Watches, event by event: the reader's thread is not started, and moves happen in the very moment that hurts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.effects.watching import directories_in, relative

from headgated.core.paths import join
from headgated.effects.watch.reader import Callback, Descriptor, Flags, Reader
from headgated.effects.watch.watches import Watches


class Meddled(Reader):
    """Somebody acts just before a path is watched."""

    def __init__(self) -> None:
        super().__init__(print)
        self.before: dict[bytes, Callable[[], object]] = {}

    def watch(self, path: bytes, wanted: Flags, callback: Callback) -> Descriptor:
        self.before.pop(path, lambda: None)()
        return super().watch(path, wanted, callback)

    def pump(self) -> None:
        """Hand out what is in the queue."""
        for event in self.read_events():
            self.handle_event(event)


@pytest.fixture
def reader() -> Iterator[Meddled]:
    reader = Meddled()
    reader._is_reading = False
    yield reader
    reader.retire()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "p" / "deep").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    return tmp_path / "root"


def _watches(reader: Reader, root: Path, marked: list[bytes]) -> Watches:
    def mark(path: bytes, _wait: float | None) -> None:
        marked.append(path)

    watches = Watches(reader, os.fsencode(root), mark, lambda: None)
    watches.verify()
    return watches


def _held(watches: Watches) -> set[bytes]:
    return set(watches._register._descriptors)


def _there(root: Path) -> set[bytes]:
    return {b"" if path == str(root) else relative(path, root) for path in directories_in(root)}


def test_directory_that_comes_back_is_looked_through(reader: Meddled, root: Path) -> None:
    """A child came while its parent was away; that was told under a path where there was nothing at that moment."""
    watches, away = _watches(reader, root, []), root.parent / "out" / "p"
    (root / "p").rename(away)
    (away / "child").mkdir()
    away.rename(root / "p")
    reader.pump()
    reader.before[os.fsencode(root / "p" / "child")] = lambda: (root / "p").rename(away)
    watches.settle()
    away.rename(root / "p")
    reader.pump()
    watches.settle()
    assert _held(watches) == _there(root)


def test_exchanged_directories_keep_their_watches(reader: Meddled, root: Path) -> None:
    """Nothing is taken from the kernel and given back, which for a large tree would make a storm of events."""
    (root / "q" / "other").mkdir(parents=True)
    watches = _watches(reader, root, [])
    before = set(watches._register._paths)
    (root / "p").rename(root / "x")
    (root / "q").rename(root / "p")
    (root / "x").rename(root / "q")
    reader.pump()
    watches.settle()
    assert _held(watches) == _there(root)
    assert set(watches._register._paths) == before


def test_child_recorded_below_a_parent_that_is_not_is_let_go_with_it(reader: Meddled, root: Path) -> None:
    """The parent is gone when it is looked at, back when its child is, and then all above it goes."""
    watches, away = _watches(reader, root, []), root.parent / "out" / "deep"
    (root / "p" / "deep" / "child").mkdir()
    (root / "p" / "deep").rename(away)
    reader.pump()
    reader.before[os.fsencode(root / "p" / "deep" / "child")] = lambda: away.rename(root / "p" / "deep")
    reader.before[os.fsencode(root / "p")] = lambda: (root / "p").rename(root.parent / "out" / "p")
    watches._unsettled = {b"p/deep": True, b"p/deep/child": False, b"p": True}
    watches.settle()
    reader.pump()
    watches.settle()
    assert reader.before == {}
    assert _held(watches) == {b""}
    assert watches._register.below(b"") == set()


def test_what_is_wrong_is_found_and_put_right(reader: Meddled, root: Path) -> None:
    watches = _watches(reader, root, [])
    assert watches.verify() == 0
    (root / "new" / "er").mkdir(parents=True)
    (root / "p" / "deep").rmdir()
    assert watches.verify() == 3
    assert _held(watches) == _there(root)
    assert watches.verify() == 0


def test_many_paths_to_look_at_are_one_look_at_everything(reader: Meddled, root: Path) -> None:
    marked: list[bytes] = []
    watches = _watches(reader, root, marked)
    watches._unsettled = {b"d%d" % number: False for number in range(10_001)}
    watches.settle()
    assert marked == [b""]


def test_path_too_long_to_watch_is_a_shortfall(reader: Meddled, root: Path) -> None:
    """The scan goes by descriptors and gets there all the same."""
    watches = _watches(reader, root, [])
    assert watches.shortfall == ""
    place, path = os.open(root, os.O_RDONLY), b""
    for _ in range(20):
        os.mkdir("n" * 250, dir_fd=place)
        below = os.open("n" * 250, os.O_RDONLY, dir_fd=place)
        os.close(place)
        place, path = below, join(path, b"n" * 250)
    os.close(place)
    watches.verify()
    assert "directories cannot be watched" in watches.shortfall
    assert "File name too long" in watches.shortfall
