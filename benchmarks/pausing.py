"""Stops those who are not being measured, so that idle they cost nothing, and lets one come to rest before it is measured."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

_LOOK = 0.1
"""Seconds between looks at the processor time that processes have taken."""
_RESTS = 0.1
"""Share of a processor below which they are taken to be at rest: what they do at intervals is done."""
_LATEST = 30.0
"""Seconds after which they are measured as they are."""
_TICK = 1 / os.sysconf("SC_CLK_TCK")


def pause(leaders: Iterable[int]) -> None:
    """Stop process groups (SIGSTOP)."""
    _signal(leaders, signal.SIGSTOP)


def resume(leaders: Iterable[int]) -> None:
    """Let process groups go on."""
    _signal(leaders, signal.SIGCONT)


def settle(leaders: Iterable[int]) -> None:
    """Wait until process groups are at rest: what fell due while they were stopped is done."""
    groups = {str(leader) for leader in leaders}
    end = time.monotonic() + _LATEST
    quiet, before = 0, _processor_seconds(groups)
    while quiet < 3 and time.monotonic() < end:
        time.sleep(_LOOK)
        now = _processor_seconds(groups)
        quiet = quiet + 1 if now - before <= _RESTS * _LOOK + _TICK / 2 else 0
        before = now


def _signal(leaders: Iterable[int], number: signal.Signals) -> None:
    for leader in leaders:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, number)


def _processor_seconds(groups: set[str]) -> float:
    """Return what all processes of those groups have taken so far, in seconds."""
    ticks = 0
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            fields = (
                (process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            )
            if (
                fields[2] in groups
            ):  # proc(5): state, ppid, pgrp, ...; utime is the 12th, stime the 13th from here
                ticks += int(fields[11]) + int(fields[12])
    return ticks * _TICK
