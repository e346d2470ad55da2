"""What needs a world of its own: mounts, limits, missing rights, another version of watchdog.

Scenarios run in a child process with namespaces of its own, where that is allowed, so that they need no root and disturb
nobody. A scenario is a function here; a child gets the names of some and a directory, and makes one for each.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import watchdog
from tests.unit.effects.watching import (
    NEVER,
    Told,
    assert_sees,
    assert_sees_every_directory,
    lookout_of,
    state_of,
    until,
    wait_mode,
    watching,
)

from headgated.effects.watch import WatchMode

Scenario = Callable[[Path], None]

HERE = Path(__file__)
TOP = HERE.parents[3]
MOUNTS = ["unshare", "--user", "--map-root-user", "--mount"]
LIMITS = ["unshare", "--user", "--map-root-user"]
WATCH_LIMIT = Path("/proc/sys/user/max_inotify_watches")
INSTANCE_LIMIT = Path("/proc/sys/user/max_inotify_instances")


def _run(prefix: list[str], directory: Path, *scenarios: Scenario, **environment: str) -> None:
    names = [scenario.__name__ for scenario in scenarios]
    child = subprocess.run(
        [
            *prefix,
            sys.executable,
            "-W",
            "error",
            "-m",
            f"tests.unit.effects.{HERE.stem}",
            str(directory),
            *names,
        ],
        cwd=TOP,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert child.returncode == 0, child.stderr


def _needs(prefix: list[str]) -> None:
    tried = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"{' '.join(prefix)} is not allowed here: {tried.stderr.strip()}")


def _mount(point: Path, *options: str) -> None:
    subprocess.run(["mount", *options, str(point)], check=True)


def _unmount(point: Path, *options: str) -> None:
    subprocess.run(["umount", *options, str(point)], check=True)


def _tmpfs(point: Path) -> None:
    _mount(point, "-t", "tmpfs", "none")


def root_unmounted_and_mounted_again(top: Path) -> None:
    """S6. An event tells it at once; nothing else would but probing."""
    root, told = top / "root", Told()
    root.mkdir()
    _tmpfs(root)
    (root / "sub").mkdir()
    with watching(told, root, probe_interval=NEVER) as watcher:
        assert state_of(watcher, root).directories == 2
        _unmount(root)
        assert told.wait_everything(root)
        assert until(lambda: state_of(watcher, root).directories == 1)
        assert_sees_every_directory(told, root)
    with watching(told, root, probe_interval=0.05) as watcher:
        told.forget()
        _tmpfs(root)
        (root / "sub").mkdir()
        assert told.wait_everything(root)
        assert until(lambda: state_of(watcher, root).directories == 2)
        assert_sees_every_directory(told, root)


def root_unmounted_lazily(top: Path) -> None:
    root, told = top / "root", Told()
    root.mkdir()
    _tmpfs(root)
    with watching(told, root, probe_interval=0.05), (root / "open").open("w"):
        _unmount(root, "--lazy")
        assert told.wait_everything(root)
        assert_sees(told, root)


def mounted_below_the_root(top: Path) -> None:
    """No event at all tells of it: the mount table does."""
    root, told = top / "root", Told()
    (root / "sub" / "deep").mkdir(parents=True)
    with watching(told, root, probe_interval=0.05) as watcher:
        _tmpfs(root / "sub")
        assert told.wait_everything(root)
        (root / "sub" / "other").mkdir()
        assert until(lambda: state_of(watcher, root).directories == 3)
        assert_sees_every_directory(told, root)
    with watching(told, root) as watcher:
        told.forget()
        _unmount(root / "sub")
        assert told.wait(lambda: b"sub" in told.paths(root))
        assert until(lambda: state_of(watcher, root).directories == 3)
        assert_sees_every_directory(told, root, "again")


def bound_twice_in_one_root(top: Path) -> None:
    """One inode, two paths: told under both."""
    root, told = top / "root", Told()
    (root / "one").mkdir(parents=True)
    (root / "two").mkdir()
    _mount(root / "two", "--bind", str(root / "one"))
    with watching(told, root):
        (root / "two" / "file").touch()
        assert told.wait_path(root, b"one/file")
        assert told.wait_path(root, b"two/file")


def file_system_without_events(top: Path) -> None:
    """S4. `proc` is one that is always there."""
    root, told = Path("/proc/sys/user"), Told()
    (top / "root").mkdir()
    with watching(told, root, top / "root", poll_interval=0.1) as watcher:
        state = state_of(watcher, root)
        assert state.mode is WatchMode.POLLING
        assert state.message == "proc tells no events of changes made elsewhere; scanned every 0.1 s"
        assert told.wait_everything(root, times=3)
        assert not told.everything(top / "root")


def watch_limit_reached_below_the_root(top: Path) -> None:
    """S4. watchdog itself says nothing and watches some."""
    root, told = top / "root", Told()
    for number in range(50):
        (root / f"d{number}").mkdir(parents=True)
    WATCH_LIMIT.write_text("20")  # of this namespace
    with watching(told, root, poll_interval=0.1) as watcher:
        state = state_of(watcher, root)
        assert state.mode is WatchMode.POLLING
        assert "watch limit reached: 18 of 51 directories are watched" in state.message
        assert state.directories == 18
        assert told.wait_everything(root, times=3)
        WATCH_LIMIT.write_text("100000")
        assert wait_mode(watcher, root, WatchMode.EVENTS).directories == 51
        assert_sees_every_directory(told, root)
        WATCH_LIMIT.write_text("60")
        for number in range(20):
            (root / f"late{number}").mkdir()
        wait_mode(watcher, root, WatchMode.POLLING)
        shutil.rmtree(root / "late0")
        for number in range(1, 20):
            (root / f"late{number}").rmdir()
        wait_mode(watcher, root, WatchMode.EVENTS)


def overflow_near_the_watch_limit(top: Path) -> None:
    """The fresh reader cannot have its watches while the old one has them."""
    root, told = top / "root", Told()
    for number in range(50):
        (root / f"d{number}").mkdir(parents=True)
    WATCH_LIMIT.write_text("60")
    with watching(told, root) as watcher:
        old = lookout_of(watcher, root)
        assert state_of(watcher, root).mode is WatchMode.EVENTS
        old._report("the test says so")
        assert until(lambda: lookout_of(watcher, root) is not old, timeout=3)
        assert until(lambda: state_of(watcher, root).directories == 51, timeout=3)
        assert_sees_every_directory(told, root)
        assert state_of(watcher, root).mode is WatchMode.EVENTS


def limit_reached_at_the_root(top: Path) -> None:
    root, told = top / "root", Told()
    (root / "sub").mkdir(parents=True)
    for limit, why in (
        (WATCH_LIMIT, "no events: inotify watch limit reached; scanned every 0.1 s"),
        (INSTANCE_LIMIT, "no events: inotify instance limit reached; scanned every 0.1 s"),
    ):
        before = limit.read_text()
        limit.write_text("0")
        with watching(told, root, poll_interval=0.1) as watcher:
            assert (state_of(watcher, root).mode, state_of(watcher, root).message) == (WatchMode.POLLING, why)
            told.forget()
            assert told.wait_everything(root, times=3)
            limit.write_text(before)
            wait_mode(watcher, root, WatchMode.EVENTS)
            assert_sees_every_directory(told, root)


def directory_that_may_not_be_read(top: Path) -> None:
    """watchdog itself says nothing, and does not notice when it may."""
    root, told = top / "root", Told()
    (root / "closed" / "deep").mkdir(parents=True)
    (root / "closed").chmod(0)
    with watching(told, root, poll_interval=60) as watcher:
        state = state_of(watcher, root)
        assert state.mode is WatchMode.POLLING
        assert state.message.startswith("1 of 2 directories cannot be watched: 'closed': Permission denied")
        told.forget()
        (root / "closed").chmod(0o700)
        assert told.wait_path(root, b"closed")
        assert wait_mode(watcher, root, WatchMode.EVENTS).directories == 3
        assert_sees_every_directory(told, root)


def root_that_may_not_be_read(top: Path) -> None:
    root, told = top / "root", Told()
    root.mkdir()
    root.chmod(0)
    with watching(told, root, poll_interval=0.1) as watcher:
        assert state_of(watcher, root).mode is WatchMode.POLLING
        assert told.wait_everything(root, times=3)
        root.chmod(0o700)
        wait_mode(watcher, root, WatchMode.EVENTS)
        assert_sees(told, root)


def reader_that_never_answers(top: Path) -> None:
    root, told = top / "root", Told()
    root.mkdir()
    with watching(told, root, poll_interval=0.1) as watcher:
        assert (
            state_of(watcher, root).message
            == "no events: a new inotify reader does not answer; scanned every 0.1 s"
        )


def another_version_of_watchdog(top: Path) -> None:
    """Not as expected: polling, and a word why; nothing else is different."""
    root, told = top / "root", Told()
    root.mkdir()
    with watching(told, root, poll_interval=0.1, probe_interval=0.1) as watcher:
        state = state_of(watcher, root)
        assert state.mode is WatchMode.POLLING
        assert state.message.startswith("no events: ")
        assert told.wait_everything(root, times=3)
        root.rmdir()
        wait_mode(watcher, root, WatchMode.ABSENT)
        root.mkdir()
        wait_mode(watcher, root, WatchMode.POLLING)


def test_mounts(tmp_path: Path) -> None:
    _needs(MOUNTS)
    _run(
        MOUNTS,
        tmp_path,
        root_unmounted_and_mounted_again,
        root_unmounted_lazily,
        mounted_below_the_root,
        bound_twice_in_one_root,
        file_system_without_events,
    )


def test_limits(tmp_path: Path) -> None:
    _needs(LIMITS)
    _run(
        LIMITS,
        tmp_path,
        watch_limit_reached_below_the_root,
        overflow_near_the_watch_limit,
        limit_reached_at_the_root,
    )


def test_rights(tmp_path: Path) -> None:
    unprivileged = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    _needs([*unprivileged, "env"])
    _run(unprivileged, tmp_path, directory_that_may_not_be_read, root_that_may_not_be_read)


VERSIONS = {
    "module moved": None,
    "method renamed": "del InotifyFD._get_or_create_watch",
    "attribute renamed": """
_old = InotifyFD.__init__
def _new(self):
    _old(self)
    self._descriptor = self.__dict__.pop("_inotify_fd")
InotifyFD.__init__ = _new
""",
}


def _with_watchdog(packages: Path, change: str | None) -> str:
    """Make a copy of watchdog that is not as expected, and return the search path on which it comes first."""
    shutil.copytree(Path(watchdog.__file__).parent, packages / "watchdog")
    module = packages / "watchdog" / "observers" / "inotify_c.py"
    if change is None:
        module.unlink()
    else:
        module.write_text(f"{module.read_text()}\n{change}\n")
    return os.pathsep.join([str(packages), *filter(None, [os.environ.get("PYTHONPATH")])])


@pytest.mark.parametrize("change", VERSIONS.values(), ids=VERSIONS.keys())
def test_other_version_of_watchdog_means_polling(change: str | None, tmp_path: Path) -> None:
    _run([], tmp_path, another_version_of_watchdog, PYTHONPATH=_with_watchdog(tmp_path / "packages", change))


def test_reader_that_never_answers_means_polling(tmp_path: Path) -> None:
    change = "InotifyFD.read_events = lambda self: self.stopped_event.wait() and []"
    _run([], tmp_path, reader_that_never_answers, PYTHONPATH=_with_watchdog(tmp_path / "packages", change))


if __name__ == "__main__":
    for name in sys.argv[2:]:
        place = Path(sys.argv[1], name)
        place.mkdir()
        globals()[name](place)
