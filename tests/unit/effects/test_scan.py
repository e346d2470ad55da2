"""What a source offers, and that every change that is told is found, at the cost of what was told."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from tests.unit.effects.intruder import before_open, on_open, opens
from tests.unit.effects.scanning import content, entry, good, let_age, marked, paths, sha

from headgated.core.source import RootState
from headgated.core.tree import EMPTY, Entry, Kind, lookup, walk
from headgated.effects.scan import ScanEndedError, ScanLimits, Source


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


def test_snapshot_has_files_directories_and_symlinks_with_what_they_are(root: Path) -> None:
    (root / "d/empty").mkdir(parents=True)
    (root / "d/empty").chmod(0o700)
    (root / "d").chmod(0o2750)
    (root / "d/file").write_bytes(b"content")
    (root / "d/file").chmod(0o1640)
    (root / "link").symlink_to("d/../nowhere")
    snapshot = good(Source(str(root)).snapshot())
    here, uid, gid = root.stat(), os.geteuid(), os.getegid()
    assert dict(walk(snapshot.tree)) == {
        b"d": Entry(Kind.DIRECTORY, 0o2750, uid=uid, gid=gid),
        b"d/empty": Entry(Kind.DIRECTORY, 0o700, uid=uid, gid=gid),
        b"d/file": Entry(Kind.FILE, 0o1640, sha(b"content"), 7, uid=uid, gid=gid),
        b"link": Entry(Kind.SYMLINK, target=b"d/../nowhere", uid=uid, gid=gid),
    }
    assert snapshot.tree.entry == EMPTY.entry
    assert (snapshot.root, snapshot.identity) == (RootState.OK, (here.st_dev, here.st_ino))


@pytest.mark.parametrize(
    ("text", "template"),
    [
        (b"", False),
        (b"plain", False),
        (b"a $NAME", True),
        (b"$\0", False),
        (b"\0" + b" " * (1 << 20) + b"$", False),
    ],
)
def test_template_is_a_file_with_a_dollar_sign_and_no_nul(root: Path, text: bytes, *, template: bool) -> None:
    (root / "file").write_bytes(text)
    found = entry(Source(str(root)).snapshot(), b"file")
    assert (found.template, found.digest, found.size) == (template, sha(text), len(text))


def test_equal_sizes_are_one_object_however_many_files_have_them(root: Path) -> None:
    for name in ("a", "b"):
        (root / name).write_bytes(name.encode() * 1000)
    snapshot = Source(str(root)).snapshot()
    assert entry(snapshot, b"a").size is entry(snapshot, b"b").size


def test_names_of_any_bytes_are_kept(root: Path) -> None:
    """S13."""
    names = {b"\xff\xfe", b"line\nbreak", b"Name", b"name", b" ", "日本".encode(), b"-rf", b"\\"}
    for name in names:
        with open(os.fsencode(root) + b"/" + name, "wb") as file:
            file.write(name)
    snapshot = good(Source(str(root)).snapshot())
    assert paths(snapshot) == names
    assert all(content(snapshot, name) == sha(name) for name in names)


def test_symlink_is_never_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("x")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "loop").symlink_to(".")
    source = Source(str(root))
    assert paths(good(source.snapshot())) == {b"link", b"loop"}
    assert paths(good(marked(source, b"link/secret", b"loop/loop/link"))) == {b"link", b"loop"}


def test_times_far_away_are_no_obstacle(root: Path) -> None:
    (root / "file").write_bytes(b"x")
    for when in (2**34 * 10**9, -(2**31) * 10**9, 2**62 - 1):
        os.utime(root / "file", ns=(when, when))
        assert content(good(Source(str(root)).snapshot()), b"file") == sha(b"x")


def test_empty_source_is_an_empty_tree(root: Path) -> None:
    assert good(Source(str(root)).snapshot()).tree == EMPTY


def test_source_without_marks_gives_its_last_snapshot(root: Path) -> None:
    (root / "file").write_text("x")
    source = Source(str(root))
    first = source.snapshot()
    (root / "file").write_text("y")
    source.mark(frozenset())
    assert source.snapshot() is first


def test_scan_of_everything_opens_only_files_that_changed(root: Path) -> None:
    files = [root / f"file{number}" for number in range(20)]
    for file in files:
        file.write_text("x")
    let_age(*files)
    source = Source(str(root))
    source.snapshot()
    (root / "file7").write_text("y")
    let_age(*files)
    with opens() as opened:
        second = good(marked(source))
    assert [name for name in opened if name.startswith(b"file")] == [b"file7"]
    assert content(second, b"file7") == sha(b"y")


def test_scan_that_finds_no_change_gives_the_same_tree(root: Path) -> None:
    (root / "d").mkdir()
    (root / "d/file").write_text("x")
    source = Source(str(root))
    first = source.snapshot()
    os.utime(root / "d/file")
    assert good(marked(source)).tree is first.tree


def test_hinted_change_costs_what_the_hint_names_and_shares_the_rest(root: Path) -> None:
    """Promise 12: one file among thousands costs what one among ten costs."""
    for directory in range(30):
        (root / f"d{directory}/e").mkdir(parents=True)
        for number in range(10):
            (root / f"d{directory}/e/f{number}").write_text("x")
    source = Source(str(root))
    first = good(source.snapshot())
    (root / "d3/e/f4").write_text("y")
    let_age(root / "d3/e/f4")
    with opens() as opened:
        second = good(marked(source, b"d3/e/f4"))
    assert opened == [os.fsencode(root), b"d3", b"e", b"f4"]
    assert content(second, b"d3/e/f4") == sha(b"y")
    assert second.tree.children[b"d4"] is first.tree.children[b"d4"]
    assert content(first, b"d3/e/f4") == sha(b"x")


def test_distrusted_source_is_read_whole_once(root: Path) -> None:
    files = [root / "a", root / "b"]
    for file in files:
        file.write_text("x")
    let_age(*files)
    source = Source(str(root))
    first = source.snapshot()
    source.distrust()
    with opens() as opened:
        second = good(source.snapshot())
    assert sorted(opened) == [os.fsencode(root), b"a", b"b"]
    assert second.tree is first.tree
    with opens() as opened:
        marked(source)
    assert opened == [os.fsencode(root)]


def test_directory_as_a_hint_means_all_below(root: Path) -> None:
    (root / "d/e").mkdir(parents=True)
    source = Source(str(root))
    source.snapshot()
    (root / "d/e/new").write_text("x")
    (root / "d/f/g").mkdir(parents=True)
    (root / "d/f/g/new").write_text("x")
    expected = {b"d", b"d/e", b"d/e/new", b"d/f", b"d/f/g", b"d/f/g/new"}
    assert paths(good(marked(source, b"d", b"d/e"))) == expected


def test_hint_in_a_directory_that_was_not_known_brings_all_of_it(root: Path) -> None:
    """S5: files in a directory made a moment ago are not missed."""
    source = Source(str(root))
    source.snapshot()
    (root / "d/e").mkdir(parents=True)
    (root / "d/e/one").write_text("x")
    (root / "d/two").write_text("x")
    assert paths(good(marked(source, b"d/e/one"))) == {b"d", b"d/e", b"d/e/one", b"d/two"}


@pytest.mark.parametrize("hint", [b"d", b"d/e", b"d/e/file", b"d/e/never/was"])
def test_hint_at_or_below_what_vanished_removes_it(root: Path, hint: bytes) -> None:
    (root / "d/e").mkdir(parents=True)
    (root / "d/e/file").write_text("x")
    (root / "other").write_text("x")
    source = Source(str(root))
    source.snapshot()
    for path in ("d/e/file", "d/e", "d"):
        (root / path).unlink() if path.endswith("file") else (root / path).rmdir()
    assert paths(good(marked(source, hint))) == {b"other"}


def test_hint_at_what_never_was_changes_nothing(root: Path) -> None:
    (root / "file").write_text("x")
    source = Source(str(root))
    first = source.snapshot()
    assert good(marked(source, b"no/such/thing", b"file/below", b"nothing")).tree is first.tree


@pytest.mark.parametrize("hint", [b"", b"/", b"../x", b"a//b", b"/etc", b"a/."])
def test_hint_that_is_no_path_means_everything(root: Path, hint: bytes) -> None:
    source = Source(str(root))
    source.snapshot()
    (root / "file").write_text("x")
    assert paths(good(marked(source, hint))) == {b"file"}


def test_file_that_becomes_a_directory_and_the_reverse_are_found(root: Path) -> None:
    """T6."""
    (root / "a").write_text("x")
    (root / "b").mkdir()
    (root / "b/c").write_text("x")
    source = Source(str(root))
    source.snapshot()
    (root / "a").unlink()
    (root / "a").mkdir()
    (root / "a/c").write_text("y")
    (root / "b/c").unlink()
    (root / "b").rmdir()
    (root / "b").symlink_to("a")
    snapshot = good(marked(source, b"a/c", b"b/c"))
    assert paths(snapshot) == {b"a", b"a/c", b"b"}
    assert entry(snapshot, b"b").kind == Kind.SYMLINK


def test_directory_replaced_by_another_of_the_same_name_is_read_anew(root: Path, tmp_path: Path) -> None:
    for directory, text in ((root / "d", "old"), (tmp_path / "new", "new")):
        directory.mkdir()
        for name in ("one", "two"):
            (directory / name).write_text(text)
    source = Source(str(root))
    source.snapshot()
    (root / "d").rename(tmp_path / "away")
    (tmp_path / "new").rename(root / "d")
    snapshot = good(marked(source, b"d/one"))
    assert content(snapshot, b"d/two") == sha(b"new")


def test_changed_mode_or_owner_is_found_without_changed_content(root: Path) -> None:
    (root / "d").mkdir()
    (root / "d/file").write_text("x")
    source = Source(str(root))
    source.snapshot()
    (root / "d/file").chmod(0o600)
    (root / "d").chmod(0o711)
    snapshot = good(marked(source, b"d/file"))
    assert (entry(snapshot, b"d").mode, entry(snapshot, b"d/file").mode) == (0o711, 0o600)


def test_same_size_and_time_do_not_hide_another_content(root: Path) -> None:
    """S11: `cp -p`, or a clock that went back."""
    (root / "file").write_text("one")
    before = (root / "file").stat()
    source = Source(str(root))
    source.snapshot()
    (root / "file").write_text("two")
    os.utime(root / "file", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert content(good(marked(source)), b"file") == sha(b"two")


def test_mark_made_during_a_scan_is_for_the_next_one(root: Path) -> None:
    (root / "a").write_text("x")
    (root / "b").write_text("x")
    source = Source(str(root))
    source.snapshot()
    (root / "a").write_text("y")

    def change_b() -> None:
        (root / "b").write_text("y")
        source.mark(frozenset({b"b"}))

    with before_open(b"a", change_b):
        first = good(marked(source, b"a"))
    assert (content(first, b"a"), content(first, b"b")) == (sha(b"y"), sha(b"x"))
    assert content(good(source.snapshot()), b"b") == sha(b"y")


def test_scan_that_breaks_off_forgets_no_mark(root: Path) -> None:
    (root / "a").write_text("x")
    source = Source(str(root))
    source.snapshot()
    (root / "a").write_text("y")

    def break_off() -> None:
        raise KeyboardInterrupt

    with before_open(b"a", break_off), pytest.raises(KeyboardInterrupt):
        marked(source, b"a")
    assert content(good(source.snapshot()), b"a") == sha(b"y")


def test_subscribers_may_all_ask_at_once(root: Path) -> None:
    for number in range(50):
        (root / f"file{number}").write_text("0")
    source = Source(str(root))
    wrong: list[str] = []

    def ask() -> None:
        for round_number in range(10):
            source.mark(frozenset({b"file%d" % round_number}))
            if len(source.snapshot().tree.children) != 50:
                wrong.append("incomplete")

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for round_number in range(10):
        (root / f"file{round_number}").write_text("1")
    for thread in threads:
        thread.join()
    assert wrong == []
    assert content(good(marked(source)), b"file9") == sha(b"1")


def test_more_marks_than_are_worth_keeping_mean_everything(root: Path) -> None:
    source = Source(str(root))
    source.snapshot()
    (root / "file").write_text("x")
    source.mark(frozenset(b"no/%d" % number for number in range(100_001)))
    assert paths(good(source.snapshot())) == {b"file"}


def test_unchanged_directory_of_many_is_the_same_object(root: Path) -> None:
    (root / "a").mkdir()
    (root / "a/file").write_text("x")
    source = Source(str(root))
    first = source.snapshot()
    (root / "b").write_text("x")
    second = good(marked(source))
    assert lookup(second.tree, b"a") is lookup(first.tree, b"a")


def test_directories_within_the_limit_need_no_deep_stack(root: Path) -> None:
    depth = ScanLimits().max_depth
    deep = "/".join(["d"] * depth)
    (root / deep).mkdir(parents=True)
    (root / deep / "file").write_text("x")
    (root / deep).chmod(stat.S_IRWXU)
    assert len(paths(good(Source(str(root)).snapshot()))) == depth + 1


def test_look_that_is_ended_stops_where_it_is(root: Path) -> None:
    """A daemon that stops need not wait for a large source; what was looked at until then proves nothing."""
    for name in ("a", "b", "c", "d"):
        (root / name).write_text(name)
    source, files = Source(str(root)), {b"a", b"b", b"c", b"d"}
    end_at_one = on_open(lambda name: source.end() if name in files else None)
    with opens() as opened, end_at_one, pytest.raises(ScanEndedError):
        source.snapshot()
    assert len(files.intersection(opened)) == 1
    with pytest.raises(ScanEndedError):
        source.snapshot()
