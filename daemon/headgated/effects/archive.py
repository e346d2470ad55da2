"""A tree as a tar archive, piece by piece: nothing of it is ever in memory as a whole.

The format is GNU's, which every tar reads and which takes names of any length and any bytes. Modes and symlinks are kept. Owners
are kept where the tree names them; nobody's in particular is root's, so extract with --no-same-owner unless that is meant. In place
of secrets stand references to them, `${NAME}`.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from headgated.core.sealing import as_references
from headgated.core.tree import Directory, Entry, Kind, walk

_TYPES = {Kind.FILE: tarfile.REGTYPE, Kind.DIRECTORY: tarfile.DIRTYPE, Kind.SYMLINK: tarfile.SYMTYPE}
_USUAL = {Kind.FILE: 0o644, Kind.DIRECTORY: 0o755, Kind.SYMLINK: 0o777}
"""Modes of what has none of its own (octal)."""


def archive(tree: Directory, read: Callable[[bytes], Iterable[bytes]], at: int) -> Iterator[bytes]:
    """Yield the archive of all that is below a tree's root, in pieces of any size.

    Args:
        tree: the tree.
        read: returns the content of a digest.
        at: what to say that everything was last changed, in seconds since the epoch.

    Raises:
        HistoryDamagedError: as `read` does; what was yielded until then is no whole archive.
    """
    length = 0
    for piece in _members(tree, read, at):
        length += len(piece)
        yield piece
    yield bytes(2 * tarfile.BLOCKSIZE + -(length + 2 * tarfile.BLOCKSIZE) % tarfile.RECORDSIZE)


def regrouped(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield the same bytes in pieces of `size`, the last one perhaps shorter."""
    gathered = bytearray()
    for piece in pieces:
        gathered += piece
        while len(gathered) >= size:
            yield bytes(gathered[:size])
            del gathered[:size]
    if gathered:
        yield bytes(gathered)


def _members(tree: Directory, read: Callable[[bytes], Iterable[bytes]], at: int) -> Iterator[bytes]:
    for path, known in walk(tree):
        entry, pieces = known, read(known.digest) if known.kind == Kind.FILE else ()
        if known.seal:
            content = as_references(b"".join(pieces))
            entry, pieces = replace(known, size=len(content)), (content,)
        yield _header(path, entry, at)
        if entry.kind == Kind.FILE:
            yield from pieces
            yield bytes(-entry.size % tarfile.BLOCKSIZE)


def _header(path: bytes, entry: Entry, at: int) -> bytes:
    info = tarfile.TarInfo(os.fsdecode(path))
    info.type = _TYPES[entry.kind]
    info.mode = _USUAL[entry.kind] if entry.mode is None else entry.mode
    info.size = entry.size if entry.kind == Kind.FILE else 0
    info.linkname = os.fsdecode(entry.target)
    info.uid, info.gid = entry.uid or 0, entry.gid or 0
    info.mtime = at
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
