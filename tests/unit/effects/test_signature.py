"""Signatures of many names are those of each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgated.effects.signature import bits_in, look, signature, signatures

NAMES = [b"a", b"b", b"link", b"d"]
FAR = 2**63
"""Nanoseconds, in the year 2262."""


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "d").mkdir()
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_many_are_signed_as_each_is(directory: int) -> None:
    assert signatures(directory, NAMES) == [signature(look(directory, name)) for name in NAMES]
    assert len(set(signatures(directory, NAMES))) == len(NAMES)


def test_one_that_is_not_there_is_an_error(directory: int) -> None:
    with pytest.raises(FileNotFoundError):
        signatures(directory, [*NAMES, b"nothing"])


def test_signature_changes_with_mode_and_time(directory: int, tmp_path: Path) -> None:
    seen = set(signatures(directory, [b"a"]))
    for change in (
        lambda: os.chmod(tmp_path / "a", 0o640),
        lambda: os.utime(tmp_path / "a", ns=(0, 1)),
        lambda: (tmp_path / "a").write_bytes(b"longer"),
    ):
        change()
        (now,) = signatures(directory, [b"a"])
        assert now not in seen
        seen.add(now)


def test_times_beyond_all_measure_are_signed_too(directory: int, tmp_path: Path) -> None:
    os.utime(tmp_path / "a", ns=(FAR, FAR))
    if os.stat(tmp_path / "a").st_mtime_ns < FAR:
        pytest.skip("the file system keeps no such time")
    found = look(directory, b"a")
    assert signatures(directory, NAMES)[0] == signature(found)
    assert bits_in(signature(found)) == (found.st_mode, found.st_uid, found.st_gid)
