"""Bringing things to their place, away from it, and exchanging them, with a way back from wherever it was cut off.

Where the file system has RENAME_EXCHANGE and RENAME_NOREPLACE, each of these is one rename. Where it has not (NFS, some
FUSE), a file is exchanged by way of a second link, so that readers still find the old or the new one at any moment:

    link  place -> spare        the old file has two names
    rename temp -> place        the new one is there
    rename spare -> temp        as after an exchange

A directory cannot be linked: where one gives way to a file or the reverse, its name is missing for an instant. `settle`
recognises each of these half-way states and ends it, forwards or backwards. What the fallback cannot promise: a file that
somebody else puts at the place by rename in the very instant between link and rename is lost.
"""

from __future__ import annotations

import errno
import os
import stat

from headgated.effects import kernel
from headgated.effects.target.acts import Acts


def place(acts: Acts, directory: int, temp: bytes, name: bytes) -> None:
    """Bring `temp` to `name`, where nothing is.

    Raises:
        FileExistsError: something is there; nothing was changed.
    """
    try:
        acts.rename(directory, temp, name, kernel.RENAME_NOREPLACE)
    except OSError as error:
        if not kernel.is_unsupported(error):
            raise
        _place_by_link(acts, directory, temp, name)


def take(acts: Acts, directory: int, name: bytes, temp: bytes) -> None:
    """Bring `name` away to `temp`, our own name, where nothing is."""
    try:
        acts.rename(directory, name, temp, kernel.RENAME_NOREPLACE)
    except OSError as error:
        if not kernel.is_unsupported(error):
            raise
        if _look(directory, temp) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), temp) from None
        acts.rename(directory, name, temp)


def exchange(acts: Acts, directory: int, temp: bytes, name: bytes) -> None:
    """Let `temp` and `name`, which both exist, change places."""
    try:
        acts.rename(directory, temp, name, kernel.RENAME_EXCHANGE)
    except OSError as error:
        if not kernel.is_unsupported(error):
            raise
        _exchange_by_spare(acts, directory, temp, name)


def spare(temp: bytes) -> bytes:
    """Return the third name that an exchange without RENAME_EXCHANGE goes by."""
    return temp + b"x"


def settle(acts: Acts, directory: int, temp: bytes, name: bytes) -> None:
    """End what was cut off in the middle: afterwards the spare name is free and `temp` and `name` are not one file.

    A spare that cannot be the half of anything (somebody else interfered) is left where it is.
    """
    at_name, at_temp, at_spare = (_look(directory, n) for n in (name, temp, spare(temp)))
    if at_name is not None and at_temp is not None and _same(at_name, at_temp):
        acts.unlink(directory, temp)
        at_temp = None
    if at_spare is None:
        return
    if at_name is not None and _same(at_spare, at_name):
        acts.unlink(directory, spare(temp))
    elif at_temp is None:
        take(acts, directory, spare(temp), temp)
    elif at_name is None:
        place(acts, directory, spare(temp), name)


def _place_by_link(acts: Acts, directory: int, temp: bytes, name: bytes) -> None:
    there = _look(directory, temp)
    if there is None or not stat.S_ISDIR(there.st_mode):
        acts.link(directory, temp, name)
        acts.unlink(directory, temp)
        return
    if _look(directory, name) is not None:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
    # Somebody else's file in the way makes this fail; only an empty directory made in this instant would be replaced.
    acts.rename(directory, temp, name)


def _exchange_by_spare(acts: Acts, directory: int, temp: bytes, name: bytes) -> None:
    new, old = _look(directory, temp), _look(directory, name)
    if new is None or old is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), temp if new is None else name)
    if stat.S_ISDIR(new.st_mode) or stat.S_ISDIR(old.st_mode):
        take(acts, directory, name, spare(temp))
        place(acts, directory, temp, name)
    else:
        _link_spare(acts, directory, name, spare(temp))
        acts.rename(directory, temp, name)
    take(acts, directory, spare(temp), temp)


def _link_spare(acts: Acts, directory: int, name: bytes, other: bytes) -> None:
    try:
        acts.link(directory, name, other)
    except PermissionError as error:
        # What file systems without links say.
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), name) from error


def _look(directory: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
