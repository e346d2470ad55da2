"""Copies of targets for checks: whatever is there, whoever changes it meanwhile, and nothing of anybody else's is removed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from headgated.core.errors import DeploymentFailedError, TargetMovedError
from headgated.core.plan import Change
from headgated.core.tree import Entry, Kind
from headgated.effects.rehearsal import rehearsal, sweep

DIRECTORY = Entry(Kind.DIRECTORY)


def nothing(path: bytes, entry: Entry) -> tuple[bytes, ...]:
    raise AssertionError((path, entry))


def test_special_files_and_symlinks_are_no_hindrance(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    os.mkfifo(target / "fifo")
    (target / "loop").symlink_to("loop")
    (target / "out").symlink_to("/")
    (target / "gone").symlink_to("nowhere")
    os.mknod(target / "socket", stat.S_IFSOCK | 0o600)
    with rehearsal(tmp_path / "checks", str(target), (), nothing) as copy:
        assert sorted(os.listdir(copy.staged)) == ["gone", "loop", "out"]
        assert (copy.staged / "out").readlink() == Path("/")


def test_directory_that_goes_is_not_in_the_copy_unless_something_is_in_it(tmp_path: Path) -> None:
    target = tmp_path / "target"
    for name in ("empty", "kept"):
        (target / name / "below").mkdir(parents=True)
    (target / "kept" / "foreign").write_text("theirs")
    paths = (b"empty", b"empty/below", b"kept", b"kept/below")
    changes = [Change(path, DIRECTORY, None) for path in paths]
    with rehearsal(tmp_path / "checks", str(target), changes, nothing) as copy:
        found = sorted(str(path.relative_to(copy.staged)) for path in copy.staged.rglob("*"))
    assert found == ["kept", "kept/foreign"]


def test_target_that_changes_meanwhile_is_copied_or_said_to_move(tmp_path: Path) -> None:
    target, stop = tmp_path / "target", threading.Event()
    for number in range(30):
        (target / f"d{number}").mkdir(parents=True)

    def change() -> None:
        number = 0
        while not stop.is_set():
            number = (number + 1) % 30
            path = target / f"d{number}"
            with suppress(OSError):
                (path / "file").write_text("x")
                (path / "file").unlink()
                path.rmdir()
                path.symlink_to("/")
                path.unlink()
                path.mkdir()

    writer = threading.Thread(target=change)
    writer.start()
    copied = 0
    try:
        for _ in range(150):
            with suppress(TargetMovedError), rehearsal(tmp_path / "checks", str(target), (), nothing):
                copied += 1
    finally:
        stop.set()
        writer.join()
    assert copied
    assert os.listdir(tmp_path / "checks") == []


def test_what_cannot_be_copied_is_named(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "checks").write_text("a file in the way")
    with pytest.raises(DeploymentFailedError, match="no copy of it can be made") as caught:
        rehearsal(tmp_path / "checks", str(target), (), nothing).__enter__()
    assert caught.value.reason == "CHECK_IMPOSSIBLE"


def test_copy_of_a_closed_directory_is_removed_whoever_the_daemon_is(tmp_path: Path) -> None:
    """Not root: nobody else is held up by a mode."""
    target, checks = tmp_path / "target", tmp_path / "checks"
    (target / "closed" / "inner").mkdir(parents=True)
    (target / "closed" / "inner" / "file").write_text("x")
    (target / "closed" / "inner").chmod(0o500)
    (target / "closed").chmod(0o500)
    program = (
        "import sys; from pathlib import Path; from headgated.effects.rehearsal import rehearsal\n"
        "with rehearsal(Path(sys.argv[1]), sys.argv[2], (), None) as copy: assert (copy.staged / 'closed/inner/file').exists()"
    )
    argv = [sys.executable, "-c", program, str(checks), str(target)]
    try:
        if os.geteuid() == 0:
            # Without the capabilities that pass over modes; still root, who may enter every directory above.
            argv = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", *argv]
        subprocess.run(argv, check=True)
        assert os.listdir(checks) == []
    finally:
        (target / "closed").chmod(0o700)


def test_sweep_leaves_what_is_not_ours(tmp_path: Path) -> None:
    """Root may have chosen a directory that holds something else."""
    (tmp_path / "ssh").mkdir()
    (tmp_path / "ssh" / "sshd_config").write_text("theirs")
    (tmp_path / "passwd").write_text("theirs")
    (tmp_path / "headgate-check-0123").mkdir()
    (tmp_path / "headgate-check-0123" / "staged").write_text("left")
    (tmp_path / "headgate-check-deploy_web_1.changed").write_text("left")
    sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["passwd", "ssh"]
    sweep(tmp_path / "missing")
