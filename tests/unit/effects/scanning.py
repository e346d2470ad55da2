"""Words for the tests of scanning."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headgated.core.source import Snapshot
from headgated.core.tree import Entry, lookup, own, walk
from headgated.effects.scan import Source

NOBODY = 65534


def paths(snapshot: Snapshot) -> set[bytes]:
    """Return all paths of a snapshot."""
    return {path for path, _ in walk(snapshot.tree)}


def entry(snapshot: Snapshot, path: bytes) -> Entry:
    """Return what a snapshot has at `path`."""
    node = lookup(snapshot.tree, path)
    assert node is not None
    return own(node)


def content(snapshot: Snapshot, path: bytes) -> bytes:
    """Return the digest of the file that a snapshot has at `path`."""
    return entry(snapshot, path).digest


def sha(text: bytes) -> bytes:
    """Return the digest that a file with this content has."""
    return hashlib.sha256(text).digest()


def marked(source: Source, *marks: bytes) -> Snapshot:
    """Mark paths, or everything; return the snapshot."""
    source.mark(frozenset(marks) if marks else None)
    return source.snapshot()


def good(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot, which must be without fault."""
    assert snapshot.faults == ()
    assert snapshot.settled
    return snapshot


def faults(snapshot: Snapshot) -> dict[bytes, str]:
    """Return the reason for each faulty path."""
    return {fault.path: fault.reason for fault in snapshot.faults}


def let_age(*files: Path) -> None:
    """Wait until none of the files is so young that it is read again for that."""
    newest = max(file.lstat().st_ctime_ns for file in files)
    while time.time_ns() - newest < 60_000_000:
        time.sleep(0.005)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Be nobody for a while; for whoever is not root, that changes nothing."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
