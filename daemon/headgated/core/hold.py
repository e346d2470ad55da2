"""When a rollback's hold lifts: when the sources ask for something else than what was undone, at every path of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from headgated.core.paths import escape, unescape
from headgated.core.plan import Change
from headgated.core.tree import Directory, Entry, Kind, encode, lookup, own

ABSENT = "absent"


def fingerprint(entry: Entry | None) -> str:
    """Return what tells one content of a path from another: kind, mode, bytes or link target; not who owns it."""
    if entry is None:
        return ABSENT
    if entry.kind == Kind.DIRECTORY:
        return "directory"
    plain = replace(entry, uid=None, gid=None, template=False)
    return hashlib.sha256(encode(b"", plain, entry.digest or bytes(32))).hexdigest()


def rejected(newest_first: Iterable[Sequence[Change]]) -> dict[str, str]:
    """Return path (escaped) -> fingerprint of what the undone deployments had left there.

    Directories count only where nothing else was undone: a directory that holds the mended files is no reason to hold.
    """
    left: dict[bytes, Entry | None] = {}
    directories: dict[bytes, Entry | None] = {}
    for changes in newest_first:
        for change in changes:
            is_directory = Kind.DIRECTORY in (
                change.wanted.kind if change.wanted else None,
                change.expected.kind if change.expected else None,
            )
            (directories if is_directory else left).setdefault(change.path, change.wanted)
    return {escape(path): fingerprint(entry) for path, entry in (left or directories).items()}


def lifts(refused: Mapping[str, str], wanted: Directory) -> bool:
    """Tell whether the sources ask for something other than what was rejected at each of the paths."""
    for path, was in refused.items():
        node = lookup(wanted, unescape(path))
        if fingerprint(None if node is None else own(node)) == was:
            return False
    return True
