"""One daemon for a state directory (A2)."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headgated.core.errors import RefusedError, UnavailableError
from headgated.effects.lock import StateLock

HOLDER = """
import sys, time
from pathlib import Path
from headgated.effects.lock import StateLock
StateLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
time.sleep(600)
"""


def test_directory_is_made_and_is_nobody_elses(tmp_path: Path) -> None:
    state = tmp_path / "a" / "state"
    lock = StateLock(state)
    lock.acquire()
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert (state / "lock").read_text() == f"{os.getpid()}\n"
    lock.release()


def test_directory_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    lock = StateLock(tmp_path)
    lock.acquire()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    lock.release()


def test_second_one_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    first, second = StateLock(tmp_path), StateLock(tmp_path)
    first.acquire()
    with pytest.raises(RefusedError) as caught:
        second.acquire()
    assert caught.value.reason == "STATE_LOCKED"
    assert f"process {os.getpid()}" in caught.value.message
    assert caught.value.hint
    second.release()
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_lock_ends_with_its_process_however_that_ends(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    with pytest.raises(RefusedError, match=f"process {child.pid}"):
        StateLock(tmp_path).acquire()
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    lock = StateLock(tmp_path)
    lock.acquire()
    lock.release()


def test_children_do_not_keep_the_lock(tmp_path: Path) -> None:
    lock = StateLock(tmp_path)
    lock.acquire()
    sleeper = [sys.executable, "-c", "input()"]
    with subprocess.Popen(sleeper, stdin=subprocess.PIPE, close_fds=False) as child:
        lock.release()
        deadline = time.monotonic() + 10
        while not acquired(
            StateLock(tmp_path)
        ):  # it has its copy for as long as it takes to become another program
            assert time.monotonic() < deadline
        child.communicate(b"\n")


def acquired(lock: StateLock) -> bool:
    try:
        lock.acquire()
    except RefusedError:
        return False
    lock.release()
    return True


def test_state_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(UnavailableError) as caught:
        StateLock(tmp_path / "state").acquire()
    assert caught.value.reason == "STATE_NOT_WRITABLE"
    assert "--state-dir" in caught.value.hint


def test_lock_file_that_is_a_symlink_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("theirs")
    state = tmp_path / "state"
    state.mkdir()
    (state / "lock").symlink_to("../elsewhere")
    with pytest.raises(UnavailableError):
        StateLock(state).acquire()
    assert (tmp_path / "elsewhere").read_text() == "theirs"
