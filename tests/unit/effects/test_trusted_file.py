"""Files that others could have written, or led elsewhere, are not taken."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from headgated.core.errors import RefusedError
from headgated.effects.trusted_file import LARGEST, read_trusted


@pytest.fixture
def file(tmp_path: Path) -> Path:
    way = tmp_path / "way"
    way.mkdir(mode=0o755)
    (way / "file").write_bytes(b"content")
    (way / "file").chmod(0o644)
    return way / "file"


def test_file_of_ours_is_read_also_through_links_and_sticky_directories(file: Path) -> None:
    file.parent.chmod(0o1777)
    (file.parent / "relative").symlink_to("../way/file")
    (file.parent / "absolute").symlink_to(file.parent / "relative")
    assert read_trusted(file) == b"content"
    assert read_trusted(file.parent / "absolute") == b"content"
    file.chmod(0o600)
    assert read_trusted(file, private=True) == b"content"


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_file_that_others_may_write_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(RefusedError, match="others may write it") as caught:
        read_trusted(file)
    assert (caught.value.reason, caught.value.hint) == ("FILE_NOT_TRUSTED", f"chmod go-w {file}")


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
def test_way_that_others_may_write_to_is_refused(file: Path, mode: int) -> None:
    file.parent.chmod(mode)
    with pytest.raises(RefusedError, match="a directory on the way to it"):
        read_trusted(file)


def test_link_that_leads_through_a_directory_of_others_is_refused(file: Path, tmp_path: Path) -> None:
    loose = tmp_path / "loose"
    loose.mkdir()
    (loose / "step").symlink_to(file.parent)
    (file.parent / "link").symlink_to(loose / "step" / "file")
    assert read_trusted(file.parent / "link") == b"content"
    loose.chmod(0o777)
    with pytest.raises(RefusedError, match=f"others may write to {loose}"):
        read_trusted(file.parent / "link")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_private_file_that_others_may_read_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert read_trusted(file) == b"content"
    with pytest.raises(RefusedError, match="others may read it"):
        read_trusted(file, private=True)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="giving files away needs root")
def test_file_link_or_directory_of_another_user_is_refused(file: Path) -> None:
    (file.parent / "link").symlink_to(file)
    os.chown(file.parent / "link", 65534, 65534, follow_symlinks=False)
    with pytest.raises(RefusedError, match="belongs to uid 65534"):
        read_trusted(file.parent / "link")
    os.chown(file, 65534, 65534)
    with pytest.raises(RefusedError, match="belongs to uid 65534"):
        read_trusted(file)
    os.chown(file, 0, 0)
    os.chown(file.parent, 65534, 65534)
    with pytest.raises(RefusedError, match="belongs to uid 65534"):
        read_trusted(file)


def directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


def large(file: Path) -> None:
    os.truncate(file, LARGEST + 1)


@pytest.mark.parametrize("spoil", [Path.unlink, directory, fifo, loop, large])
def test_what_is_no_file_to_read_is_refused_and_never_waited_for(
    file: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(file)
    with pytest.raises(RefusedError) as caught:
        read_trusted(file)
    assert caught.value.reason == "FILE_NOT_READABLE"
