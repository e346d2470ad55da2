"""A file system as a power cut sees it: what was synced is there, of all else any part may be.

Nothing more is granted than what is promised: the sync of a file brings its bytes and mode to the disk, but not its name; the sync of a
directory brings its names, but not what they stand for. Of a directory's changes that were not synced, those up to some moment are there; of a
file's, any. What one directory or file has kept says nothing about another.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ENTRIES = Mapping[bytes, "Node | None"]


@dataclass(frozen=True)
class Write:
    """Bytes at a place."""

    at: int
    data: bytes


@dataclass(frozen=True)
class Resize:
    """A length."""

    size: int


@dataclass(frozen=True)
class Mode:
    """Permission bits."""

    mode: int


@dataclass(frozen=True)
class Names:
    """Names that come to stand for something else, all at once; None: for nothing."""

    entries: ENTRIES


Change = Write | Resize | Mode | Names


@dataclass(eq=False)
class Node:
    """A file, symlink or directory: what is on the disk of it, and what was done to it since."""

    kind: int
    mode: int
    data: bytes = b""
    """Of a file; what a symlink points to."""
    names: dict[bytes, Node] = field(default_factory=dict)
    """Of a directory, on the disk."""
    now: dict[bytes, Node] = field(default_factory=dict)
    """Of a directory, as programs see it."""
    pending: list[Change] = field(default_factory=list)

    def change(self, change: Change) -> None:
        """Do something to it that is not synced."""
        self.pending.append(change)
        if isinstance(change, Names):
            _rename(self.now, change.entries)

    def settle(self, count: int) -> None:
        """The first so many changes are on the disk."""
        self.mode, self.data, self.names = self.after(self.pending[:count])
        del self.pending[:count]

    def after(self, changes: Iterable[Change]) -> tuple[int, bytes, dict[bytes, Node]]:
        """Return mode, data and names, if these changes and no others have reached the disk."""
        mode, data, names = self.mode, bytearray(self.data), dict(self.names)
        for change in changes:
            match change:
                case Write(at, written):
                    data.extend(bytes(max(0, at - len(data))))
                    data[at : at + len(written)] = written
                case Resize(size):
                    data = data[:size] + bytes(max(0, size - len(data)))
                case Mode(bits):
                    mode = bits
                case Names(entries):
                    _rename(names, entries)
        return mode, bytes(data), names


def _rename(names: dict[bytes, Node], entries: ENTRIES) -> None:
    for name, node in entries.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


Survivors = Callable[[Node], Iterable[Change]]
"""Which of the pending changes of a node a power cut leaves."""
Image = dict[bytes, tuple[int, int, bytes, int]]
"""Path -> kind, mode, data and which of the files it is (some have several names)."""


def load(top: Path, leave_out: frozenset[str]) -> Node:
    """Return what is in a directory, all of it on the disk."""
    known: dict[tuple[int, int], Node] = {}

    def read(path: Path) -> Node:
        there = path.lstat()
        node = known.get((there.st_dev, there.st_ino))
        if node is not None:
            return node
        node = Node(stat.S_IFMT(there.st_mode), stat.S_IMODE(there.st_mode))
        known[there.st_dev, there.st_ino] = node
        if stat.S_ISDIR(there.st_mode):
            names = [name for name in os.listdir(path) if path != top or name not in leave_out]
            node.names = {os.fsencode(name): read(path / name) for name in names}
            node.now = dict(node.names)
        else:
            is_link = stat.S_ISLNK(there.st_mode)
            node.data = os.fsencode(os.readlink(path)) if is_link else path.read_bytes()
        return node

    return read(top)


def image(top: Node, survivors: Survivors) -> Image:
    """Return what a power cut leaves."""
    found: Image = {}
    chosen: dict[int, tuple[int, bytes, dict[bytes, Node]]] = {}

    def add(path: bytes, node: Node) -> None:
        if id(node) not in chosen:
            chosen[id(node)] = node.after(survivors(node))
        mode, data, names = chosen[id(node)]
        found[path] = node.kind, mode, data, id(node)
        for name, below in names.items():
            add(os.path.join(path, name), below)

    add(b"", top)
    return found


def make(top: Path, image: Image) -> None:
    """Make a directory what an image says; `top` is there, and empty but for what is not part of the image."""
    made: dict[int, str] = {}
    closing = []
    for path, (kind, mode, data, which) in image.items():
        at = os.path.join(top, os.fsdecode(path)) if path else str(top)
        if kind == stat.S_IFDIR:
            if path:
                os.mkdir(at, 0o700)
            closing.append((at, mode))
        elif kind == stat.S_IFLNK:
            os.symlink(data, os.fsencode(at))
        elif which in made:
            os.link(made[which], at)
        else:
            made[which] = at
            with open(at, "wb") as file:
                file.write(data)
            os.chmod(at, mode)
    for at, mode in reversed(closing):
        os.chmod(at, mode)
