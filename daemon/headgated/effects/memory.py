"""What the process holds of the machine's memory."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Give back to the system what was freed; takes some milliseconds, and does nothing where the C library has no such call.

    glibc by itself keeps whatever lies below something that is still in use: after ten thousand contents had their turn between
    objects that stay, that is tens of megabytes.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
