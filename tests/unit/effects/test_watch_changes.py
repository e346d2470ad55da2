"""What is told when something in a source changes."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
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
    watching,
)

from headgated.effects.watch import Watcher, dispatch, watches


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


def _replace(path: Path) -> None:
    path.with_name("new").write_bytes(b"other")
    path.with_name("new").replace(path)


def _to_symlink(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _to_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


CHANGES: dict[str, Callable[[Path], object]] = {
    "write": lambda path: path.write_bytes(b"other"),
    "truncate": lambda path: os.truncate(path, 1),
    "replace": _replace,
    "chmod": lambda path: path.chmod(0o600),
    "utime": lambda path: os.utime(path, (1, 1)),
    "remove": lambda path: path.unlink(),
    "move out": lambda path: path.rename(path.parent.parent.parent / "elsewhere"),
    "to symlink": _to_symlink,
    "to directory": _to_directory,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_change_of_a_file_is_told_by_its_path(
    told: Told, root: Path, change: Callable[[Path], object]
) -> None:
    path = root / "sub" / "file"
    path.parent.mkdir()
    path.write_bytes(b"content")
    with watching(told, root):
        change(path)
        assert told.wait(lambda: b"sub/file" in told.paths(root))
        assert not told.everything(root)


MAKES: dict[str, Callable[[Path], object]] = {
    "file": lambda path: path.touch(),
    "directory": lambda path: path.mkdir(),
    "symlink": lambda path: path.symlink_to("nowhere"),
    "hardlink": lambda path: path.hardlink_to(path.with_name("there")),
    "fifo": os.mkfifo,
    "moved in": lambda path: (path.parent.parent / "outside").rename(path),
}


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES.keys())
def test_new_name_is_told(told: Told, root: Path, make: Callable[[Path], object]) -> None:
    (root / "there").touch()
    (root.parent / "outside").touch()
    with watching(told, root):
        make(root / "new")
        assert told.wait(lambda: b"new" in told.paths(root))


@pytest.mark.parametrize("name", [b"caf\xe9", b"two\nlines", b"back\\slash", b"-", b"x" * 255])
def test_strange_name_is_told_as_it_is(told: Told, root: Path, name: bytes) -> None:
    with watching(told, root):
        os.mkdir(os.path.join(os.fsencode(root), name))
        assert told.wait(lambda: name in told.paths(root))
        with open(os.path.join(os.fsencode(root), name, name), "wb"):
            pass
        assert told.wait(lambda: name + b"/" + name in told.paths(root))


def test_reading_is_not_told(told: Told, root: Path) -> None:
    """Otherwise every scan would cause the next one."""
    for number in range(20):
        (root / f"d{number}").mkdir()
        (root / f"d{number}" / "file").write_text("content")
    with watching(told, root):
        for directory, _, names in os.walk(root):
            for name in names:
                Path(directory, name).read_text()
        (root / "last").touch()
        assert told.wait_path(root, b"last")
        assert told.paths(root) == {b"last"}


def test_a_directorys_times_are_not_told_but_its_mode_is(told: Told, root: Path) -> None:
    """Times change with the content and are set again by every rsync; telling them would mean everything below."""
    (root / "sub").mkdir()
    with watching(told, root):
        os.utime(root / "sub", (1, 1))
        os.utime(root, (1, 1))
        (root / "sub").chmod(0o700)
        assert told.wait_path(root, b"sub")
        assert [paths for _, paths in told.changes] == [frozenset({b"sub"})]
        told.forget()
        root.chmod(0o700)
        assert told.wait_everything(root)


def test_files_in_a_directory_made_a_moment_ago_are_told(told: Told, root: Path) -> None:
    """S5: the watch is there before the directory is listed, and it is told after that."""
    with watching(told, root):
        wanted = set()
        for number in range(200):
            path = root / f"a{number}" / "b" / "c" / "file"
            path.parent.mkdir(parents=True)
            path.touch()
            wanted.add(os.fsencode(path.relative_to(root)))
        assert told.wait(lambda: not told.uncovered(root, wanted))
        assert_sees_every_directory(told, root)


def test_directory_that_is_told_is_watched_already(root: Path) -> None:
    """S5: whoever looks into it on being told, and finds nothing, will be told of what comes then."""
    told = Told()

    def change(at: str, paths: frozenset[bytes] | None) -> None:
        for path in paths or ():
            if b"/" not in path:
                Path(os.fsdecode(os.path.join(os.fsencode(root), path)), "file").touch()
        told.change(at, paths)

    watcher = Watcher(change, scan_interval=3600)
    watcher.add(str(root))
    for number in range(100):
        (root / f"d{number}").mkdir()
        assert told.wait(lambda: any(path.endswith(b"/file") for path in told.paths(root)))
        told.forget()
    watcher.close()


def test_directory_moved_in_is_watched(told: Told, root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside" / "deep" / "er").mkdir(parents=True)
    with watching(told, root):
        (tmp_path / "outside").rename(root / "inside")
        assert told.wait_path(root, b"inside")
        assert_sees_every_directory(told, root)


def test_directory_moved_within_is_told_under_its_new_path_only(told: Told, root: Path) -> None:
    (root / "old" / "deep" / "er").mkdir(parents=True)
    with watching(told, root) as watcher:
        (root / "old").rename(root / "new")
        assert told.wait_path(root, b"old", b"new")
        assert until(
            lambda: kernel_watches(lookout_of(watcher, root)) == 6
        )  # four here, the parent, the cookie
        assert_sees_every_directory(told, root)
        assert not any(path.startswith(b"old") for path in told.paths(root))


def test_directory_moved_out_is_not_watched_any_more(told: Told, root: Path, tmp_path: Path) -> None:
    """watchdog itself goes on telling of it under the path that it had."""
    (root / "sub" / "deep").mkdir(parents=True)
    with watching(told, root) as watcher:
        (root / "sub").rename(tmp_path / "out")
        assert told.wait_path(root, b"sub")
        assert until(lambda: state_of(watcher, root).directories == 1)
        told.forget()
        (tmp_path / "out" / "deep" / "file").touch()
        (root / "last").touch()
        assert told.wait_path(root, b"last")
        assert told.paths(root) == {b"last"}


def test_directory_moved_out_and_in_again_is_watched(told: Told, root: Path, tmp_path: Path) -> None:
    (root / "sub" / "deep").mkdir(parents=True)
    with watching(told, root):
        (root / "sub").rename(tmp_path / "out")
        (tmp_path / "out" / "more").mkdir()
        (tmp_path / "out").rename(root / "sub")
        assert told.wait_path(root, b"sub")
        assert_sees_every_directory(told, root)


def test_event_after_a_move_out_is_not_delayed(told: Told, root: Path, tmp_path: Path) -> None:
    """watchdog's queue holds everything back for half a second then."""
    (root / "file").touch()
    with watching(told, root):
        (root / "file").rename(tmp_path / "out")
        (root / "next").touch()
        assert told.wait_path(root, b"file", b"next", timeout=0.4)


def test_tree_removed_and_made_again_is_watched(told: Told, root: Path) -> None:
    with watching(told, root) as watcher:
        for _ in range(5):
            for number in range(20):
                (root / "tree" / f"d{number}" / "deep").mkdir(parents=True)
            shutil.rmtree(root / "tree")
        (root / "tree" / "deep").mkdir(parents=True)
        assert told.wait_path(root, b"tree")
        assert until(lambda: state_of(watcher, root).directories == 3)
        assert_sees_every_directory(told, root)


def test_symlinked_directory_in_a_source_is_not_followed(told: Told, root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    with watching(told, root) as watcher:
        (root / "link").symlink_to(tmp_path / "outside")
        (root / "loop").symlink_to(".")
        assert told.wait_path(root, b"link", b"loop")
        assert state_of(watcher, root).directories == 1


def test_inside_of_a_git_directory_is_left_alone_but_for_its_top(told: Told, root: Path) -> None:
    """Nothing of it is deployed; its top level tells when a checkout is over."""
    (root / ".git" / "objects" / "ab").mkdir(parents=True)
    with watching(told, root) as watcher:
        assert state_of(watcher, root).directories == 2
        (root / ".git" / "objects" / "ab" / "cd").touch()
        (root / ".git" / "index.lock").touch()
        (root / ".git" / "index.lock").unlink()
        assert told.wait_path(root, b".git/index.lock")
        assert told.paths(root) == {b".git/index.lock"}
        (root / ".git" / "worktrees" / "other").mkdir(parents=True)
        (root / ".git" / "objects").chmod(0o700)
        assert told.wait_path(root, b".git/worktrees", b".git/objects")
        assert state_of(watcher, root).directories == 2


def test_many_changes_while_somebody_is_slow_are_gathered(root: Path) -> None:
    """Nothing grows without bound, and nothing is lost."""
    told, release = Told(), threading.Event()

    def slow(at: str, paths: frozenset[bytes] | None) -> None:
        told.change(at, paths)
        release.wait(10)

    watcher = Watcher(slow, scan_interval=3600)
    watcher.add(str(root))
    for number in range(500):
        (root / f"file{number}").touch()
    assert told.wait(lambda: told.changes)
    release.set()
    wanted = {b"file%d" % number for number in range(500)}
    assert told.wait(lambda: not told.uncovered(root, wanted))
    watcher.close()
    assert len(told.changes) < 20


def test_error_in_the_callback_ends_nothing_and_is_logged_once(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()

    def failing(at: str, paths: frozenset[bytes] | None) -> None:
        told.change(at, paths)
        raise ValueError("of the callback")

    watcher = Watcher(failing, scan_interval=3600)
    watcher.add(str(root))
    assert_sees(told, root, "one")
    assert_sees(told, root, "two")
    watcher.close()
    assert [record.name for record in caplog.records if record.levelname == "ERROR"] == ["headgated.watch"]


def test_callback_may_add_and_remove_and_close(root: Path, tmp_path: Path) -> None:
    """It runs in the thread that tells, which must then not wait for itself."""
    (tmp_path / "other").mkdir()
    done = threading.Event()

    def change(at: str, _paths: frozenset[bytes] | None) -> None:
        watcher.add(str(tmp_path / "other"))
        watcher.remove(at)
        watcher.close()
        done.set()

    watcher = Watcher(change)
    watcher.add(str(root))
    (root / "file").touch()
    assert done.wait(5)
    assert watcher.states() == []


@pytest.mark.parametrize("before", [b"old", None])
def test_file_that_is_being_written_is_told_when_it_is_closed(
    root: Path, told: Told, before: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S1: whatever takes its time to write a file, what is deployed is not what it had written by then."""
    for where, what in ((watches, "LONGEST_BIRTH"), (dispatch, "LONGEST_HOLD")):
        monkeypatch.setattr(where, what, NEVER)
    file = root / "file"
    if before is not None:
        file.write_bytes(before)
    with watching(told, root):
        with file.open("wb", buffering=0) as writing:
            for number in range(3):
                writing.write(b"part %d\n" % number)
                file.chmod(0o600 + number)
                (root / f"other {number}").write_bytes(b"")
            assert not told.wait(lambda: told.changes, 0.2)
        assert told.wait(lambda: told.changes)
        assert told.changes == [(str(root), frozenset({b"file", b"other 0", b"other 1", b"other 2"}))]


@pytest.mark.parametrize(
    "ends", [Path.unlink, lambda path: path.rename(path.with_name("new"))], ids=["removed", "renamed"]
)
def test_file_that_goes_while_it_is_written_is_told_at_once(
    root: Path, told: Told, ends: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "LONGEST_HOLD", NEVER)
    file = root / "file"
    file.write_bytes(b"old")
    with watching(told, root), file.open("wb", buffering=0) as writing:
        writing.write(b"part")
        ends(file)
        assert told.wait_path(root, b"file")


def test_file_that_is_never_closed_is_told_all_the_same(
    root: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "LONGEST_HOLD", 0.2)
    with watching(told, root), (root / "log").open("wb", buffering=0) as writing:
        for _ in range(3):
            told.forget()
            writing.write(b"line\n")
            assert told.wait_path(root, b"log")


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.symlink_to("nowhere"),
        lambda path: path.hardlink_to(path.parent / "there"),
        os.mkfifo,
    ],
    ids=["symbolic", "hard", "fifo"],
)
def test_link_that_nobody_opens_is_told_soon(
    root: Path, told: Told, make: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "LONGEST_HOLD", NEVER)
    (root / "there").write_bytes(b"")
    with watching(told, root):
        make(root / "new")
        assert told.wait_path(root, b"new")


def test_file_that_is_written_in_a_directory_made_just_now_is_told_when_it_is_closed(
    root: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S1: it was opened before anybody watched there."""
    monkeypatch.setattr(dispatch, "LONGEST_HOLD", NEVER)
    with watching(told, root):
        (root / "new").mkdir()
        with (root / "new" / "file").open("wb", buffering=0) as writing:
            for number in range(20):
                writing.write(b"part %d\n" % number)
                time.sleep(0.02)
            assert not told.changes
        assert told.wait_path(root, b"new/file")


def test_directory_that_moves_here_or_goes_is_told_at_once(
    root: Path, tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "LONGEST_HOLD", NEVER)
    monkeypatch.setattr(watches, "LONGEST_BIRTH", NEVER)
    (tmp_path / "staged" / "deep").mkdir(parents=True)
    with watching(told, root):
        (tmp_path / "staged").rename(root / "new")
        assert told.wait_path(root, b"new")
        told.forget()
        shutil.rmtree(root / "new")
        assert told.wait_path(root, b"new")
