"""Counts what one changed file costs the real daemon: calls to the system, syncs, queries, bytes, memory. No clock is looked at.

The daemon runs as a process of its own with its defaults; strace is attached while the file changes. Of five changes the
least but one counts: what happens to run besides (a checkpoint, a periodic look) adds, and a machine that stalls may split one in two.

    python -m tests.guard.counting 1000       what it is for a tree of 1,000 files, and which calls
    python -m tests.guard.counting 1000 10    the same with 10 files to a directory, not 100
"""

# ruff: noqa: T201 - printing is what it is for as a program

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.attached import attached
from tests.e2e.harness import SYNCED, Daemon, eventually, state_of

CHANGES = 5
TO_A_DIRECTORY = 100
QUIET = 0.25
"""Seconds without a call that counts: the daemon is done."""
WAITING = [
    "futex",
    "epoll_wait",
    "epoll_pwait",
    "epoll_ctl",
    "poll",
    "ppoll",
    "select",
    "pselect6",
    "restart_syscall",
    "clock_nanosleep",
    "nanosleep",
    "sched_yield",
    "clock_gettime",
    "gettimeofday",
    "mmap",
    "munmap",
    "mprotect",
    "madvise",
    "brk",
    "mremap",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "gettid",
    "getpid",
    "rseq",
    "set_robust_list",
    "clone3",
    "clone",
    "exit",
    "sendto",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "eventfd2",
    "inotify_add_watch",
    "inotify_rm_watch",
]
"""Calls that wait, talk among threads, depend on the state of the allocator, or look after watches (which happens beside, now and
then, for all directories at once): their number is chance."""
SYNCS = ("fsync", "fdatasync", "syncfs", "sync_file_range", "sync", "msync")

_CALL = re.compile(r"^\d+ +(\w+)\(")
_TALK = re.compile(r"<(?:anon_inode:\[event|socket:|pipe:|UNIX)")
"""Threads that wake each other, and the timers of gRPC, which never rest."""
_WRITTEN = re.compile(r"^\d+ +p?write(?:64)?\(\d+<([^>]*)>, [^,]*, (\d+)")


@dataclass(frozen=True)
class Cost:
    """What one changed file cost."""

    system_calls: int
    """All but those that wait or allocate."""
    files_opened: int
    directories_listed: int
    syncs_before_bytes: int
    """Until the new file has its name."""
    syncs: int
    """In all, record included."""
    history_bytes: int
    """Written to history's files."""
    statements: int
    """That SQLite was asked to carry out."""
    memory_kib: int
    """Taken at once, beyond what was held before."""


def cost_of_one_change(
    files: int, directory: Path | None = None, to_a_directory: int = TO_A_DIRECTORY
) -> Cost:
    """Deploy a tree of so many files, then change one at a time and count.

    Args:
        files: how many.
        directory: where to work.
        to_a_directory: how many of them each directory has; all directories are in the root.

    Raises:
        PermissionError: strace may not look at another process here.
    """
    home = Path(tempfile.mkdtemp(prefix="hg-", dir=directory))
    try:
        return _Counting(home, files, to_a_directory).run()
    finally:
        shutil.rmtree(home, ignore_errors=True)


class _Counted(Daemon):
    """The daemon as `counted` runs it."""

    def start(self, *, wait: bool = True) -> Daemon:
        self.told = self.home / "counts"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.guard.counted", self.told),
                    *("--config", self.config, "--state-dir", self.state, "--socket", self.socket),
                ],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        if wait:
            eventually(self._answers, within=30, what="the daemon to answer")
        return self

    def tell(self, number: signal.Signals = signal.SIGUSR1) -> dict[str, int]:
        """Return what it has counted since the last time."""
        assert self.process is not None
        self.told.unlink(missing_ok=True)
        self.process.send_signal(number)
        eventually(self.told.exists, what="the daemon to tell its counts")
        counts: dict[str, int] = json.loads(self.told.read_text(encoding="utf-8"))
        return counts


class _Counting:
    def __init__(self, home: Path, files: int, to_a_directory: int = TO_A_DIRECTORY) -> None:
        self._source, self._target = home / "source", home / "target"
        self._files, self._number = files, 0
        self._to_a_directory = to_a_directory
        self._changing = self._path(files // 2)
        # No look at everything in between: traced, that of a large tree takes longer than anybody waits for a change.
        self._daemon = _Counted(home, '[settle]\nquiet = 0\n[watch]\nscan_interval = "1h"\n')
        self._trace = home / "trace"
        self._read = 0
        """How much of the trace has been looked at."""
        self.lines: list[str] = []
        """What strace said of the last change."""

    def run(self) -> Cost:
        self._grow()
        try:
            self._daemon.start()
            with self._daemon.client() as client:
                client.create_environment(
                    "canal",
                    type="testing",
                    config_path=str(self._target),
                    sources=[str(self._source)],
                    variables={"GATE": "open"},
                )
                eventually(
                    lambda: state_of(client, "canal") == SYNCED, within=600, what="the first deployment"
                )
            with self._traced():
                self._change()  # What is done only once.
                calls = [self._counted() for _ in range(CHANGES)]
            self._daemon.tell(signal.SIGUSR2)
            # Twice as many: what runs besides takes more of it than of calls.
            peaks = [self._peak() for _ in range(2 * CHANGES)]
        finally:
            self._daemon.stop()
        usual = {name: _least_but_one([each[name] for each in calls]) for name in calls[0]}
        return Cost(memory_kib=_least_but_one(peaks) // 1024, **usual)

    def _grow(self) -> None:
        for number in range(self._files):
            path = self._source / self._path(number)
            if number % self._to_a_directory == 0:
                path.parent.mkdir(parents=True)
            path.write_text(f"gate {number} is ${{GATE}}\n", encoding="utf-8")

    def _path(self, number: int) -> str:
        return f"d{number // self._to_a_directory:04d}/f{number:06d}"

    def _change(self) -> None:
        """Change the file, wait until the bytes are there and the record is on disk."""
        self._number += 1
        records = self._records()
        beside = self._source.parent / "next"
        beside.write_text(f"change {self._number}: gate is ${{GATE}}\n", encoding="utf-8")
        beside.rename(self._source / self._changing)
        wanted = f"change {self._number}: gate is open\n"
        eventually(lambda: (self._target / self._changing).read_text() == wanted, what="the new bytes")
        eventually(lambda: self._records() > records, what="the record")

    def _records(self) -> int:
        return len(list((self._daemon.state / "config_deployments" / "canal").glob("*.json")))

    def _counted(self) -> dict[str, int]:
        self._quiet()
        self._daemon.tell()
        self._quiet()
        self._change()
        lines = self._quiet()
        statements = self._daemon.tell()["statements"]
        self.lines = lines
        return _count(lines, self._changing.rpartition("/")[2]) | {"statements": statements}

    def _peak(self) -> int:
        self._daemon.tell()
        self._change()
        return self._daemon.tell()["peak"]

    def _quiet(self) -> list[str]:
        """Wait until the daemon is done; return what strace has said that counts since this was last asked."""
        end = (
            time.monotonic() + 30 + self._files / 200
        )  # A first look at all of a large target rests as long as it works.
        lines: list[str] = []
        since = time.monotonic()
        while time.monotonic() - since < QUIET:
            if new := self._new_lines():
                lines += new
                since = time.monotonic()
            assert time.monotonic() < end, f"the daemon does not come to rest: {lines[-10:]}"
            time.sleep(0.02)
        return lines

    def _new_lines(self) -> list[str]:
        with self._trace.open("rb") as trace:
            trace.seek(self._read)
            whole, _, _ = trace.read().rpartition(b"\n")
        self._read += len(whole) + 1 if whole else 0
        lines = whole.decode(errors="replace").splitlines()
        return [line for line in lines if _CALL.match(line) and not _TALK.search(line)]

    @contextmanager
    def _traced(self) -> Iterator[None]:
        assert self._daemon.process is not None
        leaving_out = "trace=!" + ",".join(name for name in WAITING)
        options = ["-y", "-s", "0", "-e", leaving_out, "-e", "signal=none", "-o", str(self._trace)]
        with attached(self._daemon.process.pid, options):
            yield


def _least_but_one(values: list[int]) -> int:
    return sorted(values)[1]


def _count(lines: list[str], name: str) -> dict[str, int]:
    calls, history, before_bytes = Counter[str](), 0, -1
    for line in lines:
        found = _CALL.match(line)
        if found is None:
            continue  # the end of a call whose beginning is counted
        call = found[1]
        if before_bytes < 0 and call.startswith("rename") and f'"{name}"' in line:
            before_bytes = sum(calls[sync] for sync in SYNCS)
        calls[call] += 1
        written = _WRITTEN.match(line)
        if written and Path(written[1]).name.startswith("history.db"):
            history += int(written[2])
    assert before_bytes >= 0, "the file was not renamed into place"
    return {
        "system_calls": calls.total(),
        "files_opened": sum(calls[call] for call in ("open", "openat", "openat2")),
        "directories_listed": calls["getdents64"],
        "syncs_before_bytes": before_bytes,
        "syncs": sum(calls[sync] for sync in SYNCS),
        "history_bytes": history,
    }


def in_memory() -> Path | None:
    """Return a directory in memory, where no disk slows the making of a large tree; None where there is none."""
    place = Path("/dev/shm")
    return place if os.access(place, os.W_OK) and shutil.disk_usage(place).free > 2**30 else None


def _show(files: int, to_a_directory: int = TO_A_DIRECTORY) -> None:
    """Print what one change costs, and of which calls that is made."""
    with tempfile.TemporaryDirectory(prefix="hg-", dir=in_memory()) as home:
        counting = _Counting(Path(home), files, to_a_directory)
        for name, value in asdict(counting.run()).items():
            print(f"{name:20} {value:>8,}")
    calls = Counter(found[1] for line in counting.lines if (found := _CALL.match(line)))
    for call, times in calls.most_common():
        print(f"    {times:>5} {call}")


if __name__ == "__main__":
    _show(*map(int, sys.argv[1:]))
