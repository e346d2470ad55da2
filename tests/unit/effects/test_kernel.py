from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgated.effects import kernel


@pytest.fixture
def here(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def test_exchange_lets_two_names_change_places(tmp_path: Path, here: int) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").mkdir()
    kernel.rename(here, b"a", b"b", kernel.RENAME_EXCHANGE)
    assert (tmp_path / "a").is_dir()
    assert (tmp_path / "b").read_text() == "a"


def test_noreplace_refuses_a_taken_name(tmp_path: Path, here: int) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    with pytest.raises(FileExistsError) as caught:
        kernel.rename(here, b"a", b"b", kernel.RENAME_NOREPLACE)
    assert caught.value.filename == b"a"
    assert (tmp_path / "b").read_text() == "b"


def test_rename_without_flags_replaces(tmp_path: Path, here: int) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    kernel.rename(here, b"a", b"b")
    assert (tmp_path / "b").read_text() == "a"


def test_exchange_with_nothing_fails(tmp_path: Path, here: int) -> None:
    (tmp_path / "a").write_text("a")
    with pytest.raises(FileNotFoundError):
        kernel.rename(here, b"a", b"b", kernel.RENAME_EXCHANGE)


def test_unknown_flags_are_unsupported(tmp_path: Path, here: int) -> None:
    (tmp_path / "a").write_text("a")
    with pytest.raises(OSError, match="Invalid") as caught:
        kernel.rename(here, b"a", b"b", 1 << 20)
    assert kernel.is_unsupported(caught.value)
    assert not kernel.is_unsupported(FileNotFoundError(errno.ENOENT, "x"))


def test_names_that_are_not_utf8_work(tmp_path: Path, here: int) -> None:
    (tmp_path / "a").write_text("a")
    kernel.rename(here, b"a", b"caf\xe9\n", kernel.RENAME_NOREPLACE)
    assert os.listdir(os.fsencode(tmp_path)) == [b"caf\xe9\n"]


@pytest.mark.skipif(not kernel.has_openat2(), reason="this kernel has no openat2, or it is filtered")
@pytest.mark.parametrize(
    ("path", "code"),
    [
        (b"link", errno.ELOOP),
        (b"link/x", errno.ELOOP),
        (b"absolute", errno.ELOOP),
        (b"d/../../x", errno.EXDEV),
        (b"/etc", errno.EXDEV),
        (b"nothing", errno.ENOENT),
    ],
)
def test_openat2_stays_below(tmp_path: Path, here: int, path: bytes, code: int) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "link").symlink_to("d")
    (tmp_path / "absolute").symlink_to("/etc")
    resolve = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS
    with pytest.raises(OSError, match=r".*") as caught:
        kernel.open_at(here, path, os.O_RDONLY, resolve)
    assert caught.value.errno == code


@pytest.mark.skipif(not kernel.has_openat2(), reason="this kernel has no openat2, or it is filtered")
def test_openat2_opens_what_is_closed_on_exec(tmp_path: Path, here: int) -> None:
    (tmp_path / "d").mkdir()
    fd = kernel.open_at(here, b"d", os.O_RDONLY | os.O_DIRECTORY, kernel.RESOLVE_BENEATH)
    assert os.path.samestat(os.fstat(fd), (tmp_path / "d").stat())
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_plain_names_are_no_mount_points(tmp_path: Path, here: int) -> None:
    (tmp_path / "f").touch()
    (tmp_path / "d").mkdir()
    (tmp_path / "l").symlink_to("/proc")
    assert not any(kernel.is_mount_point(here, name) for name in (b"f", b"d", b"l"))
    with pytest.raises(FileNotFoundError):
        kernel.is_mount_point(here, b"nothing")


def test_other_file_systems_are_mount_points() -> None:
    fd = os.open("/", os.O_RDONLY)
    assert kernel.is_mount_point(fd, b"proc")
    os.close(fd)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_bind_mounted_file_is_a_mount_point(tmp_path: Path, here: int) -> None:
    (tmp_path / "f").touch()
    (tmp_path / "g").touch()
    if subprocess.run(
        ["mount", "--bind", tmp_path / "g", tmp_path / "f"], check=False, capture_output=True
    ).returncode:
        pytest.skip("may not mount here")
    try:
        assert kernel.is_mount_point(here, b"f")
        assert not kernel.is_mount_point(here, b"g")
    finally:
        subprocess.run(["umount", tmp_path / "f"], check=True)


def test_sync_file_system_works(here: int) -> None:
    kernel.sync_file_system(here)
    with pytest.raises(OSError, match="Bad file descriptor"):
        kernel.sync_file_system(-1)


def test_proc_is_not_synced_as_a_whole(here: int) -> None:
    fd = os.open("/proc", os.O_RDONLY)
    assert not kernel.syncs_whole(fd)
    os.close(fd)
