"""What stands at a root may go, come, be replaced: the watch follows the path, not the inode."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from pathlib import Path

import pytest
from tests.unit.effects.watching import (
    NEVER,
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
from headgated.effects.watch.doorstep import CROWD
from headgated.effects.watch.roots import look
from headgated.effects.watch.watches import Watches


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "parent" / "root"
    (root / "sub").mkdir(parents=True)
    return root


@pytest.fixture(params=["told", "probed"])
def probe_interval(request: pytest.FixtureRequest) -> float:
    """Everything here is noticed twice: by an event in the parent, and by probing alone."""
    return NEVER if request.param == "told" else 0.05


def _blind_doorstep(watcher: Watcher, root: Path) -> None:
    """Leave nothing but probing."""
    lookout_of(watcher, root)._doorstep.close()


def _begin(watcher: Watcher, root: Path, probe_interval: float) -> None:
    if probe_interval != NEVER:
        _blind_doorstep(watcher, root)


def test_root_deleted_then_made_again(told: Told, root: Path, probe_interval: float) -> None:
    with watching(told, root, probe_interval=probe_interval) as watcher:
        _begin(watcher, root, probe_interval)
        shutil.rmtree(root)
        assert wait_mode(watcher, root, WatchMode.ABSENT).message == "there is no such directory"
        assert told.everything(root)
        told.forget()
        root.mkdir()
        wait_mode(watcher, root, WatchMode.EVENTS)
        assert told.everything(root)
        assert_sees(told, root)


def test_root_deleted_and_made_again_at_once(told: Told, root: Path, probe_interval: float) -> None:
    """The new directory may have the inode number of the old one; the watch is gone all the same."""
    with watching(told, root, probe_interval=probe_interval) as watcher:
        _begin(watcher, root, probe_interval)
        for _ in range(5):
            shutil.rmtree(root)
            root.mkdir()
        assert told.wait_everything(root)
        assert until(
            lambda: (
                lookout_of(watcher, root).rooted and look(str(root)) == watcher._keepers[str(root)]._standing
            )
        )
        assert_sees_every_directory(told, root)


def test_root_renamed_and_another_put_in_its_place(told: Told, root: Path, probe_interval: float) -> None:
    """watchdog itself goes on watching the old one, under the name of the new one."""
    new, old = root.with_name("new"), root.with_name("old")
    (new / "deep").mkdir(parents=True)
    with watching(told, root, probe_interval=probe_interval) as watcher:
        _begin(watcher, root, probe_interval)
        before = lookout_of(watcher, root)
        root.rename(old)
        new.rename(root)
        assert told.wait_everything(root)
        assert until(lambda: watcher._keepers[str(root)]._standing == look(str(root)))
        assert until(lambda: not before._reader.is_alive())
        assert_sees_every_directory(told, root)
        told.forget()
        (old / "file").touch()
        (root / "last").touch()
        assert told.wait(lambda: b"last" in told.paths(root))
        assert not told.everything(root)
        assert b"file" not in told.paths(root)


def test_root_replaced_by_a_file(told: Told, root: Path, probe_interval: float) -> None:
    with watching(told, root, probe_interval=probe_interval) as watcher:
        _begin(watcher, root, probe_interval)
        shutil.rmtree(root)
        root.write_text("not a directory")
        assert until(lambda: state_of(watcher, root).message == "is not a directory")
        assert state_of(watcher, root).mode is WatchMode.ABSENT
        root.unlink()
        root.mkdir()
        wait_mode(watcher, root, WatchMode.EVENTS)
        assert_sees(told, root)


def test_root_that_is_a_symlink_is_resolved_and_followed_elsewhere(
    told: Told, root: Path, probe_interval: float
) -> None:
    other, link = root.with_name("other"), root.parent.parent / "link"
    (other / "deep").mkdir(parents=True)
    link.symlink_to(root)
    with watching(told, link, probe_interval=probe_interval) as watcher:
        _begin(watcher, link, probe_interval)
        assert_sees_every_directory(told, link, "before")
        told.forget()
        link.with_name("new").symlink_to(other)
        link.with_name("new").rename(link)
        assert told.wait_everything(link)
        assert until(lambda: watcher._keepers[str(link)]._standing == look(str(link)))
        assert_sees_every_directory(told, link)
        link.unlink()
        wait_mode(watcher, link, WatchMode.ABSENT)


def test_missing_root_is_looked_for(told: Told, tmp_path: Path) -> None:
    root = tmp_path / "no" / "such" / "root"
    with watching(told, root, probe_interval=0.1) as watcher:
        assert state_of(watcher, root).mode is WatchMode.ABSENT
        started = time.monotonic()
        root.mkdir(parents=True)
        assert told.wait_everything(root)
        assert time.monotonic() - started < 2
        wait_mode(watcher, root, WatchMode.EVENTS)
        assert_sees(told, root)


def test_grandparent_renamed_is_probed(told: Told, root: Path) -> None:
    with watching(told, root, probe_interval=0.05) as watcher:
        root.parent.rename(root.parent.with_name("elsewhere"))
        wait_mode(watcher, root, WatchMode.ABSENT)
        root.parent.with_name("elsewhere").rename(root.parent)
        wait_mode(watcher, root, WatchMode.EVENTS)
        assert_sees_every_directory(told, root)


def test_symlinked_path_to_the_same_directory_is_followed(told: Told, tmp_path: Path) -> None:
    """The inode is the same, the path below which it is watched is not."""
    (tmp_path / "one" / "conf").mkdir(parents=True)
    (tmp_path / "current").symlink_to("one")
    root = tmp_path / "current" / "conf"
    with watching(told, root, probe_interval=0.05) as watcher:
        (tmp_path / "one").rename(tmp_path / "two")
        (tmp_path / "current").unlink()
        (tmp_path / "current").symlink_to("two")
        assert until(
            lambda: watcher._keepers[str(root)]._standing.real == os.fsencode(tmp_path / "two" / "conf")
        )
        (root / "new").mkdir()
        assert until(lambda: state_of(watcher, root).directories == 2)
        assert_sees_every_directory(told, root)


def test_busy_parent_is_left_to_probing(told: Told, root: Path) -> None:
    with watching(told, root) as watcher:
        doorstep = lookout_of(watcher, root)._doorstep
        for number in range(CROWD + 100):
            (root.parent / f"stranger{number}").touch()
        assert until(lambda: doorstep._strangers > CROWD)
        assert told.changes == []
        watcher._keepers[str(root)]._bell.look()
        assert until(lambda: kernel_watches(lookout_of(watcher, root)) == 3)  # root, sub and the cookie
        shutil.rmtree(root)
        wait_mode(watcher, root, WatchMode.ABSENT)


def test_root_flapping_is_not_rebuilt_each_time(
    told: Told, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with watching(told, root) as watcher:
        for _ in range(200):
            root.rename(root.with_name("away"))
            root.with_name("away").rename(root)
        assert told.wait_everything(root)
        assert sum("anew" in record.message for record in caplog.records) < 10
        wait_mode(watcher, root, WatchMode.EVENTS)
        assert until(lambda: watcher._keepers[str(root)]._standing == look(str(root)))
        assert_sees_every_directory(told, root)


def test_root_that_is_away_for_a_moment_while_it_is_watched_is_watched_whole(
    told: Told, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Afterwards it is the same directory as before, and nothing else would tell that what is in it was not found."""
    listed, away = Watches._list, root.with_name("away")

    def while_away(self: Watches, path: bytes) -> list[bytes]:
        monkeypatch.setattr(Watches, "_list", listed)
        root.rename(away)
        try:
            return listed(self, path)
        finally:
            away.rename(root)

    monkeypatch.setattr(Watches, "_list", while_away)
    with watching(told, root) as watcher:
        wait_mode(watcher, root, WatchMode.EVENTS)
        assert told.wait_everything(root)
        assert_sees_every_directory(told, root)


def test_nested_roots_are_both_told(told: Told, root: Path) -> None:
    with watching(told, root, root / "sub", root.parent) as watcher:
        (root / "sub" / "file").touch()
        assert told.wait_path(root, b"sub/file")
        assert told.wait_path(root / "sub", b"file")
        assert told.wait_path(root.parent, b"root/sub/file")
        watcher.remove(str(root))
        assert_sees(told, root / "sub")


def test_root_given_twice_or_in_two_ways(told: Told, root: Path) -> None:
    ways = [str(root), str(root), f"{root}/", f"{root}/../root"]
    with watching(told, *ways) as watcher:
        assert [state.root for state in watcher.states()] == [ways[0], *ways[2:]]
        (root / "file").touch()
        for way in ways:
            assert told.wait_path(way, b"file")


def test_removed_root_is_not_told_any_more(told: Told, root: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with watching(told, root, tmp_path / "other") as watcher:
        watcher.remove(str(root))
        watcher.remove(str(root))
        (root / "file").touch()
        assert_sees(told, tmp_path / "other")
        assert not told.paths(root)
        watcher.add(str(root))
        assert_sees(told, root)


def test_close_gives_everything_back(told: Told, root: Path) -> None:
    descriptors, threads = set(os.listdir("/proc/self/fd")), set(threading.enumerate())
    with watching(told, *[root] * 2, root.parent, root / "missing") as watcher:
        assert (
            len(set(threading.enumerate()) - threads) == 7
        )  # the one that tells; a keeper and a reader for each root
    watcher.close()
    watcher.add(str(root))
    watcher.remove(str(root))
    assert watcher.states() == []
    assert set(threading.enumerate()) == threads
    assert set(os.listdir("/proc/self/fd")) == descriptors


def test_methods_may_be_called_from_many_threads(told: Told, root: Path) -> None:
    with watching(told) as watcher:

        def add_and_remove() -> None:
            for _ in range(20):
                watcher.add(str(root))
                watcher.states()
                watcher.remove(str(root))

        threads = [threading.Thread(target=add_and_remove) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        watcher.add(str(root))
        assert_sees(told, root)


def test_scans_are_due_again_and_again(told: Told, root: Path, tmp_path: Path) -> None:
    with watching(told, root, tmp_path / "missing", scan_interval=0.1) as watcher:
        assert told.wait_everything(root, times=3)
        assert told.wait_everything(tmp_path / "missing", times=3)
        assert state_of(watcher, root).last_rescan_at == pytest.approx(time.time(), abs=5)


def test_state_tells_what_is_watched_and_when_something_came(told: Told, root: Path) -> None:
    with watching(told, root) as watcher:
        state = state_of(watcher, root)
        assert told.states == [state]
        assert (state.mode, state.message, state.directories) == (WatchMode.EVENTS, "", 2)
        assert (state.last_event_at, state.last_rescan_at) == (None, None)
        assert_sees(told, root)
        assert state_of(watcher, root).last_event_at == pytest.approx(time.time(), abs=5)


def test_error_in_the_state_callback_ends_nothing(root: Path) -> None:
    told = Told()

    def failing(_state: object) -> None:
        raise ValueError("of the callback")

    watcher = Watcher(told.change, on_state=failing, scan_interval=NEVER)
    watcher.add(str(root))
    assert_sees(told, root)
    watcher.close()


def test_only_a_change_of_state_is_logged(told: Told, root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with watching(told, root, scan_interval=0.05, probe_interval=0.02, cookie_interval=0.02):
        assert told.wait_everything(root, times=5)
        shutil.rmtree(root)
        assert told.wait(lambda: told.states and told.states[-1].mode is WatchMode.ABSENT)
        told.forget()
        assert told.wait_everything(root, times=5)
    lines = [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if record.name == "headgated.watch"
    ]
    assert lines == [
        ("INFO", f"watching {root}, directories: 2"),
        ("INFO", f"looking at {root} anew: there is no such directory"),
        ("WARNING", f"not watching {root}: there is no such directory"),
    ]


def test_absence_is_warned_of_but_where_it_is_ordinary(
    told: Told, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A target is not there before anything was deployed to it; one that goes is another matter."""
    caplog.set_level(logging.INFO)
    new = root.parent / "new"
    watcher = Watcher(told.change, on_state=told.state, scan_interval=NEVER, probe_interval=0.02)
    try:
        for path, ordinary in ((root.parent / "missing", False), (new, True)):
            watcher.add(str(path), may_be_absent=ordinary)
        new.mkdir()
        assert told.wait(lambda: told.states and told.states[-1].mode is WatchMode.EVENTS)
        new.rmdir()
        assert told.wait(lambda: told.states and told.states[-1].mode is WatchMode.ABSENT)
    finally:
        watcher.close()
    levels = {
        path.name: [r.levelname for r in caplog.records if r.getMessage().startswith(f"not watching {path}:")]
        for path in (root.parent / "missing", new)
    }
    assert levels == {"missing": ["WARNING"], "new": ["INFO", "WARNING"]}
