from __future__ import annotations

import errno
import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.effects.faults import swapping

from headgated.effects.beneath import GONE, Beneath, open_root

WAYS = pytest.mark.parametrize("way", ["openat2", "walk"])
OpenBeneath = Callable[..., Beneath]


@pytest.fixture(params=["openat2", "walk"])
def beneath(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenBeneath]:
    opened: list[Beneath] = []

    def open_it(**options: Any) -> Beneath:
        found = Beneath(os.fsencode(tmp_path), openat2=request.param == "openat2", **options)
        opened.append(found)
        return found

    yield open_it
    for one in opened:
        one.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_directory_is_the_one_at_the_path(tmp_path: Path, beneath: OpenBeneath) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    one = beneath()
    for path in ("", "a", "a/b"):
        assert os.path.samestat(os.fstat(one.directory(os.fsencode(path))), (tmp_path / path).stat())


def test_place_is_the_directory_and_the_name(tmp_path: Path, beneath: OpenBeneath) -> None:
    (tmp_path / "a").mkdir()
    one = beneath()
    assert one.place(b"a/f") == (one.directory(b"a"), b"f")
    assert one.place(b"f") == (one.directory(b""), b"f")
    assert one.place(b"") == (one.directory(b""), b".")


@pytest.mark.parametrize("path", ["link", "link/b", "a/up", "a/file", "nothing", "a/nothing/x", "a/file/x"])
def test_what_is_no_directory_below_is_gone(tmp_path: Path, beneath: OpenBeneath, path: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").touch()
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "a" / "up").symlink_to("..")
    with pytest.raises(OSError, match=r".*") as caught:
        beneath().directory(os.fsencode(path))
    assert caught.value.errno in GONE


def test_open_directory_stays_the_same_when_it_is_moved(tmp_path: Path, beneath: OpenBeneath) -> None:
    (tmp_path / "a").mkdir()
    one = beneath()
    inode = os.fstat(one.directory(b"a")).st_ino
    (tmp_path / "a").rename(tmp_path / "b")
    (tmp_path / "a").mkdir()
    assert os.fstat(one.directory(b"a")).st_ino == inode
    one.forget(b"a")
    assert os.fstat(one.directory(b"a")).st_ino != inode


def test_forget_closes_what_is_below_and_nothing_else(tmp_path: Path, beneath: OpenBeneath) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "ab").mkdir()
    one = beneath()
    one.directory(b"a")
    inner, other = one.directory(b"a/b"), one.directory(b"ab")
    one.forget(b"a")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(inner)
    os.fstat(other)


def test_no_more_than_capacity_is_open_and_all_is_closed(tmp_path: Path, beneath: OpenBeneath) -> None:
    for number in range(20):
        (tmp_path / str(number)).mkdir()
    before = descriptors()
    with beneath(capacity=5) as one:
        for number in range(20):
            one.directory(b"%d" % number)
            one.directory(b"0")
        assert descriptors() == before + 1 + 5
        assert os.path.samestat(os.fstat(one.directory(b"3")), (tmp_path / "3").stat())
    assert descriptors() == before


@WAYS
def test_root_is_not_reached_through_a_symlink(tmp_path: Path, way: str) -> None:
    (tmp_path / "real" / "root").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "last").symlink_to("root")
    for path in ("link/root", "real/last"):
        with pytest.raises(OSError, match=r".*") as caught:
            open_root(os.fsencode(tmp_path / path), openat2=way == "openat2")
        assert caught.value.errno in {errno.ELOOP, errno.ENOTDIR}
    os.close(open_root(os.fsencode(tmp_path / "real/root"), openat2=way == "openat2"))


@WAYS
def test_root_of_all_can_be_opened(way: str) -> None:
    os.close(open_root(b"/", openat2=way == "openat2"))


def test_swapped_symlink_never_leads_out(tmp_path: Path, beneath: OpenBeneath) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "root"
    (outside / "sub").mkdir(parents=True)
    (inside / "d" / "sub").mkdir(parents=True)
    (inside / "evil").symlink_to(outside)
    one = beneath()
    wrong = (outside / "sub").stat().st_ino
    right = (inside / "d" / "sub").stat().st_ino
    met, errors = set(), set()
    deadline = time.monotonic() + 30
    with swapping(inside, b"d", b"evil"):
        for count in itertools.count():
            try:
                met.add(os.fstat(one.directory(b"root/d/sub")).st_ino)
            except OSError as error:
                errors.add(error.errno)
            one.forget(b"root")
            if count > 5000 and met and errors:
                break
            assert time.monotonic() < deadline
    assert wrong not in met
    assert met == {right}
    assert errors <= GONE
