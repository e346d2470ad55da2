"""The model of a power cut finds what is wrong with the usual ways to write a file, and grants what is promised to the right one."""

from __future__ import annotations

import os
import random
import shutil
import sys
from pathlib import Path

import pytest
from tests.torture.followed import Followed
from tests.torture.powercut import ways
from tests.torture.recorded import read, record
from tests.torture.unsynced import image, load, make

pytestmark = [
    pytest.mark.torture,
    pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed"),
]

NEW, OLD = b"new " * 1000, b"old " * 1000
PRELUDE = """
import os, threading
d = os.open(".", os.O_RDONLY)
def write(name, sync):
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=d)
    os.write(fd, b"new " * 500); os.write(fd, b"new " * 500)
    if sync: os.fsync(fd)
    os.close(fd)
def say(word): os.access("/mark/" + word, os.F_OK)
"""


def left_by(program: str, home: Path) -> dict[str, set[bytes | None]]:
    """Return what a power cut may leave of a file after each call of a program, by what the program had said by then."""
    trace = home.parent / "trace"
    (home / "f").write_bytes(OLD)
    followed = Followed(home, load(home, frozenset()), frozenset())
    code = PRELUDE.replace('"."', repr(str(home))) + program
    try:
        record([sys.executable, "-c", code], trace, home)
    except PermissionError as error:
        pytest.skip(f"strace may not trace here: {error}")
    found: dict[str, set[bytes | None]] = {}
    rng = random.Random(1)
    for event in read(trace):
        followed.follow(event)
        for _, survivors in ways(rng, 30):
            there = image(followed.root, survivors).get(b"f")
            found.setdefault(followed.marks[-1] if followed.marks else "", set()).add(there and there[2])
    return found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


def test_rename_without_a_sync_may_leave_an_empty_file(home: Path) -> None:
    found = left_by(
        """write("t", False); os.rename("t", "f", src_dir_fd=d, dst_dir_fd=d); say("done")""", home
    )
    assert {b"", OLD, NEW} <= found["done"]


def test_rename_after_a_sync_leaves_the_old_file_or_the_new_one(home: Path) -> None:
    found = left_by(
        """write("t", True); os.rename("t", "f", src_dir_fd=d, dst_dir_fd=d); say("done")""", home
    )
    assert found[""] | found["done"] == {OLD, NEW}
    assert OLD in found["done"], "the name may be lost as long as the directory was not synced"


def test_sync_of_the_directory_makes_a_rename_last(home: Path) -> None:
    found = left_by(
        """write("t", True); os.rename("t", "f", src_dir_fd=d, dst_dir_fd=d); os.fsync(d); say("done")""",
        home,
    )
    assert found["done"] == {NEW}


def test_sync_of_the_whole_file_system_makes_everything_last(home: Path) -> None:
    found = left_by(
        """write("t", False); os.rename("t", "f", src_dir_fd=d, dst_dir_fd=d); os.sync(); say("done")""", home
    )
    assert found["done"] == {NEW}


def test_write_in_place_may_be_torn(home: Path) -> None:
    found = left_by("""fd = os.open("f", os.O_WRONLY, dir_fd=d); os.pwrite(fd, b"new " * 1000, 0)""", home)
    assert any(data not in (OLD, NEW) for data in found[""])


def test_file_without_a_name_is_linked_with_what_was_synced_of_it(home: Path) -> None:
    program = """
fd = os.open(".", os.O_WRONLY | os.O_TMPFILE, 0o600, dir_fd=d); os.write(fd, b"new " * 1000)
beside = threading.Thread(target=os.fsync, args=(fd,)); beside.start(); beside.join()
os.unlink("f", dir_fd=d); os.link(f"/proc/self/fd/{fd}", "f", dst_dir_fd=d, follow_symlinks=True); os.fsync(d); say("done")
"""
    assert left_by(program, home)["done"] == {NEW}


def test_image_is_made_with_modes_links_and_second_names(tmp_path: Path) -> None:
    top, other = tmp_path / "top", tmp_path / "other"
    (top / "d").mkdir(parents=True, mode=0o750)
    (top / "d" / "f").write_bytes(NEW)
    (top / "d" / "f").chmod(0o640)
    os.link(top / "d" / "f", top / "second")
    (top / "link").symlink_to("d/f")
    other.mkdir()
    make(other, image(load(top, frozenset()), lambda node: node.pending))
    assert (other / "second").samefile(other / "d" / "f")
    assert (other / "second").read_bytes() == NEW
    assert (other / "second").stat().st_mode & 0o777 == 0o640
    assert (other / "d").stat().st_mode & 0o777 == 0o750
    assert os.readlink(other / "link") == "d/f"
