"""S3: names that are left out of a source, and that rules take effect when they change."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from tests.unit.effects.intruder import opens
from tests.unit.effects.scanning import faults, good, let_age, marked, paths, unprivileged

from headgated.core.ignore import IGNORE_FILE
from headgated.core.tree import Kind, walk
from headgated.effects.scan import Source


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")


def test_what_editors_leave_and_our_own_is_not_offered(root: Path) -> None:
    write(root, "x.conf", ".x.conf.swp", "x.conf~", ".git/config", "d/.headgate-0123456789ab-1", "4913")
    os.mkfifo(root / ".#lock")
    assert paths(good(Source(str(root)).snapshot())) == {b"x.conf", b"d"}


def test_hint_at_an_ignored_name_changes_nothing_and_opens_nothing(root: Path) -> None:
    write(root, "x.conf")
    source = Source(str(root))
    first = source.snapshot()
    write(root, ".x.conf.swp", ".git/objects/aa/bb")
    with opens() as opened:
        second = good(marked(source, b".x.conf.swp", b".git/objects/aa/bb"))
    assert second.tree is first.tree
    assert opened == [os.fsencode(root)]


def test_ignore_file_holds_below_its_directory_and_the_nearest_decides(root: Path) -> None:
    write(root, "a.log", "d/a.log", "d/e/a.log", "d/e/b.log", "other/a.log")
    (root / ".headgateignore").write_text("*.log\n")
    (root / "d/e/.headgateignore").write_text("!b.log\n")
    assert paths(good(Source(str(root)).snapshot())) == {b"d", b"d/e", b"d/e/b.log", b"other"}


def test_negation_brings_a_default_back_but_not_our_own(root: Path) -> None:
    write(root, "x.tmp", ".headgate-x", ".git/x")
    (root / ".headgateignore").write_text("!*\n")
    assert paths(good(Source(str(root)).snapshot())) == {b"x.tmp", b".headgateignore"}


def test_changed_rules_take_effect_for_all_below(root: Path) -> None:
    write(root, "keep", "d/e/a.log", "d/e/b.conf", "f/a.log")
    source = Source(str(root))
    everything = paths(source.snapshot())
    (root / "d/.headgateignore").write_text("*.log\n")
    assert paths(good(marked(source, b"d/.headgateignore"))) == everything - {b"d/e/a.log"}
    (root / "d/.headgateignore").write_text("e/\n")
    assert paths(good(marked(source, b"d/.headgateignore"))) == {b"keep", b"d", b"f", b"f/a.log"}
    (root / "d/.headgateignore").unlink()
    assert paths(good(marked(source, b"d/.headgateignore"))) == everything


def test_changed_rules_are_found_without_a_hint_at_them(root: Path) -> None:
    write(root, "a.log", "d/a.log")
    let_age(root / "a.log", root / "d/a.log")
    source = Source(str(root))
    source.snapshot()
    (root / ".headgateignore").write_text("a.log\n")
    assert paths(good(marked(source))) == {b"d"}


def test_unchanged_rules_are_not_read_again(root: Path) -> None:
    write(root, "a", "d/a")
    (root / ".headgateignore").write_text("b\n")
    let_age(root / ".headgateignore", root / "a", root / "d/a")
    source = Source(str(root))
    source.snapshot()
    with opens() as opened:
        marked(source)
    assert opened == [os.fsencode(root), b"d"]


def test_line_that_makes_no_sense_is_a_fault_until_it_is_mended(root: Path) -> None:
    write(root, "a", "b")
    (root / ".headgateignore").write_text("a\n[b\n")
    source = Source(str(root))
    snapshot = source.snapshot()
    assert faults(snapshot) == {IGNORE_FILE: "IGNORE_FILE"}
    assert snapshot.faults[0].message == "cannot understand .headgateignore: line 2: a bracket is not closed"
    (root / ".headgateignore").write_text("a\nb\n")
    assert paths(good(source.snapshot())) == set()


@pytest.mark.parametrize("kind", ["symlink", "directory", "pipe", "large"])
def test_ignore_file_that_is_no_small_file_is_a_fault(root: Path, kind: str) -> None:
    write(root, "a", "b")
    (root / ".headgateignore").write_text("a\n")
    source = Source(str(root))
    assert paths(source.snapshot()) == {b"b"}
    (root / ".headgateignore").unlink()
    match kind:
        case "symlink":
            (root / ".headgateignore").symlink_to("b")
        case "directory":
            (root / ".headgateignore").mkdir()
        case "pipe":
            os.mkfifo(root / ".headgateignore")
        case _:
            (root / ".headgateignore").write_text("#" * 70_000)
    snapshot = marked(source)
    assert faults(snapshot) == {IGNORE_FILE: "IGNORE_FILE"}
    assert paths(snapshot) == {b"b"}, "what was ignored stays ignored"


def test_ignore_file_that_cannot_be_read_is_a_fault() -> None:
    root = Path(tempfile.mkdtemp())
    try:
        root.chmod(0o755)
        write(root, "a", "b")
        (root / ".headgateignore").write_text("a\n")
        (root / ".headgateignore").chmod(0)
        with unprivileged():
            assert faults(Source(str(root)).snapshot()) == {IGNORE_FILE: "UNREADABLE"}
    finally:
        shutil.rmtree(root)


NAMES = st.sampled_from(["a", "b", "ab", "a.b", "ba", "[", "!a", "#b", "a b", "\\", "-"])
PATTERN_PIECES = st.sampled_from(
    [
        *("a", "b", ".", "*", "**", "?", "/", "/", "[ab]", "[!a]", "[[:alpha:]]", "[a-b]", "[]-]"),
        *("\\[", "\\!", "\\#", " ", "!", "#"),
    ]
)
# Where `**` ends a longer part ("a**/b"), git does not do what its manual says.
PATTERNS = (
    st.lists(PATTERN_PIECES, min_size=1, max_size=5)
    .map("".join)
    .filter(lambda line: not re.search(r"[^/*]\*\*", line))
)
FILES = st.lists(st.lists(NAMES, min_size=1, max_size=3).map("/".join), min_size=1, max_size=8, unique=True)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git to compare with")
@settings(max_examples=60, deadline=None)
@given(FILES, st.lists(PATTERNS, min_size=1, max_size=4), st.lists(PATTERNS, max_size=3), NAMES)
def test_what_is_ignored_is_what_git_ignores(
    files: list[str], patterns: list[str], inner: list[str], inner_directory: str
) -> None:
    top = Path(tempfile.mkdtemp())
    try:
        for file in files:
            try:
                write(top, file)
            except (NotADirectoryError, FileExistsError, IsADirectoryError):
                continue  # another file is where this one needs a directory
        (top / ".headgateignore").write_text("\n".join(patterns))
        if inner and (top / inner_directory).is_dir():
            (top / inner_directory / ".headgateignore").write_text("\n".join(inner))
        snapshot = Source(str(top)).snapshot()
        offered = {path for path, entry in walk(snapshot.tree) if entry.kind != Kind.DIRECTORY}
        assert offered - ignore_files(offered) == listed_by_git(top)
    finally:
        shutil.rmtree(top)


def ignore_files(names: set[bytes]) -> set[bytes]:
    return {name for name in names if name.rpartition(b"/")[2] == IGNORE_FILE}


def listed_by_git(top: Path) -> set[bytes]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    nowhere = {"HOME": str(top), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    environment = clean | nowhere
    subprocess.run(["git", "init", "-q", str(top)], check=True, env=environment)
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--others", "--exclude-per-directory=.headgateignore"],
        cwd=top,
        env=environment,
        check=True,
        capture_output=True,
    ).stdout
    names = set(listing.split(b"\0")) - {b""}
    return names - ignore_files(names)
