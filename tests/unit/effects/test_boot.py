"""Whether the machine was started since a state directory was used last."""

from __future__ import annotations

from pathlib import Path

from headgated.effects.boot import BootMark, this_boot


def test_new_directory_counts_as_another_start(tmp_path: Path) -> None:
    assert BootMark(tmp_path, "one").is_another()


def test_the_same_start_is_known_again_and_another_one_is_not(tmp_path: Path) -> None:
    BootMark(tmp_path, "one").note()
    assert not BootMark(tmp_path, "one").is_another()
    assert BootMark(tmp_path, "two").is_another()


def test_where_the_kernel_says_nothing_every_start_is_another_one(tmp_path: Path) -> None:
    BootMark(tmp_path, "").note()
    assert BootMark(tmp_path, "").is_another()


def test_damaged_or_unwritable_note_counts_as_another_start(tmp_path: Path) -> None:
    (tmp_path / "boot").write_bytes(b"\xff\x00")
    assert BootMark(tmp_path, "one").is_another()
    gone = BootMark(tmp_path / "gone", "one")
    gone.note()
    assert gone.is_another()


def test_kernel_tells_the_same_all_along() -> None:
    assert this_boot() == this_boot()
