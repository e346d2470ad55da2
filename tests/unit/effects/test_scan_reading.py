"""The content that is handed out is the content that was seen, or an error."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.unit.effects.scanning import entry, unprivileged

from headgated.core.errors import DeploymentFailedError, SourceMovedError
from headgated.effects.scan import Source
from headgated.effects.scan.reading import MovedError, read_unmoved
from headgated.effects.signature import look, signature

MIB = 1 << 20


@pytest.fixture
def root() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    (made / "d").mkdir()
    (made / "d/file").write_bytes(b"content")
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 5])
def test_content_comes_whole_in_chunks_of_at_most_a_mebibyte(root: Path, size: int) -> None:
    text = os.urandom(size)
    (root / "d/file").write_bytes(text)
    source = Source(str(root))
    chunks = list(source.read(b"d/file", entry(source.snapshot(), b"d/file")))
    assert b"".join(chunks) == text
    assert all(0 < len(chunk) <= MIB for chunk in chunks)


def overwrite(root: Path) -> None:
    (root / "d/file").write_bytes(b"CONTENT")


def shorten(root: Path) -> None:
    (root / "d/file").write_bytes(b"conten")


def lengthen(root: Path) -> None:
    (root / "d/file").write_bytes(b"content!")


def remove(root: Path) -> None:
    (root / "d/file").unlink()


def remove_directory(root: Path) -> None:
    shutil.rmtree(root / "d")


def make_directory(root: Path) -> None:
    (root / "d/file").unlink()
    (root / "d/file").mkdir()


def make_pipe(root: Path) -> None:
    (root / "d/file").unlink()
    os.mkfifo(root / "d/file")


def make_symlink(root: Path) -> None:
    (root / "d/file").rename(root / "d/same")
    (root / "d/file").symlink_to("same")


def make_directory_a_symlink(root: Path) -> None:
    (root / "d").rename(root / "e")
    (root / "d").symlink_to("e")


@pytest.mark.parametrize(
    "change",
    [
        *(overwrite, shorten, lengthen, remove, remove_directory),
        *(make_directory, make_pipe, make_symlink, make_directory_a_symlink),
    ],
)
def test_file_that_changed_since_is_never_handed_out(root: Path, change: Callable[[Path], None]) -> None:
    source = Source(str(root))
    seen = entry(source.snapshot(), b"d/file")
    change(root)
    with pytest.raises(SourceMovedError) as raised:
        list(source.read(b"d/file", seen))
    assert raised.value.paths == ("d/file",)
    assert raised.value.reason == "SOURCE_MOVED"


def test_large_file_that_changed_fails_before_its_last_chunk(root: Path) -> None:
    text = bytearray(os.urandom(2 * MIB))
    (root / "d/file").write_bytes(text)
    source = Source(str(root))
    seen = entry(source.snapshot(), b"d/file")
    text[-1] ^= 1
    (root / "d/file").write_bytes(text)
    chunks = source.read(b"d/file", seen)
    assert len(next(chunks)) == MIB
    with pytest.raises(SourceMovedError):
        next(chunks)


def test_file_that_is_not_the_one_that_was_looked_at_is_not_read(root: Path) -> None:
    with directory(root / "d") as here:
        expected = signature(look(here, b"file"))
        overwrite(root)
        with pytest.raises(MovedError):
            next(read_unmoved(here, b"file", expected))


def test_file_that_changes_between_two_chunks_is_void(root: Path) -> None:
    """S1: stat, read, stat again."""
    (root / "d/file").write_bytes(bytes(2 * MIB))
    with directory(root / "d") as here:
        chunks = read_unmoved(here, b"file", signature(look(here, b"file")))
        assert len(next(chunks)) == MIB
        with (root / "d/file").open("r+b") as file:
            file.write(b"x")
        with pytest.raises(MovedError):
            list(chunks)


@contextmanager
def directory(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_file_that_cannot_be_read_is_an_error_that_says_so(root: Path) -> None:
    source = Source(str(root))
    seen = entry(source.snapshot(), b"d/file")
    (root / "d/file").chmod(0)
    with unprivileged(), pytest.raises(DeploymentFailedError) as raised:
        list(source.read(b"d/file", seen))
    assert (raised.value.reason, raised.value.message) == (
        "UNREADABLE",
        "cannot read d/file: Permission denied",
    )


def test_reading_leaves_no_descriptor_open(root: Path) -> None:
    (root / "d/file").write_bytes(os.urandom(3 * MIB))
    source = Source(str(root))
    seen = entry(source.snapshot(), b"d/file")
    before = len(os.listdir("/proc/self/fd"))
    list(source.read(b"d/file", seen))
    broken_off = source.read(b"d/file", seen)
    next(broken_off)
    del broken_off
    assert len(os.listdir("/proc/self/fd")) == before
