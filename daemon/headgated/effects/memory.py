"""What the process holds of the machine's memory."""

from __future__ import annotations

import ctypes

_ARENA_MAX = -8
"""M_ARENA_MAX of mallopt(3)."""


def use_one_heap() -> None:
    """Have all threads share one heap; to be called before there are any others. Does nothing where the C library has no such call.

    glibc gives each thread its own, and what is free in one is of no use to the others. Most of what is allocated here is so under the
    interpreter's lock, where nobody else waits for a heap.
    """
    choose = getattr(ctypes.CDLL(None), "mallopt", None)
    if choose is not None:
        choose(_ARENA_MAX, 1)


def give_back() -> None:
    """Give back to the system what was freed; takes some milliseconds, and does nothing where the C library has no such call.

    glibc by itself keeps whatever lies below something that is still in use: after ten thousand contents had their turn between
    objects that stay, that is tens of megabytes.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
