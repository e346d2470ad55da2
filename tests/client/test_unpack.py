"""An export becomes a directory: whole or not at all, and never anything outside of it."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.errors import HeadgateError, InternalError, RefusedError
from headgate.unpack import unpack


def member(name: str, kind: bytes = tarfile.REGTYPE, mode: int = 0o644, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname = kind, mode, target
    return info


def packed(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


DIRECTORY = (member("d", tarfile.DIRTYPE, 0o550), b"")
FILE = (member("d/f", mode=0o640), b"content\n" * 10_000)
LINK = (member("d/l", tarfile.SYMTYPE, 0o777, "f"), b"")


def pieces(archive: bytes, size: int) -> Iterator[bytes]:
    return (archive[at : at + size] for at in range(0, len(archive), size))


@pytest.mark.parametrize("size", [1, 511, 65536, 10**6])
def test_content_modes_and_symlinks_are_kept(tmp_path: Path, size: int) -> None:
    out, odd = tmp_path / "out", os.fsdecode(b"odd-\xff")
    archive = packed(DIRECTORY, FILE, LINK, (member(odd), b"odd"))
    assert unpack(pieces(archive, size), out) == 3
    assert (out / "d" / "f").read_bytes() == FILE[1]
    assert stat.S_IMODE((out / "d" / "f").stat().st_mode) == 0o640
    assert stat.S_IMODE((out / "d").stat().st_mode) == 0o550
    assert (out / "d" / "l").readlink() == Path("f")
    assert (out / odd).read_bytes() == b"odd"
    (out / "d").chmod(0o755)


def test_empty_directory_is_used_and_a_full_one_refused(tmp_path: Path) -> None:
    unpack([packed(DIRECTORY, FILE)], tmp_path)
    before = (tmp_path / "d" / "f").read_bytes()
    with pytest.raises(RefusedError) as caught:
        unpack([packed((member("other"), b"x"))], tmp_path)
    assert caught.value.reason == "NOT_EMPTY"
    assert (tmp_path / "d" / "f").read_bytes() == before
    assert not (tmp_path / "other").exists()
    (tmp_path / "d").chmod(0o755)


@pytest.mark.parametrize("there", [True, False])
def test_export_that_breaks_off_leaves_nothing(tmp_path: Path, *, there: bool) -> None:
    out = tmp_path / "out"
    if there:
        out.mkdir()

    def broken() -> Iterator[bytes]:
        yield packed(DIRECTORY, FILE)
        raise HeadgateError("cannot go on")

    with pytest.raises(HeadgateError, match="cannot go on"):
        unpack(broken(), out)
    assert out.exists() == there
    assert not there or not any(out.iterdir())


@pytest.mark.parametrize(
    "names",
    [
        [member("/etc/x")],
        [member("../x")],
        [member("..", tarfile.DIRTYPE)],
        [member("d", tarfile.DIRTYPE), member("d/../../x")],
        [member("l", tarfile.SYMTYPE, target="/tmp"), member("l/x")],
        [member("l", tarfile.SYMTYPE, target="x"), member("l")],
        [member("a/b")],
        [member("pipe", tarfile.FIFOTYPE)],
        [member("hard", tarfile.LNKTYPE, target="/etc/passwd")],
    ],
    ids=lambda names: " ".join(each.name for each in names),
)
def test_nothing_is_written_outside(tmp_path: Path, names: list[tarfile.TarInfo]) -> None:
    out = tmp_path / "in" / "out"
    out.parent.mkdir()
    with pytest.raises(HeadgateError):
        unpack([packed(*((name, b"") for name in names))], out)
    assert list(tmp_path.rglob("*")) == [out.parent]


def test_bytes_that_are_no_archive_say_so(tmp_path: Path) -> None:
    with pytest.raises(InternalError):
        unpack([b"x" * 5000], tmp_path / "out")


def test_directory_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    with pytest.raises(HeadgateError) as caught:
        unpack([packed(FILE)], tmp_path / "no" / "such")
    assert caught.value.message == f"cannot write to {tmp_path}/no/such: No such file or directory"
