"""What cannot be deployed: each path is named, nothing is waited for, and what was known of it stays."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.effects.intruder import before_open
from tests.unit.effects.scanning import content, faults, good, let_age, marked, paths, sha, unprivileged

from headgated.effects.scan import ScanLimits, Source


@pytest.fixture
def root() -> Iterator[Path]:
    """A directory that anybody may read, unlike pytest's."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o777)
    yield made
    shutil.rmtree(made)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def make_device(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes devices")
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))


@pytest.mark.parametrize("make", [os.mkfifo, make_socket, make_device])
def test_special_file_is_a_fault_and_never_opened(root: Path, make: Callable[[Path], None]) -> None:
    """S10: reading a pipe that nobody writes to would block for ever."""
    (root / "file").write_text("x")
    make(root / "special")
    source = Source(str(root))
    snapshot = source.snapshot()
    assert faults(snapshot) == {b"special": "SPECIAL_FILE"}
    assert snapshot.settled
    assert paths(snapshot) == {b"file"}
    (root / "special").unlink()
    assert paths(good(source.snapshot())) == {b"file"}


def test_file_that_becomes_special_keeps_what_was_known(root: Path) -> None:
    (root / "file").write_bytes(b"x")
    (root / "d").mkdir()
    (root / "d/file").write_bytes(b"x")
    source = Source(str(root))
    source.snapshot()
    (root / "file").unlink()
    os.mkfifo(root / "file")
    (root / "d/file").unlink()
    (root / "d").rmdir()
    os.mkfifo(root / "d")
    snapshot = marked(source)
    assert faults(snapshot) == {b"file": "SPECIAL_FILE", b"d": "SPECIAL_FILE"}
    assert (content(snapshot, b"file"), content(snapshot, b"d/file")) == (sha(b"x"), sha(b"x"))


def test_pipe_that_takes_a_files_place_while_it_is_opened_does_not_block(root: Path) -> None:
    (root / "file").write_text("x")

    def swap() -> None:
        (root / "file").unlink()
        os.mkfifo(root / "file")

    with before_open(b"file", swap):
        assert faults(Source(str(root)).snapshot()) == {b"file": "SPECIAL_FILE"}


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6700])
def test_setuid_and_setgid_files_are_faults(root: Path, mode: int) -> None:
    (root / "file").write_text("x")
    (root / "file").chmod(mode)
    source = Source(str(root))
    snapshot = source.snapshot()
    assert faults(snapshot) == {b"file": "SETUID"}
    assert snapshot.faults[0].message == "cannot deploy file: it has the setuid or setgid bit"
    (root / "file").chmod(0o755)
    assert paths(good(source.snapshot())) == {b"file"}


def test_file_beyond_the_size_limit_is_a_fault_and_not_read(root: Path) -> None:
    """S14."""
    (root / "small").write_bytes(b"12345678")
    with (root / "large").open("wb") as file:
        file.truncate(2**40)
    snapshot = Source(str(root), limits=ScanLimits(max_file_bytes=8)).snapshot()
    assert faults(snapshot) == {b"large": "TOO_LARGE"}
    assert paths(snapshot) == {b"small"}


def test_more_files_than_allowed_are_one_fault_and_the_tree_stays(root: Path) -> None:
    """S14."""
    (root / "d").mkdir()
    (root / "d/a").write_text("x")
    source = Source(str(root), limits=ScanLimits(max_files=3))
    first = good(source.snapshot())
    for name in ("b", "c", "e"):
        (root / "d" / name).write_text("x")
    snapshot = marked(source, b"d/b", b"d/c")
    assert faults(snapshot) == {b"": "TOO_MANY_FILES"}
    assert snapshot.tree is first.tree
    assert faults(Source(str(root), limits=ScanLimits(max_files=3)).snapshot()) == {b"": "TOO_MANY_FILES"}
    (root / "d/b").unlink()
    (root / "d/c").unlink()
    assert paths(good(source.snapshot())) == {b"d", b"d/a", b"d/e"}


def test_directories_deeper_than_allowed_are_a_fault(root: Path) -> None:
    (root / "a/b/c").mkdir(parents=True)
    (root / "a/b/file").write_text("x")
    snapshot = Source(str(root), limits=ScanLimits(max_depth=2)).snapshot()
    assert faults(snapshot) == {b"a/b/c": "TOO_DEEP"}
    assert paths(snapshot) == {b"a", b"a/b", b"a/b/file"}


def test_path_longer_than_the_kernel_takes_is_a_fault(root: Path) -> None:
    name = "n" * 255
    here = os.open(root, os.O_RDONLY)
    for _ in range(16):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    snapshot = Source(str(root)).snapshot()
    deepest = b"/".join([name.encode()] * 16)
    assert len(deepest) == 4095
    assert faults(snapshot) == {}
    here = os.open(root, os.O_RDONLY)
    for _ in range(16):
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here))
    os.mkdir("directory", dir_fd=here)
    os.close(here)
    assert faults(Source(str(root)).snapshot()) == {
        deepest + b"/file": "PATH_TOO_LONG",
        deepest + b"/directory": "PATH_TOO_LONG",
    }


def test_unreadable_file_is_a_fault_and_keeps_what_was_known(root: Path) -> None:
    """S9: unreadable is not deleted."""
    (root / "known").write_bytes(b"x")
    source = Source(str(root))
    source.snapshot()
    (root / "known").chmod(0)
    (root / "new").write_bytes(b"x")
    (root / "new").chmod(0)
    with unprivileged():
        snapshot = marked(source)
    assert faults(snapshot) == {b"known": "UNREADABLE", b"new": "UNREADABLE"}
    assert {fault.message for fault in snapshot.faults} == {
        "cannot read known: Permission denied",
        "cannot read new: Permission denied",
    }
    assert content(snapshot, b"known") == sha(b"x")
    assert paths(snapshot) == {b"known"}


@pytest.mark.parametrize("mode", [0, 0o444])
def test_unreadable_directory_is_one_fault_and_all_below_stays(root: Path, mode: int) -> None:
    """S9."""
    (root / "d/e").mkdir(parents=True)
    (root / "d/e/file").write_bytes(b"x")
    source = Source(str(root))
    first = source.snapshot()
    (root / "d").chmod(mode)
    with unprivileged():
        snapshots = [marked(source), marked(source, b"d/e/file"), source.snapshot()]
        fresh = Source(str(root)).snapshot()
    (root / "d").chmod(0o755)
    for snapshot in (*snapshots, fresh):
        assert faults(snapshot) == {b"d": "UNREADABLE"}
        assert snapshot.settled
    assert paths(snapshots[-1]) == paths(first)
    assert paths(fresh) == set()


def test_mended_fault_is_found_without_a_mark(root: Path) -> None:
    """Whoever mends it and asks for a deployment need not wait for an event."""
    (root / "d").mkdir()
    (root / "d/file").write_bytes(b"old")
    source = Source(str(root))
    source.snapshot()
    (root / "d/file").write_bytes(b"new")
    (root / "d").chmod(0)
    with unprivileged():
        assert faults(marked(source, b"d/file")) == {b"d": "UNREADABLE"}
    (root / "d").chmod(0o755)
    assert content(good(source.snapshot()), b"d/file") == sha(b"new")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs to be somebody else for a moment")
@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs to be somebody else for a moment")
def test_fault_that_was_not_the_files_own_passes(root: Path) -> None:
    """The medium fails for a moment while all is read again; nothing about the file changes."""
    (root / "file").write_bytes(b"x")
    (root / "file").chmod(0o600)
    let_age(root / "file")
    source = Source(str(root))
    first = source.snapshot()
    source.distrust()
    with unprivileged():
        assert faults(source.snapshot()) == {b"file": "UNREADABLE"}
    assert good(source.snapshot()).tree is first.tree


def test_one_fault_hides_no_other_change(root: Path) -> None:
    (root / "d").mkdir()
    os.mkfifo(root / "d/pipe")
    (root / "d/file").write_bytes(b"x")
    source = Source(str(root))
    source.snapshot()
    (root / "d/file").write_bytes(b"y")
    os.mkfifo(root / "pipe")
    snapshot = marked(source, b"d/file", b"pipe")
    assert faults(snapshot) == {b"d/pipe": "SPECIAL_FILE", b"pipe": "SPECIAL_FILE"}
    assert content(snapshot, b"d/file") == sha(b"y")


def test_fault_goes_with_the_directory_it_is_in(root: Path) -> None:
    (root / "d/e").mkdir(parents=True)
    os.mkfifo(root / "d/e/pipe")
    source = Source(str(root))
    assert faults(source.snapshot()) == {b"d/e/pipe": "SPECIAL_FILE"}
    shutil.rmtree(root / "d")
    (root / "d").write_text("x")
    assert paths(good(source.snapshot())) == {b"d"}


def test_fault_shows_names_that_cannot_be_shown(root: Path) -> None:
    os.mkfifo(os.fsencode(root) + b"/a\nb\xff")
    (fault,) = Source(str(root)).snapshot().faults
    assert fault.path == b"a\nb\xff"
    assert "a\\x0ab\\xff" in fault.message
