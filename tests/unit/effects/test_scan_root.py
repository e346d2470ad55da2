"""S6: what stands where the source should be, and that nothing there makes the tree empty."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.effects.intruder import before_open
from tests.unit.effects.scanning import content, good, marked, paths, sha, unprivileged

from headgated.core.source import RootState
from headgated.effects.scan import Source
from headgated.effects.scan.root import open_root


@pytest.fixture
def root() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    (made / "source").mkdir()
    (made / "source/file").write_bytes(b"x")
    yield made / "source"
    shutil.rmtree(made)


def remove(root: Path) -> None:
    shutil.rmtree(root)


def make_file(root: Path) -> None:
    shutil.rmtree(root)
    root.write_text("x")


def make_pipe(root: Path) -> None:
    shutil.rmtree(root)
    os.mkfifo(root)


def make_dangling(root: Path) -> None:
    shutil.rmtree(root)
    root.symlink_to("nowhere")


def make_loop(root: Path) -> None:
    shutil.rmtree(root)
    root.symlink_to("source")


@pytest.mark.parametrize(
    ("spoil", "state"),
    [
        (remove, RootState.ABSENT),
        (make_dangling, RootState.ABSENT),
        (make_file, RootState.NOT_A_DIRECTORY),
        (make_pipe, RootState.NOT_A_DIRECTORY),
        (make_loop, RootState.UNREADABLE),
    ],
)
def test_root_that_is_gone_is_told_and_the_tree_stays(
    root: Path, spoil: Callable[[Path], None], state: RootState
) -> None:
    source = Source(str(root))
    first = source.snapshot()
    spoil(root)
    snapshot = source.snapshot()
    assert (snapshot.root, snapshot.identity) == (state, None)
    assert snapshot.tree is first.tree
    assert [(fault.path, fault.reason) for fault in snapshot.faults] == [(b"", state.name)]
    assert str(root) in snapshot.faults[0].message
    fresh = Source(str(root)).snapshot()
    assert (fresh.root, fresh.tree.files) == (state, 0)


@pytest.mark.parametrize("mode", [0, 0o444, 0o111])
def test_root_that_cannot_be_read_is_told_and_the_tree_stays(root: Path, mode: int) -> None:
    source = Source(str(root))
    first = source.snapshot()
    root.chmod(mode)
    with unprivileged():
        snapshot = marked(source)
    root.chmod(0o755)
    assert (snapshot.root, snapshot.tree) == (RootState.UNREADABLE, first.tree)
    assert "Permission denied" in snapshot.faults[0].message
    assert good(source.snapshot()).tree is first.tree


def test_root_that_comes_back_is_read_whole_without_a_mark(root: Path) -> None:
    source = Source(str(root))
    source.snapshot()
    shutil.rmtree(root)
    assert source.snapshot().root == RootState.ABSENT
    root.mkdir()
    (root / "other").write_bytes(b"y")
    assert paths(good(source.snapshot())) == {b"other"}


def test_root_that_another_directory_takes_the_place_of_is_read_whole(root: Path) -> None:
    source = Source(str(root))
    first = source.snapshot()
    root.rename(root.with_name("away"))
    root.mkdir()
    (root / "file").write_bytes(b"y")
    second = good(marked(source, b"nothing"))
    assert second.identity not in (None, first.identity)
    assert content(second, b"file") == sha(b"y")


def test_root_that_is_a_symlink_is_resolved_each_time(root: Path) -> None:
    link = root.with_name("current")
    link.symlink_to("source")
    source = Source(str(link))
    assert content(good(source.snapshot()), b"file") == sha(b"x")
    (root.with_name("second")).mkdir()
    (root.with_name("second") / "file").write_bytes(b"y")
    link.unlink()
    link.symlink_to("second")
    assert content(good(source.snapshot()), b"file") == sha(b"y")
    assert b"".join(source.read(b"file", source.snapshot().tree.children[b"file"])) == b"y"  # type: ignore[arg-type]


def test_root_that_is_removed_during_a_scan_is_no_empty_source(root: Path) -> None:
    source = Source(str(root))
    first = source.snapshot()
    (root / "file").write_bytes(b"y")

    def remove_root() -> None:
        shutil.rmtree(root)

    with before_open(b"file", remove_root):
        snapshot = marked(source)
    assert (snapshot.root, snapshot.tree) == (RootState.ABSENT, first.tree)


def test_root_that_is_swapped_during_a_scan_gives_one_of_both_whole(root: Path) -> None:
    """S1: a release directory behind a symlink, switched in the middle."""
    for name in ("one", "two"):
        root.with_name(name).mkdir()
        for file in ("a", "b", "c"):
            (root.with_name(name) / file).write_text(name)
    link = root.with_name("current")
    link.symlink_to("one")

    def swap() -> None:
        link.unlink()
        link.symlink_to("two")

    with before_open(b"b", swap):
        snapshot = good(Source(str(link)).snapshot())
    assert {content(snapshot, name) for name in (b"a", b"b", b"c")} == {sha(b"two")}


def test_mount_point_is_told(root: Path) -> None:
    with open_root("/proc") as proc, open_root(str(root)) as ordinary:
        assert (proc.is_mount, ordinary.is_mount) == (True, False)
