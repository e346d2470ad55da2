"""Trees as hashed directory nodes, equal parts once. A node is a content like any other: a directory's canonical bytes.

Where a node is stored, all below it is. Trees that somebody holds are kept in memory and shared, so that reading a second
one costs what differs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from weakref import WeakValueDictionary

from headgated.core.tree import EMPTY, Directory, Entry, Kind, decode_all
from headgated.effects.history.contents import Contents, damaged
from headgated.effects.history.intake import Intake
from headgated.effects.history.pins import Pins


class Trees:
    """The trees among the contents. Thread-safe."""

    def __init__(self, contents: Intake, pins: Pins) -> None:
        self._contents, self._pins = contents, pins
        self._held: WeakValueDictionary[bytes, Directory] = WeakValueDictionary()

    def put(self, tree: Directory, like: Directory = EMPTY) -> list[bytes]:
        """Store a tree; only nodes that are new are written.

        Args:
            tree: the tree.
            like: one that was put before and is still pinned; parts that are shared with it are not even looked at.

        Returns:
            The nodes that are pinned for it: all that were written, and the topmost of those that were there.

        Raises:
            UnavailableError: it cannot be written.
        """
        pinned: list[bytes] = []
        self._put(tree, like, pinned)
        return pinned

    def read(self, digest: bytes) -> Directory:
        """Return the tree of that digest.

        Raises:
            HistoryDamagedError: a node of it is missing or not what its digest says.
        """
        held = self._held.get(digest)
        if held is not None:
            return held
        (_, own, _), *below = decode_node(digest, b"".join(self._contents.read(digest)))
        children = {
            name: self.read(sub) if entry.kind == Kind.DIRECTORY else entry for name, entry, sub in below
        }
        tree = Directory(own, children)
        tree.__dict__["digest"] = digest  # just verified: not to be worked out again
        self._held[digest] = tree
        return tree

    def held(self, digest: bytes) -> Directory | None:
        """Return a tree that somebody has in memory."""
        return self._held.get(digest)

    def drop(self, digest: bytes) -> None:
        """Forget that a node is stored: it is no more."""
        self._held.pop(digest, None)

    def _put(self, tree: Directory, like: Directory, pinned: list[bytes]) -> None:
        pinned.append(tree.digest)
        if self._keep(tree.digest):
            return
        for name, child in tree.children.items():
            twin = like.children.get(name)
            if isinstance(child, Directory) and child is not twin:
                self._put(child, twin if isinstance(twin, Directory) else EMPTY, pinned)
        self._contents.put(tree.digest, len(tree.encoded), (tree.encoded,))
        self._held[tree.digest] = tree

    def _keep(self, digest: bytes) -> bool:
        """Pin a node with all below it where it is stored; tell whether it is."""
        with self._contents.lock:
            if digest not in self._held and not self._contents.stored(digest):
                return False
            self._pins.add_tree(digest)
            return True


def decode_node(digest: bytes, encoded: bytes) -> list[tuple[bytes, Entry, bytes]]:
    """Return (name, entry, digest) for a stored directory and each thing in it; the directory itself comes first.

    Raises:
        HistoryDamagedError: these bytes are no directory.
    """
    try:
        parts = list(decode_all(encoded))
    except (struct.error, ValueError) as error:
        raise damaged(digest, f"it is no directory ({error})") from error
    if not parts or parts[0][1].kind != Kind.DIRECTORY:
        raise damaged(digest, "it is no directory")
    return parts


def nodes_below(
    contents: Contents, roots: Iterable[bytes], seen: set[bytes]
) -> Iterator[tuple[bytes, list[bytes]]]:
    """Yield each node at or below `roots` that is not in `seen`, with the digests of the files in it; then they are.

    Raises:
        HistoryDamagedError: one cannot be read.
    """
    waiting = list(roots)
    while waiting:
        digest = waiting.pop()
        if digest not in seen:
            _, *inside = decode_node(digest, b"".join(contents.read(digest)))
            seen.add(digest)
            waiting += [sub for _, entry, sub in inside if entry.kind == Kind.DIRECTORY]
            yield digest, [sub for _, entry, sub in inside if entry.kind == Kind.FILE]
