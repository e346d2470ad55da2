"""When a rollback's hold lifts: when the sources ask for something else than what was undone, at every path of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from headgated.core.paths import escape, unescape
from headgated.core.plan import Change
from headgated.core.tree import Directory, Entry, Kind, encode, lookup, own

ABSENT = "absent"
ANY = "any"
"""In place of a fingerprint with a mode."""
_PARTS = 2
DIRECTORY = "directory"
"""A directory of whatever mode; with a mode behind it (octal), only of that one."""


def fingerprint(entry: Entry | None) -> str:
    """Return what tells one content of a path from another: kind, mode, bytes or link target; not who owns it, nor its secrets.

    Of a file there are two parts: with its mode (`ANY` where that is not ours to say), and without.
    """
    if entry is None:
        return ABSENT
    if entry.kind == Kind.DIRECTORY:
        return DIRECTORY if entry.mode is None else f"{DIRECTORY} {entry.mode:04o}"
    plain = replace(entry, uid=None, gid=None, template=False, seal=b"")
    of_any_mode = _hash(replace(plain, mode=None))
    return f"{ANY if entry.mode is None else _hash(plain)} {of_any_mode}"


def _hash(entry: Entry) -> str:
    return hashlib.sha256(encode(b"", entry, entry.digest or bytes(32))).hexdigest()


def rejected(newest_first: Iterable[Sequence[Change]]) -> dict[str, str]:
    """Return path (escaped) -> fingerprint of what the undone deployments had left there.

    Directories that came or went count only where nothing else was undone: a directory that holds the mended files is no reason
    to hold. One that stayed and had another mode counts as a file does.
    """
    left: dict[bytes, Entry | None] = {}
    directories: dict[bytes, Entry | None] = {}
    for changes in newest_first:
        for change in changes:
            if only_secrets(change):
                continue  # The values of now stay in any case.
            group = directories if comes_or_goes(change.expected, change.wanted) else left
            group.setdefault(change.path, change.wanted)
    return {escape(path): fingerprint(entry) for path, entry in (left or directories).items()}


def only_secrets(change: Change) -> bool:
    """Tell whether nothing but the values of secrets changes."""
    old, new = change.expected, change.wanted
    return old is not None and new is not None and bool(new.seal) and fingerprint(old) == fingerprint(new)


def comes_or_goes(one: Entry | None, other: Entry | None) -> bool:
    """Tell whether there is a directory on one side and none on the other."""
    return is_directory(one) != is_directory(other)


def is_directory(entry: Entry | None) -> bool:
    """Tell whether it is a directory."""
    return entry is not None and entry.kind == Kind.DIRECTORY


def same(now: Entry | None, was: str) -> bool:
    """Tell whether an entry is what a fingerprint tells of; a mode that is not ours to say, then or now, is as good as any."""
    if was == DIRECTORY:
        return is_directory(now)
    is_now = fingerprint(now)
    here, there = is_now.split(), was.split()
    if is_now == was or len(here) != _PARTS or (len(there) == _PARTS and ANY not in (here[0], there[0])):
        return is_now == was
    return here[-1] == there[-1] or (
        len(there) == 1 and here[0] == there[0]
    )  # One part: written by an earlier version.


def lifts(refused: Mapping[str, str], wanted: Directory) -> bool:
    """Tell whether the sources ask for something other than what was rejected at each of the paths."""
    for path, was in refused.items():
        node = lookup(wanted, unescape(path))
        if same(None if node is None else own(node), was):
            return False
    return True
