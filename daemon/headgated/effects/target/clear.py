"""Removing what was put aside, and nothing else.

Whatever is removed here was either made by this deployment or is exactly what the plan found, so that history has it. What
is anything else stays, under a name that says so.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping

from headgated.core.paths import escape, join, parent
from headgated.core.steps import OWN_PREFIX
from headgated.core.tree import Entry, Kind
from headgated.effects.target.look import SpecialFileError
from headgated.effects.target.site import Site
from headgated.effects.target.swap import place

_KEPT = OWN_PREFIX + b"kept-"
_NAMES = 1000
_TO_EMPTY = 0o300


def remove_all(site: Site, path: bytes) -> None:
    """Remove a file, symlink or directory of our own with all that is below; nothing there is no error.

    Raises:
        OSError: something cannot be removed.
    """
    there = site.look(path)
    if there is None:
        return
    directory, name = site.beneath.place(path)
    if not stat.S_ISDIR(there.st_mode):
        site.acts.unlink(directory, name)
        site.lens.forget(path)
        return
    for inner in _names(site, path):
        remove_all(site, join(path, inner))
    _remove_directory(site, path)


def clear(site: Site, path: bytes, known: Mapping[bytes, Entry]) -> bool:
    """Remove what is `known` at and below `path`; tell whether nothing is left.

    Args:
        site: where.
        path: a file, symlink or directory of ours, or put aside by us.
        known: what may go, by path from `path` (`b""`: the thing itself). A directory goes if it is named there and gets
            empty, whatever its attributes are.

    Raises:
        OSError, TargetMovedError: something cannot be read or removed.
    """
    return _clear(site, path, b"", known)


def _clear(site: Site, path: bytes, inner: bytes, known: Mapping[bytes, Entry]) -> bool:
    directory, name = site.beneath.place(path)
    try:
        live = site.lens.entry(directory, name, path)
    except SpecialFileError:
        return False
    if live is None:
        return True
    expected = known.get(inner)
    if expected is None or expected.kind != live.kind:
        return False
    if live.kind == Kind.DIRECTORY:
        empty = True
        for child in _names(site, path):
            empty = _clear(site, join(path, child), join(inner, child), known) and empty
        return empty and _remove_directory(site, path)
    if not expected.matches(live):
        return False
    site.acts.unlink(directory, name)
    site.lens.forget(path)
    return True


def _remove_directory(site: Site, path: bytes) -> bool:
    site.beneath.forget(path)
    directory, name = site.beneath.place(path)
    try:
        site.acts.remove_directory(directory, name)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def _names(site: Site, path: bytes) -> list[bytes]:
    """Return what is in a directory that is to be emptied; one that closes us out is opened first."""
    fd = site.beneath.directory(path)
    if os.geteuid() != 0 and os.fstat(fd).st_mode & _TO_EMPTY != _TO_EMPTY:
        site.acts.chmod(fd, 0o700)
    return [os.fsencode(name) for name in os.listdir(fd)]


def keep(site: Site, temp: bytes, path: bytes) -> str:
    """Give what somebody wrote, and now lies at `temp`, a name that is never removed; return a note that says so.

    Args:
        site: where.
        temp: a temporary's path.
        path: the path it was at.

    Raises:
        OSError: it cannot be renamed; it stays at `temp`.
    """
    directory, name = site.beneath.place(temp)
    site.beneath.forget(temp)
    for count in range(_NAMES):
        other = _KEPT + name.removeprefix(OWN_PREFIX) + (b"-%d" % count if count else b"")
        try:
            place(site.acts, directory, name, other)
        except FileExistsError:
            continue
        site.lens.forget(temp)
        kept = escape(join(parent(temp), other))
        return f"{escape(path)} was changed by somebody else meanwhile; what was there is kept as {kept}"
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
