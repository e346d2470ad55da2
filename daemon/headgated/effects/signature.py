"""What changes whenever a file's content or attributes do, packed into one value.

Equal signatures mean "need not be read again", unless the file was so young when it was read that a later write could leave
the same times; how young that is, is the reader's business.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from operator import attrgetter

_facts = attrgetter(
    "st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_ctime_ns", "st_ino", "st_dev"
)
_pack = struct.Struct("=IIIQqqQQ").pack
_BITS = struct.Struct("=III")


def look(directory: int, name: bytes) -> os.stat_result:
    """Return what `name` in `directory` is; a symlink itself, not what it leads to."""
    return os.stat(name, dir_fd=directory, follow_symlinks=False)


def signature(found: os.stat_result) -> bytes:
    """Return mode, owner, size, times, inode and device in one value."""
    facts = _facts(found)
    try:
        return _pack(*facts)
    except struct.error:  # somebody set a time thousands of years from now
        return _BITS.pack(*facts[:3]) + repr(facts[3:]).encode()


def signatures(directory: int, names: Sequence[bytes]) -> list[bytes]:
    """Return the `signature` of each name in an open directory, with as little as can be beside the one call for each.

    Raises:
        OSError: one of them cannot be had.
    """
    ask, facts, pack = os.stat, _facts, _pack
    try:
        return [pack(*facts(ask(name, dir_fd=directory, follow_symlinks=False))) for name in names]
    except struct.error:
        return [signature(look(directory, name)) for name in names]


bits_in = _BITS.unpack_from
"""Returns the mode (with what kind it is), the uid and the gid in a signature."""
