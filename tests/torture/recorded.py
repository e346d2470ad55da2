"""System calls of a process and all its threads, recorded by strace with everything that they wrote."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

CALLS = (
    *("open", "openat", "openat2", "creat", "close", "dup", "dup2", "dup3", "fcntl", "lseek"),
    *("write", "pwrite64", "writev", "pwritev", "pwritev2", "sendfile", "copy_file_range", "splice"),
    *("truncate", "ftruncate", "fallocate", "chmod", "fchmod", "fchmodat", "fchmodat2"),
    *("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat"),
    *("unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "mknod", "mknodat"),
    *("fsync", "fdatasync", "syncfs", "sync", "sync_file_range", "msync", "access", "faccessat2"),
)
"""All that may change what is on a disk, or tells what a descriptor is. `access` is how the process says how far it is."""

_LINE = re.compile(r"(\d+) +(.*)")
_WHOLE = re.compile(r"(\w+)\((.*)\) += (-?\d+|\?)")
_BEGUN = re.compile(r"(\w+)\((.*?)(?:, )?<unfinished \.\.\.>$")
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)\) += (-?\d+|\?)")
_PARTS = re.compile(r'"((?:\\x[0-9a-f]{2})*)"|\{[^}]*\}|[^,\s][^,]*')


class LostTrackError(Exception):
    """What was recorded is not all that was done."""


@dataclass(frozen=True)
class Begun:
    """A call was entered."""

    number: int
    name: str
    arguments: tuple[str | bytes, ...]
    """Strings as bytes, all else as strace shows it."""


@dataclass(frozen=True)
class Done:
    """A call returned."""

    number: int
    """Of what was begun."""
    name: str
    arguments: tuple[str | bytes, ...]
    result: int


def record(command: Sequence[str], trace: Path, cwd: Path) -> None:
    """Run a command to its good end, and have its calls written to a file.

    Raises:
        PermissionError: strace may not trace here.
        LostTrackError: strace has missed a call, as it says itself; it happens where a machine is busy.
        AssertionError: the command failed.
    """
    tracer = ["strace", "-f", "-qq", "-xx", "-s", "1000000000", "-e", "signal=none"]
    wanted = "trace=" + ",".join(f"?{name}" for name in CALLS)
    done = subprocess.run(
        [*tracer, "-e", wanted, "-o", str(trace), *command],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    if "not permitted" in done.stderr:
        raise PermissionError(done.stderr.strip())
    if "ptrace_syscall_info" in done.stderr:
        raise LostTrackError(done.stderr[-300:])
    assert done.returncode == 0, done.stderr[-3000:]


def read(trace: Path) -> Iterator[Begun | Done]:
    """Yield what was recorded, in the order in which it was seen; calls of several threads overlap."""
    under_way: dict[str, tuple[int, str]] = {}
    with trace.open(encoding="ascii") as lines:
        for number, line in enumerate(lines):
            found = _LINE.match(line)
            assert found is not None, line[:200]
            thread, said = found.groups()
            if whole := _WHOLE.match(said):
                arguments = _arguments(whole[2])
                yield Begun(number, whole[1], arguments)
                yield Done(number, whole[1], arguments, _result(whole[3]))
            elif begun := _BEGUN.match(said):
                under_way[thread] = number, begun[2]
                yield Begun(number, begun[1], _arguments(begun[2]))
            elif resumed := _RESUMED.match(said):
                at, first = under_way.pop(thread)
                rest = resumed[2].removeprefix(", ").strip()
                told = ", ".join(part for part in (first, rest) if part)
                yield Done(at, resumed[1], _arguments(told), _result(resumed[3]))


def _arguments(told: str) -> tuple[str | bytes, ...]:
    return tuple(
        bytes.fromhex(part[1].replace("\\x", "")) if part[0].startswith('"') else part[0].strip()
        for part in _PARTS.finditer(told)
    )


def _result(told: str) -> int:
    return -1 if told == "?" else int(told)
