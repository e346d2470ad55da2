"""How exactly the kernel keeps to the times that threads wait for: their timer slack (prctl(2), PR_SET_TIMERSLACK)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_PR_SET_TIMERSLACK = 29
_USUAL = 0


@contextmanager
def patient_threads(seconds: float) -> Iterator[None]:
    """Give threads that this thread makes inside, and those that they make, so much slack.

    A wait of theirs that runs out may end so many seconds late: the kernel then wakes once for many such waits. What they are woken
    for by somebody is not delayed. Does nothing where the kernel refuses.
    """
    _set_slack(int(seconds * 1e9))
    try:
        yield
    finally:
        _set_slack(_USUAL)


def _set_slack(nanoseconds: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(nanoseconds), 0, 0, 0)
