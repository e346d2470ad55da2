"""The audit log: every way in which somebody could tamper with it shows, and no crash looks like tampering."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from headgated.core.errors import UnavailableError
from headgated.effects.audit_log import HEAD, NAME, AuditLog

Lines = list[bytes]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def written(home: Path, count: int = 10, **options: int) -> AuditLog:
    log = AuditLog(home, **options)
    for number in range(count):
        log.append({"phase": "asked", "user": "ann", "reason": f"ö{number}"}, sync=number % 3 == 0)
    return log


def damages(log: AuditLog) -> list[str]:
    return log.verify()[1]


def test_entries_are_numbered_chained_and_for_nobody_else(home: Path) -> None:
    log = written(home)
    assert log.verify() == (10, [])
    assert (home / NAME).stat().st_mode & 0o777 == 0o600
    assert [entry["sequence"] for entry in log.newest(3)] == [10, 9, 8]
    assert [entry["sequence"] for entry in log.newest(3, before=3)] == [2, 1]
    log.close()
    again = AuditLog(home)
    assert (again.damage, again.head.sequence) == ("", 10)
    assert again.append({"phase": "asked"}, sync=True) == 11
    assert again.verify() == (11, [])


def change(lines: Lines) -> Lines:
    return [*lines[:4], lines[4].replace(b"ann", b"bob"), *lines[5:]]


def change_last(lines: Lines) -> Lines:
    return [*lines[:-1], lines[-1].replace(b"ann", b"bob")]


def take_out(lines: Lines) -> Lines:
    return lines[:4] + lines[5:]


def take_out_first(lines: Lines) -> Lines:
    return lines[1:]


def swap(lines: Lines) -> Lines:
    return [*lines[:4], lines[5], lines[4], *lines[6:]]


def twice(lines: Lines) -> Lines:
    return [*lines[:5], lines[4], *lines[5:]]


def cut_off(lines: Lines) -> Lines:
    return lines[:-2]


def cut_in_line(lines: Lines) -> Lines:
    return [*lines[:-1], lines[-1][:20]]


def cut_everything(lines: Lines) -> Lines:
    return []


def put_in(lines: Lines) -> Lines:
    return [*lines[:4], b'{"hello": "world"}\n', *lines[4:]]


def put_in_nonsense(lines: Lines) -> Lines:
    return [*lines[:4], b"\xff\x00\n", *lines[4:]]


def renumber(lines: Lines) -> Lines:
    """Written anew from the middle on, each line fitting the one before: the head does not."""
    from headgated.core.audit import Head, digest_of, line_of  # noqa: PLC0415

    made, head = lines[:4], Head(4, digest_of(lines[3][:-1]))
    for raw in lines[4:]:
        entry = {**json.loads(raw), "user": "bob"}
        del entry["sequence"], entry["previous"]
        line, head = line_of(entry, head)
        made = [*made, line]
    return made


TAMPERINGS = [
    change, change_last, take_out, take_out_first, swap, twice, cut_off, cut_in_line, cut_everything, put_in,
    put_in_nonsense, renumber,
]  # fmt: skip


@pytest.mark.parametrize("tamper", TAMPERINGS)
@pytest.mark.parametrize("when", ["while it runs", "while it is down"])
def test_tampering_shows_at_once_and_for_ever(
    home: Path, tamper: Callable[[Lines], Lines], when: str
) -> None:
    log, running = written(home), when == "while it runs"
    if not running:
        log.close()
    lines = (home / NAME).read_bytes().splitlines(keepends=True)
    (home / NAME).write_bytes(b"".join(tamper(lines)))
    if not running:
        log = AuditLog(home)
    assert damages(log)
    log.append({"phase": "asked"}, sync=True)
    assert damages(log)
    log.close()
    assert damages(AuditLog(home))


def test_missing_head_is_told(home: Path) -> None:
    written(home).close()
    (home / HEAD).unlink()
    assert "cannot be told" in AuditLog(home).damage


def test_full_files_are_kept_in_one_chain_and_the_oldest_go(home: Path) -> None:
    log = written(home, 400, max_size=4096, keep=3)
    names = sorted(os.listdir(home))
    full = [name for name in names if name not in (NAME, HEAD)]
    assert len(full) == 3
    lines, found = log.verify()
    assert found == []
    assert lines < 400
    assert "dropped" in {entry["phase"] for entry in log.newest(1000)}
    log.close()
    log = AuditLog(home, max_size=4096, keep=3)
    assert (log.damage, damages(log)) == ("", [])
    (home / full[1]).unlink()
    assert any("missing" in damage for damage in damages(log))


def test_missing_oldest_file_shows(home: Path) -> None:
    log = written(home, 200, max_size=4096)
    (home / min(name for name in os.listdir(home) if name not in (NAME, HEAD))).unlink()
    assert any("before it are missing" in damage for damage in damages(log))


CHILD = """
import sys
from pathlib import Path
from headgated.effects.audit_log import AuditLog
log = AuditLog(Path(sys.argv[1]), max_size=65536)
while True:
    print(log.append({"phase": "asked", "reason": "x" * 500}, sync=True), flush=True)
"""


def test_kills_cost_nothing_that_was_promised_and_look_like_no_tampering(home: Path) -> None:
    promised = 0
    for pause in (3, 40, 7):
        with subprocess.Popen([sys.executable, "-c", CHILD, home], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            for _ in range(pause):
                promised = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
    log = AuditLog(home)
    assert log.damage == ""
    assert log.head.sequence >= promised
    assert damages(log) == []


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_kill_in_the_middle_of_a_line_costs_that_line_alone_and_shows_as_such(home: Path, kept: int) -> None:
    """The line was never promised, so the head does not know it."""
    log = written(home)
    known = (home / HEAD).read_bytes()
    log.append({"phase": "asked"}, sync=False)
    log.close()
    lines = (home / NAME).read_bytes().splitlines(keepends=True)
    (home / NAME).write_bytes(b"".join(lines[:-1]) + lines[-1][:kept])
    (home / HEAD).write_bytes(known)
    log = AuditLog(home)
    assert log.damage == ""
    log.append({"phase": "asked", "user": "after"}, sync=True)
    assert damages(log) == []
    assert log.newest(1)[0]["user"] == "after"
    log.close()
    log = AuditLog(home)
    log.append({"phase": "asked"}, sync=True)
    assert damages(log) == []


def test_many_threads_write_whole_lines(home: Path) -> None:
    log = AuditLog(home, max_size=65536)

    def write() -> None:
        for _ in range(50):
            log.append({"phase": "asked", "reason": "y" * 100}, sync=True)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.verify() == (400, [])


def fill(log: AuditLog) -> None:
    for _ in range(200):
        log.append({"phase": "asked", "reason": "x" * 700}, sync=True)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_full_disk_refuses_and_leaves_whole_lines(home: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", home], check=True)
    try:
        log = AuditLog(home)
        with pytest.raises(UnavailableError) as caught:
            fill(log)
        assert caught.value.reason == "AUDIT_NOT_WRITABLE"
        assert "No space left" in caught.value.message
        written = log.head.sequence
        assert written > 10
        assert log.verify() == (written, [])
        subprocess.run(["mount", "-o", "remount,size=1m", home], check=True)
        assert log.append({"phase": "asked"}, sync=True) == written + 1
        assert damages(log) == []
        log.close()
    finally:
        subprocess.run(["umount", home], check=True)
