"""The reader goes blind in many ways; each is noticed, and a fresh one takes over."""

from __future__ import annotations

import fcntl
import os
import threading
import time
import warnings
import weakref
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
    watching,
)
from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileAttribEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
)
from watchdog.observers.api import EventQueue, ObservedWatch
from watchdog.observers.inotify import InotifyEmitter

from headgated.effects.watch import Watcher, WatchMode
from headgated.effects.watch.cookie import Cookie
from headgated.effects.watch.reader import CONTENT, Event, Flag, Reader, missing

QUEUE = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def root(swift: Path) -> Path:
    root = swift / "root"
    root.mkdir()
    return root


class Weak:
    """Keeps no event from going."""

    def __init__(self) -> None:
        self.events: list[weakref.ref[Event]] = []

    def on_event(self, event: Event) -> None:
        self.events.append(weakref.ref(event))

    def on_watch_deleted(self, wd: int) -> None: ...

    def on_queue_overflow(self) -> None: ...


class Held:
    """Keeps a reader busy: for some seconds at each event, or until it is released."""

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds
        self.release = threading.Event()

    def on_event(self, event: object) -> None:
        self.release.wait(self.seconds)

    def on_watch_deleted(self, wd: int) -> None: ...

    def on_queue_overflow(self) -> None: ...


def _make(root: Path, directories: int) -> None:
    for number in range(60):
        (root / f"a{number}").mkdir()
    for number in range(directories - 60):
        os.mkdir(f"{root}/a{number % 60}/b{number}")


def _overflow(watcher: Watcher, root: Path) -> None:
    """Make more events than the kernel queues, while the reader is held up."""
    names = [root / "one", root / "two"]
    for name in names:
        name.touch()
    lookout = lookout_of(watcher, root)
    assert lookout._watches
    with lookout._watches._lock:
        for number in range(QUEUE + 5000):
            os.utime(names[number % 2])  # equal neighbours would be one event


def _renewed(watcher: Watcher, root: Path, old: object) -> bool:
    keeper = watcher._keepers[str(root)]
    return until(lambda: keeper._lookout is not None and keeper._lookout is not old)


def test_mask_is_that_of_the_events_that_change_something() -> None:
    """Two flags short, and moved directories or new modes go unnoticed; one too many, and every scan makes events."""
    wanted = [
        FileCreatedEvent,
        FileClosedEvent,
        FileModifiedEvent,
        FileMovedEvent,
        FileDeletedEvent,
        FileAttribEvent,
        DirCreatedEvent,
        DirMovedEvent,
        DirDeletedEvent,
    ]
    emitter = InotifyEmitter(
        EventQueue(), ObservedWatch(".", recursive=True), event_filter=wanted, inotify_fd=Reader(print)
    )
    assert (
        emitter.get_event_mask_from_filter() | Flag.IN_ONLYDIR | Flag.IN_DONT_FOLLOW | Flag.IN_EXCL_UNLINK
        == CONTENT
    )
    emitter._inotify_fd.start()
    emitter._inotify_fd.stop()


def test_installed_watchdog_is_as_expected() -> None:
    """Fails first when a new release of watchdog is tried."""
    assert missing() == []


def test_watching_twice_is_silent_and_cheap(root: Path) -> None:
    """watchdog writes its whole table of watches into a warning each time: quadratic."""
    directories = [root / f"d{number}" for number in range(2000)]
    for directory in directories:
        directory.mkdir()
    reader = Reader(print)
    reader.start()
    cookie = Cookie(reader)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        started = time.process_time()
        for _ in range(2):
            for directory in directories:
                reader.watch(os.fsencode(directory), CONTENT, cookie)
        assert time.process_time() - started < 1
    assert caught == []
    reader.retire()
    cookie.close()


def test_descriptors_are_not_inherited() -> None:
    reader = Reader(print)
    assert fcntl.fcntl(reader._inotify_fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    reader.start()
    reader.retire()


@pytest.mark.parametrize("directories", [60, 3_600])
def test_overflow_is_answered_by_a_fresh_reader_and_a_scan(told: Told, root: Path, directories: int) -> None:
    """S4. watchdog itself spins for ever from about 3,500 directories on."""
    _make(root, directories)
    with watching(told, root) as watcher:
        old = lookout_of(watcher, root)
        assert_sees(told, root)
        told.forget()
        _overflow(watcher, root)
        assert told.wait_everything(root)
        assert _renewed(watcher, root, old)
        assert until(lambda: kernel_watches(lookout_of(watcher, root)) == directories + 3)
        assert until(lambda: not old._reader.is_alive())
        time.sleep(0.3)  # not for luck: a second rebuild would show
        assert told.everything(root) <= 3
        assert_sees_every_directory(told, root)


@pytest.mark.slow
@pytest.mark.torture
def test_overflow_with_more_directories_than_events_fit_in_the_queue(told: Told, root: Path) -> None:
    """Taking so many watches back makes more events than the queue holds; a fresh instance has nothing to take back."""
    _make(root, QUEUE + 500)
    with watching(told, root) as watcher:
        old = lookout_of(watcher, root)
        _overflow(watcher, root)
        assert _renewed(watcher, root, old)
        fresh = lookout_of(watcher, root)
        assert_sees(told, root)
        assert lookout_of(watcher, root) is fresh


def test_overflows_again_and_again_are_not_each_answered_at_once(told: Told, root: Path) -> None:
    with watching(told, root) as watcher:
        for again in range(4):
            old = lookout_of(watcher, root)
            told.forget()
            started = time.monotonic()
            old._report("the test says so")
            assert told.wait_everything(root)
            assert _renewed(watcher, root, old)
            if again == 3:
                assert time.monotonic() - started > 0.9


def test_reader_that_dies_is_noticed_at_once(told: Told, root: Path) -> None:
    """Its thread raises, as watchdog's own bookkeeping does now and then."""
    with watching(told, root) as watcher:
        old = lookout_of(watcher, root)
        with open("/proc/self/mem", "rb") as unreadable:  # fails to be read at 0
            kept = os.dup(old._reader._inotify_fd)
            os.dup2(unreadable.fileno(), old._reader._inotify_fd)
        (root / "last words").touch()
        assert told.wait_everything(root)
        assert _renewed(watcher, root, old)
        os.close(kept)
        assert "died" in old.trouble
        assert_sees(told, root)
        assert state_of(watcher, root).mode is WatchMode.EVENTS


def test_reader_whose_descriptor_is_something_else_now_does_not_spin(told: Told, root: Path) -> None:
    with watching(told, root) as watcher:
        old = lookout_of(watcher, root)
        with open(os.devnull, "rb") as empty:
            kept = os.dup(old._reader._inotify_fd)
            os.dup2(empty.fileno(), old._reader._inotify_fd)
        (root / "last words").touch()
        assert _renewed(watcher, root, old)
        os.close(kept)
        assert_sees(told, root)


def test_reader_that_hangs_is_found_out_by_the_cookie(told: Told, root: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with watching(told, root, cookie_interval=0.1) as watcher:
        old = lookout_of(watcher, root)
        held = Held()
        old._reader.watch(os.fsencode(tmp_path / "other"), CONTENT, held)
        (tmp_path / "other" / "file").touch()
        assert told.wait_everything(root)
        assert _renewed(watcher, root, old)
        assert_sees(told, root)
        held.release.set()
        assert until(lambda: not old._reader.is_alive())


def test_busy_reader_is_not_taken_for_a_dead_one(root: Path) -> None:
    """It works slowly through a full queue for longer than the cookie's patience."""
    reader = Reader(print)
    reader.start()
    cookie = Cookie(reader)

    reader.watch(os.fsencode(root), CONTENT, Held(0.02))
    for number in range(40):
        (root / str(number)).write_text("three events")
    started = time.monotonic()
    assert cookie.alive()
    assert time.monotonic() - started > 2
    reader.retire()
    cookie.close()


def test_cookie_leaves_nothing_behind_and_needs_no_watch_of_its_own(told: Told, root: Path) -> None:
    with watching(told, root, cookie_interval=0.01) as watcher:
        watches = kernel_watches(lookout_of(watcher, root))
        progress = lookout_of(watcher, root)._reader.progress
        assert until(lambda: lookout_of(watcher, root)._reader.progress > progress + 10)
        assert kernel_watches(lookout_of(watcher, root)) == watches
        assert told.changes == []
        assert os.listdir(root) == []


def test_unforeseen_error_of_the_keeper_is_survived(
    told: Told, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with watching(told, root, probe_interval=0.05) as watcher:
        keeper = watcher._keepers[str(root)]
        mounts, keeper._mounts = keeper._mounts, None  # type: ignore[assignment]
        assert told.wait_everything(root)
        keeper._mounts = mounts
        assert_sees(told, root)
        assert until(lambda: not keeper._failing)
    assert sum(record.levelname == "ERROR" for record in caplog.records) == 1


def test_reader_that_waits_keeps_no_events(root: Path) -> None:
    def report(why: str) -> None:
        pytest.fail(why)

    reader, weak = Reader(report), Weak()
    reader.linger = 0.2
    reader.start()
    try:
        reader.watch(os.fsencode(root), CONTENT, weak)
        for number in range(20):
            (root / str(number)).touch()
        until(lambda: len(weak.events) >= 40)
        until(lambda: sum(event() is not None for event in weak.events) <= 1)
    finally:
        reader.retire()
