"""How a thread of this process is doing, by the kernel's word (proc(5), `/proc/self/task`).

A thread that waits for a lock, one that waits for a disk and one that computes look the same from inside Python; the kernel knows
them apart. Where it does not tell, a thread counts as waiting for the kernel: no conclusion is drawn from silence.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass

_FUTEX = {"x86_64": {202}, "aarch64": {98}, "riscv64": {98}, "ppc64le": {221}, "s390x": {238}}
"""Numbers of the system call that every lock waits in, by machine."""
_STATE, _USER_TIME, _SYSTEM_TIME = 0, 11, 12
"""Fields of `stat` after the name, which may itself hold blanks and brackets."""


@dataclass(frozen=True, slots=True)
class ThreadLook:
    """One look at one thread."""

    in_kernel: bool
    """It waits for the kernel: for a disk, another process, a time; not for a lock, and it does not compute."""
    on_disk: bool
    """It waits and cannot be interrupted, as for a disk."""
    cpu: int
    """Processor time it has used, in clock ticks."""
    switches: int
    """How often it has given up the processor or was made to."""
    io: tuple[int, ...]
    """What it has read and written: bytes and calls; empty where the kernel does not count."""


def look(thread: int) -> ThreadLook | None:
    """Look at a thread by its native id; None: it is gone, or cannot be looked at."""
    home = f"/proc/self/task/{thread}"
    try:
        fields = _read(f"{home}/stat").rpartition(")")[2].split()
        switches = sum(
            int(line.split()[1])
            for line in _read(f"{home}/status").splitlines()
            if line.startswith(("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"))
        )
    except (OSError, ValueError, IndexError):
        return None
    state = fields[_STATE]
    return ThreadLook(
        in_kernel=state == "D" or (state != "R" and not _waits_for_lock(home)),
        on_disk=state == "D",
        cpu=int(fields[_USER_TIME]) + int(fields[_SYSTEM_TIME]),
        switches=switches,
        io=_io(home),
    )


def any_on_disk() -> bool:
    """Tell whether any thread of this process waits for a disk just now."""
    for thread in os.listdir("/proc/self/task"):
        found = look(int(thread))
        if found is not None and found.on_disk:
            return True
    return False


def _waits_for_lock(home: str) -> bool:
    try:
        call = _read(f"{home}/syscall").split()[0]
        return call == "running" or int(call) in _FUTEX.get(platform.machine(), set())
    except (OSError, ValueError, IndexError):
        return False


def _io(home: str) -> tuple[int, ...]:
    try:
        return tuple(int(line.split()[1]) for line in _read(f"{home}/io").splitlines()[:4])
    except (OSError, ValueError, IndexError):
        return ()


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
