"""S1, S2: files that change while they are read."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.unit.effects.intruder import before_open, opens
from tests.unit.effects.scanning import content, entry, faults, good, let_age, marked, paths, sha

from headgated.effects.scan import ScanLimits, Source
from headgated.effects.scan.known import Known
from headgated.effects.scan.reading import OPEN_DIRECTORY, is_racy, opened
from headgated.effects.scan.sweep import Sweep


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/file").write_bytes(b"old")
    (tmp_path / "source/other").write_bytes(b"old")
    return tmp_path / "source"


def test_file_that_changes_as_it_is_opened_is_read_again(root: Path) -> None:
    with before_open(b"file", lambda: (root / "file").write_bytes(b"newer")):
        assert content(good(Source(str(root)).snapshot()), b"file") == sha(b"newer")


def test_file_that_vanishes_as_it_is_opened_is_gone(root: Path) -> None:
    with before_open(b"file", (root / "file").unlink):
        assert paths(good(Source(str(root)).snapshot())) == {b"other"}


def test_directory_that_vanishes_as_it_is_opened_is_gone(root: Path) -> None:
    (root / "d").mkdir()
    with before_open(b"d", (root / "d").rmdir):
        assert paths(good(Source(str(root)).snapshot())) == {b"file", b"other"}


def test_directory_that_a_symlink_takes_the_place_of_is_not_entered(root: Path, tmp_path: Path) -> None:
    """T3: the race that a check by path loses."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("x")
    (root / "d").mkdir()

    def swap() -> None:
        (root / "d").rmdir()
        (root / "d").symlink_to(tmp_path / "outside")

    with before_open(b"d", swap):
        snapshot = good(Source(str(root)).snapshot())
    assert paths(snapshot) == {b"d", b"file", b"other"}
    assert entry(snapshot, b"d").target == os.fsencode(tmp_path / "outside")


def test_changes_made_in_order_are_never_seen_in_another(root: Path) -> None:
    """A writer changes `file`, then `other`; a snapshot with only the second change never was the source."""
    source = Source(str(root))
    source.snapshot()
    (root / "other").write_bytes(b"newer")
    os.utime(root / "file")

    def write_both() -> None:
        (root / "file").write_bytes(b"new")
        (root / "other").write_bytes(b"newest")

    with before_open(b"other", write_both):
        snapshot = good(marked(source, b"file", b"other"))
    assert (content(snapshot, b"file"), content(snapshot, b"other")) == (sha(b"new"), sha(b"newest"))


def test_file_that_never_settles_is_told_and_the_tree_stays(root: Path) -> None:
    source = Source(str(root), limits=ScanLimits(read_attempts=3, first_pause=0.001))
    first = source.snapshot()
    (root / "other").write_bytes(b"new")
    texts = iter(range(10**6))

    def write() -> None:
        (root / "file").write_bytes(b"%d" % next(texts))

    write()
    with before_open(b"file", write, times=10**6), opens() as opened:
        moving = marked(source)
    assert not moving.settled
    assert moving.tree is first.tree
    assert faults(moving) == {b"file": "SOURCE_UNSETTLED"}
    assert opened.count(os.fsencode(root)) == 3
    settled = good(source.snapshot())
    assert (content(settled, b"other"), entry(settled, b"file").size) == (sha(b"new"), 1)


def test_many_files_that_never_settled_are_all_looked_at_again(root: Path) -> None:
    """More than are named."""
    files = [root / f"many{number}" for number in range(40)]
    texts = iter(range(10**6))

    def write() -> None:
        text = b"%d" % next(texts)
        for file in files:
            file.write_bytes(text)

    write()
    let_age(*files)
    source = Source(str(root), limits=ScanLimits(read_attempts=3, first_pause=0.001))
    source.snapshot()
    write()
    with before_open(b"many20", write, times=10**6):
        moving = marked(source)
    assert not moving.settled
    assert 0 < len(moving.faults) < 40
    last = b"%d" % (next(texts) - 1)
    settled = good(source.snapshot())
    assert {content(settled, os.fsencode(file.name)) for file in files} == {sha(last)}


def test_directory_that_never_settles_is_told(root: Path) -> None:
    (root / "d").mkdir()
    source = Source(str(root), limits=ScanLimits(read_attempts=4, first_pause=0.001))
    source.snapshot()
    names = iter(range(10**6))

    def add() -> None:
        (root / f"d/{next(names)}").mkdir()

    with before_open(b"d", add, times=10**6):
        moving = marked(source)
    assert not moving.settled
    assert set(faults(moving).values()) == {"SOURCE_UNSETTLED"}
    assert len(paths(good(source.snapshot()))) == 3 + next(names)


def test_file_that_grows_as_fast_as_it_is_read_holds_nobody_up(root: Path) -> None:
    """The reader stops at the size that it saw."""
    source = Source(str(root))
    seen = source.snapshot().tree.children[b"file"]
    with (root / "file").open("ab") as file:
        file.truncate(2**40)
    chunks = source.read(b"file", seen)  # type: ignore[arg-type]
    with pytest.raises(Exception, match="changed since"):
        list(chunks)


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap]:
    """Write to a file through memory: after the first write to a page, its times do not change for a while."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        yield memory


def test_file_read_when_it_was_just_written_is_read_again(root: Path) -> None:
    """S11: a second write within the same tick of the clock leaves no trace but the content."""
    source = Source(str(root))
    with mapped(root / "file") as memory:
        memory[0:3] = b"one"
        assert content(source.snapshot(), b"file") == sha(b"one")
        memory[0:3] = b"two"
        assert content(good(marked(source, b"file")), b"file") == sha(b"two")
        memory[0:3] = b"six"
        assert content(good(marked(source)), b"file") == sha(b"six")


def test_distrust_finds_what_left_no_trace(root: Path) -> None:
    """S11: the digest is the truth, size and times only a hint."""
    source = Source(str(root))
    with mapped(root / "file") as memory:
        memory[0:3] = b"one"
        let_age(root / "file")
        source.snapshot()
        memory[0:3] = b"two"
        source.distrust()
        assert content(good(source.snapshot()), b"file") == sha(b"two")


def test_file_with_a_time_to_come_is_read_again_each_time(root: Path) -> None:
    """A clock that went back must not make a file look old."""
    found = (root / "file").stat()
    assert is_racy(found, found.st_ctime_ns - 10**12)
    assert is_racy(found, found.st_ctime_ns)
    assert not is_racy(found, found.st_ctime_ns + 3 * 10**9)


@pytest.mark.parametrize("rule", ["*.tmp", "*.tmp/"])
def test_ignored_names_may_go_while_they_are_looked_at(root: Path, rule: str) -> None:
    """Between being listed and being looked at: nobody asked for them."""
    (root / ".headgateignore").write_text(rule + "\n")
    (root / "x.tmp").mkdir()
    sweep = Sweep(ScanLimits())
    with (
        opened(os.fsencode(root), OPEN_DIRECTORY) as directory,
        before_open(b".headgateignore", (root / "x.tmp").rmdir),
    ):
        known = sweep.run(directory, Known(), {})
    assert sweep.moved == []
    assert not known.faults
    assert known.directory.children.keys() == {b"file", b"other"}


def test_other_names_may_not(root: Path) -> None:
    (root / ".headgateignore").write_text("*.tmp\n")
    sweep = Sweep(ScanLimits())
    with (
        opened(os.fsencode(root), OPEN_DIRECTORY) as directory,
        before_open(b".headgateignore", (root / "other").unlink),
    ):
        sweep.run(directory, Known(), {})
    assert sweep.moved == [b"other"]
