"""Trees as hashed directory nodes, equal parts once.

A node is a content like any other: the canonical bytes of a directory, or of a part of a large one. Where a node is stored, all
below it is, but for the time that a sweep takes. Trees that somebody holds are kept in memory and shared, so that reading a
second one costs what differs.

Before schema 2 a large directory was one node, too. What is read of that is in memory as it would be today, under today's
digest, and is stored like that with the next deployment.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Container, Iterable, Iterator
from weakref import WeakValueDictionary

from headgated.core.divided import Divided
from headgated.core.errors import HistoryDamagedError
from headgated.core.tree import EMPTY, Directory, Entry, Kind, Node, changed_names, decode_all, directories_in
from headgated.effects.history.contents import Contents, damaged
from headgated.effects.history.intake import Intake
from headgated.effects.history.pins import Pins

RECENT = 32
_Line = tuple[bytes, Entry | None, bytes]
"""Name, entry, digest; without an entry: of a part (`core.tree.decode_all`)."""


class Trees:
    """The trees among the contents. Thread-safe."""

    def __init__(self, contents: Intake, pins: Pins) -> None:
        self._contents, self._pins = contents, pins
        self._held: WeakValueDictionary[bytes, Directory] = WeakValueDictionary()
        self._recent: deque[Directory] = deque(maxlen=RECENT)
        """Holds some: what is undone or returned to is most often what was put or read a moment ago. They share most of their nodes."""
        self._removed = 0
        """How many nodes were removed."""
        self._whole: Container[bytes] | None = None
        """Nodes below which nothing is missing; None: all that are stored."""

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
        new: list[Directory] = []
        waiting = [(tree, like)]
        while waiting:
            node, twin = waiting.pop()
            pinned.append(node.digest)
            if not self._keep(node.digest):
                new.append(node)
                waiting += _differing(node, twin)
        for node in reversed(new):  # what is below comes first: a stored node is a whole tree
            encoded = node.encoded
            self._contents.put(node.digest, len(encoded), (encoded,))
            self._held[node.digest] = node
        self._hold(tree.digest)
        return pinned

    def read(self, digest: bytes, like: Directory = EMPTY) -> Directory:
        """Return the tree of that digest.

        Args:
            digest: the tree's.
            like: a whole tree that is in memory; parts that are the same in it are taken from there, whoever made it.

        Raises:
            HistoryDamagedError: a node of it is missing or not what its digest says.
        """
        if (recent := self._hold(digest)) is not None:
            return recent
        ready: dict[bytes, Directory] = {}
        read: dict[bytes, Directory] = {}
        lines: dict[bytes, list[_Line]] = {}
        waiting = [(digest, like)]
        removed = self._removed
        while waiting:
            current, twin = waiting[-1]
            held = ready.get(current) or self._held.get(current)
            if held is None and current not in lines:
                lines[current] = decode_node(current, b"".join(self._contents.read(current)))
                waiting += _to_read(lines[current], twin, ready)
                continue
            if held is None:
                held = read[current] = _assemble(current, lines.pop(current), ready)
            ready[current] = held
            waiting.pop()
        with self._contents.lock:
            if self._removed == removed:  # else it may have been read just before it was removed
                self._held.update(read)
        self._hold(digest)
        return ready[digest]

    def held(self, digest: bytes) -> Directory | None:
        """Return a tree that somebody has in memory."""
        return self._held.get(digest)

    def _hold(self, digest: bytes) -> Directory | None:
        """Return a tree that is in memory, and see to it that it stays there for a while."""
        tree = self._held.get(digest)
        if tree is not None and (not self._recent or self._recent[-1] is not tree):
            self._recent.append(tree)
        return tree

    def share(self, tree: Directory) -> None:
        """Have a tree that somebody keeps in memory stand for the one of its digest that was read: one of them is enough."""
        with self._contents.lock:
            for node in directories_in(tree):
                if node.digest in self._held:
                    self._held[node.digest] = node
            recent = [tree if each.digest == tree.digest else each for each in self._recent]
            self._recent = deque(recent, maxlen=RECENT)

    def drop(self, digest: bytes) -> None:
        """Forget that a node is stored: it is no more."""
        self._removed += 1
        self._held.pop(digest, None)

    def begin_sweep(self, live: Container[bytes]) -> None:
        """Trust only `live` nodes to be whole: of all others some part may be removed already. Others are put anew."""
        self._whole = live

    def end_sweep(self, *, complete: bool) -> None:
        """Trust every stored node again; or, where a sweep was cut off, only those put or read from now on."""
        if not complete:
            self._held.clear()
            self._recent.clear()
        self._whole = None if complete else self._held

    def _keep(self, digest: bytes) -> bool:
        """Pin a node with all below it where it is stored; tell whether it is."""
        with self._contents.lock:
            if self._whole is not None:
                is_whole = digest in self._whole
            else:
                is_whole = digest in self._held or self._contents.stored(digest)
            if is_whole:
                self._pins.add_tree(digest)
            return is_whole


def _to_read(
    lines: list[_Line], twin: Directory, ready: dict[bytes, Directory]
) -> list[tuple[bytes, Directory]]:
    """Return the nodes below one that are not in `twin`, each with what `twin` has there; what is the same is ready."""
    differing = []
    for name, entry, digest in lines[1:]:
        if entry is not None and entry.kind != Kind.DIRECTORY:
            continue
        below = _part(twin, name[-1]) if entry is None else _directory(twin, name)
        if below.digest == digest:
            ready[digest] = below
        else:
            differing.append((digest, below))
    return differing


def _directory(tree: Directory, name: bytes) -> Directory:
    child = tree.children.get(name)
    return child if isinstance(child, Directory) else EMPTY


def _part(tree: Directory, place: int) -> Directory:
    """Return a part of a directory; of one in one piece that is all of it."""
    return tree.children.parts.get(place, EMPTY) if type(tree.children) is Divided else tree


def _assemble(digest: bytes, lines: list[_Line], ready: dict[bytes, Directory]) -> Directory:
    (_, own, _), *below = lines
    children: dict[bytes, Node] = {}
    parts: dict[int, Directory] = {}
    is_todays = True
    for name, entry, sub in below:
        if entry is None:
            parts[name[-1]] = ready[sub]
        else:
            children[name] = ready[sub] if entry.kind == Kind.DIRECTORY else entry
        if sub in ready:
            is_todays &= ready[sub].digest == sub
    tree = Directory(own or EMPTY.entry, Divided(below[0][0][:-1], parts) if parts else children)
    if is_todays and (type(tree.children) is Divided) == bool(parts):
        tree.take_digest(digest)  # just verified
    return tree


def _differing(node: Directory, twin: Directory) -> list[tuple[Directory, Directory]]:
    """Return the nodes below one that are not those in `twin`, each with what `twin` has there."""
    if type(node.children) is Divided:
        shared = set(map(id, twin.below))
        return [(part, _part(twin, at)) for at, part in node.children.parts.items() if id(part) not in shared]
    pairs = []
    for name in changed_names(twin, node):
        child = node.children.get(name)
        if isinstance(child, Directory):
            pairs.append((child, _directory(twin, name)))
    return pairs


def decode_node(digest: bytes, encoded: bytes) -> list[_Line]:
    """Return (name, entry, digest) for a stored directory, which comes first, and each thing in it, or each of its parts.

    Raises:
        HistoryDamagedError: these bytes are no directory.
    """
    try:
        lines = list(decode_all(encoded))
    except (struct.error, ValueError) as error:
        raise damaged(digest, f"it is no directory ({error})") from error
    own = lines[0][1] if lines else None
    if own is None or own.kind != Kind.DIRECTORY or len({entry is None for _, entry, _ in lines[1:]}) > 1:
        raise damaged(digest, "it is no directory")
    return lines


def nodes_below(
    contents: Contents,
    roots: Iterable[bytes],
    seen: set[bytes],
    damage: list[HistoryDamagedError] | None = None,
) -> Iterator[tuple[bytes, list[bytes]]]:
    """Yield each node at or below `roots` that is not in `seen`, with the digests of the files in it; then they are.

    Args:
        contents: where the nodes are.
        roots: digests of trees.
        seen: what was yielded before.
        damage: takes in what cannot be read; without it, that is raised.

    Raises:
        HistoryDamagedError: one cannot be read.
    """
    waiting = list(roots)
    while waiting:
        digest = waiting.pop()
        if digest in seen:
            continue
        try:
            _, *inside = decode_node(digest, b"".join(contents.read(digest)))
        except HistoryDamagedError as error:
            if damage is None:
                raise
            damage.append(error)
            continue
        seen.add(digest)
        waiting += [sub for _, entry, sub in inside if entry is None or entry.kind == Kind.DIRECTORY]
        yield digest, [sub for _, entry, sub in inside if entry is not None and entry.kind == Kind.FILE]
