"""Immutable, hashed snapshots of directories.

A `Directory` names itself by the SHA-256 of its own attributes and of everything below it, so equal parts of two trees are
recognised without looking inside, and an edited tree shares all that did not change with the one it came from.
An `Entry` is one path without what is below it; plans, observations and records speak of entries.
What a large directory holds is named part by part (`core.divided`), so that a change of one child costs the same in it as in a small one.
Nothing here but `==` recurses into what is below: a tree may be as deep as a path can be long.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from operator import itemgetter
from weakref import ref

from headgated.core.divided import WHOLE, Divided, by_place
from headgated.core.paths import join

_HEAD = struct.Struct(">BiqqQ32sI")
_NO_DIGEST = bytes(32)
_TEMPLATE, _SEALED, _PART = 0x80, 0x40, 0x20
"""Marks beside the kind."""
_SEAL_BYTES = 32
_FEW = 32
"""With more children changed than this, a canonical form is made anew, and what changed is not remembered."""
_SOON_ENCODED = 8
"""Of no more children than this a canonical form is not kept: it is soon made again, and most directories are small."""


class Kind(IntEnum):
    """What a path is. Nothing else is ever deployed."""

    FILE = 1
    DIRECTORY = 2
    SYMLINK = 3


_KINDS = {kind.value: kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class Entry:
    """One path at one moment, without what is below it."""

    kind: Kind
    mode: int | None = None
    """Permission bits (07777). None: not ours to say (a directory that was there before us; every symlink)."""
    digest: bytes = b""
    """SHA-256 of a file's content (32 bytes); empty for directories and symlinks."""
    size: int = 0
    """Bytes of a file."""
    target: bytes = b""
    """What a symlink points to, as it is stored."""
    uid: int | None = None
    """Owner; None: whatever it is."""
    gid: int | None = None
    """Group; None: whatever it is."""
    template: bool = False
    """A file whose content holds a `$`, so that rendering may change it. Not part of the digest."""
    seal: bytes = b""
    """Keyed hash (32 bytes) of what a file with secrets holds, whose digest is that of its content without them (`core.sealing`). At a
    target, where nobody knows which file has secrets, every file may have one."""

    def matches(self, live: Entry | None) -> bool:
        """Tell whether `live` is what this entry asks for; attributes that are None here match anything."""
        return (
            live is not None
            and self.kind == live.kind
            and (self.seal == live.seal if self.seal else self.digest == live.digest)
            and self.target == live.target
            and self.mode in (None, live.mode)
            and self.uid in (None, live.uid)
            and self.gid in (None, live.gid)
        )

    def stays(self, live: Entry | None) -> bool:
        """Tell whether `live` is what was deployed as this. A directory that is not ours need only be there."""
        not_ours = self.kind == Kind.DIRECTORY and self.mode is None
        return self.matches(live) or (not_ours and live is not None)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Directory:
    """A directory with all that is below it.

    `children` is never changed after construction; its order does not matter. Many of them are held in parts.
    What is worked out of it is kept beside it.
    """

    entry: Entry
    children: Mapping[bytes, Entry | Directory]
    _encoded: bytes | None = field(default=None, init=False, repr=False, compare=False)
    _digest: bytes | None = field(default=None, init=False, repr=False, compare=False)
    _files: int | None = field(default=None, init=False, repr=False, compare=False)
    _below: Collection[Directory] | None = field(default=None, init=False, repr=False, compare=False)
    _origin: tuple[ref[Directory], tuple[bytes, ...]] | None = field(
        default=None, init=False, repr=False, compare=False
    )
    """The directory that this one succeeds, and the names that changed."""
    _seed: tuple[bytes, Mapping[bytes, Entry | Directory | None]] | None = field(
        default=None, init=False, repr=False, compare=False
    )
    """That one's canonical form, and what these names were there; until this one's is made."""

    def __post_init__(self) -> None:
        if len(self.children) > WHOLE:
            _set(self, "children", _divided(self.children))

    @property
    def encoded(self) -> bytes:
        """The directory's canonical form: its own attributes and one line for each child, ordered by name; or one for each part."""
        encoded = self._encoded
        if encoded is not None:
            return encoded
        seed = self._seed
        if seed is not None:
            encoded = _spliced(*seed, self.children)
            _set(self, "_seed", None)
        if encoded is None:
            encoded = _encoded(self)
        if len(self.children) > _SOON_ENCODED:
            _set(self, "_encoded", encoded)
        return encoded

    @property
    def below(self) -> Collection[Directory]:
        """The directories that the canonical form names: the parts of this one, or those in it."""
        below = self._below
        if below is None:
            children = self.children
            if type(children) is Divided:
                below = children.parts.values()
            else:
                below = tuple(child for child in children.values() if isinstance(child, Directory))
            _set(self, "_below", below)
        return below

    @property
    def digest(self) -> bytes:
        """SHA-256 of `encoded` (32 bytes): the name of this tree."""
        digest = self._digest
        if digest is None:
            for lacking in _lacking(self, "_digest"):
                _ = lacking.digest
            digest = hashlib.sha256(self.encoded).digest()
            self.take_digest(digest)
        return digest

    def take_digest(self, digest: bytes) -> None:
        """Take the digest from whoever has worked it out already."""
        _set(self, "_digest", digest)

    @property
    def files(self) -> int:
        """How many files and symlinks are at or below this directory."""
        files = self._files
        if files is None:
            for lacking in _lacking(self, "_files"):
                _ = lacking.files
            below = self.below
            here = 0 if type(self.children) is Divided else len(self.children) - len(below)
            files = here + sum(each.files for each in below)
            _set(self, "_files", files)
        return files


_set = object.__setattr__
"""For what a directory works out of itself: to everybody else it is frozen."""


def succeeding(old: Directory, entry: Entry, changes: Mapping[bytes, Node | None]) -> Directory:
    """Return the directory that `old` becomes; it shares, and need not work out again, what is the same.

    Args:
        old: what it was before.
        entry: its own attributes now.
        changes: by name, what is there now; None: nothing.
    """
    return _succeeding(old, entry, changes, b"")


def _succeeding(
    old: Directory, entry: Entry, changes: Mapping[bytes, Node | None], prefix: bytes
) -> Directory:
    new = Directory(entry, _amended(old.children, changes, prefix))
    if old.children and len(changes) <= _FEW:
        _set(new, "_origin", (ref(old), tuple(changes)))
        encoded = old._encoded  # noqa: SLF001 - of the same kind
        if encoded is not None and entry == old.entry and _in_one_piece(old, new):
            _set(new, "_seed", (encoded, {name: old.children.get(name) for name in changes}))
    return new


def _in_one_piece(*directories: Directory) -> bool:
    return not any(type(directory.children) is Divided for directory in directories)


def _amended(
    children: Mapping[bytes, Node], changes: Mapping[bytes, Node | None], prefix: bytes
) -> Mapping[bytes, Node]:
    """Return children with changes; `prefix` says of what part they are, as in `Divided`."""
    if type(children) is not Divided:
        amended = dict(children)
        for name, node in changes.items():
            if node is None:
                amended.pop(name, None)
            else:
                amended[name] = node
        return _divided(amended, prefix)
    parts = dict(children.parts)
    for at, those in by_place(changes, len(prefix)).items():
        part = _succeeding(parts.get(at, EMPTY), EMPTY.entry, those, prefix + bytes((at,)))
        if part.children:
            parts[at] = part
        else:
            parts.pop(at, None)
    divided = Divided(prefix, parts)
    return divided if len(divided) > WHOLE else dict(divided.items())


def _divided(children: Mapping[bytes, Node], prefix: bytes = b"") -> Mapping[bytes, Node]:
    """Return children as a directory holds them, or the part of one that `prefix` says."""
    if len(children) <= WHOLE or type(children) is Divided:
        return children
    parts = {
        at: Directory(EMPTY.entry, _divided(those, prefix + bytes((at,))))
        for at, those in by_place(children, len(prefix)).items()
    }
    return Divided(prefix, parts)


def parts_with(directory: Directory, names: Iterable[bytes]) -> Iterator[Directory]:
    """Yield a directory, and those of its parts in which some of `names` are or would be."""
    yield directory
    if type(directory.children) is Divided:
        parts, prefix = directory.children.parts, directory.children.prefix
        for at, those in by_place(dict.fromkeys(names), len(prefix)).items():
            if at in parts:
                yield from parts_with(parts[at], those)


def _encoded(directory: Directory) -> bytes:
    lines, children = [encode(b"", directory.entry, _NO_DIGEST)], directory.children
    if type(children) is Divided:
        parts, prefix = children.parts, children.prefix
        lines += [_encode_part(prefix + bytes((at,)), parts[at].digest) for at in sorted(parts)]
    else:
        lines += [_line(name, children[name]) for name in sorted(children)]
    return b"".join(lines)


def _line(name: bytes, child: Node) -> bytes:
    if isinstance(child, Directory):
        return encode(name, child.entry, child.digest)
    return encode(name, child, child.digest or _NO_DIGEST)


def _spliced(
    encoded: bytes, before: Mapping[bytes, Node | None], children: Mapping[bytes, Node]
) -> bytes | None:
    """Return a canonical form with the lines of some children exchanged; None where a line cannot be found for sure.

    The bytes of a line may also stand within another's (a symlink may point to anything): then it counts as not found.
    """
    for name, old in before.items():
        if old is not None:
            line, new = _line(name, old), children.get(name)
            if encoded.count(line) != 1:
                return None
            encoded = encoded.replace(line, b"" if new is None else _line(name, new))
    for name in sorted((name for name, old in before.items() if old is None), reverse=True):
        if name in children:
            after = min((other for other in children if other > name), default=None)
            line = b"" if after is None else _line(after, children[after])
            if line and encoded.count(line) != 1:
                return None
            at = encoded.index(line) if line else len(encoded)
            encoded = encoded[:at] + _line(name, children[name]) + encoded[at:]
    return encoded


def _lacking(tree: Directory, computed: str) -> list[Directory]:
    """Return every directory below `tree`, and every part, that has not worked something out yet, the deepest first."""
    found = [tree]
    for directory in found:
        found += [below for below in directory.below if getattr(below, computed) is None]
    return found[:0:-1]


Node = Entry | Directory

EMPTY = Directory(Entry(Kind.DIRECTORY), {})
"""A tree with nothing in it, whose root is not ours."""


def encode(name: bytes, entry: Entry, digest: bytes) -> bytes:
    """Return one entry's canonical bytes; `digest` is the subtree's for directories. `decode_all` is the inverse."""
    return (
        _HEAD.pack(
            entry.kind | (_TEMPLATE if entry.template else 0) | (_SEALED if entry.seal else 0),
            -1 if entry.mode is None else entry.mode,
            -1 if entry.uid is None else entry.uid,
            -1 if entry.gid is None else entry.gid,
            len(entry.target) if entry.kind == Kind.SYMLINK else entry.size,
            digest,
            len(name),
        )
        + name
        + entry.target
        + entry.seal
    )


def _encode_part(prefix: bytes, digest: bytes) -> bytes:
    return _HEAD.pack(Kind.DIRECTORY | _PART, -1, -1, -1, 0, digest, len(prefix)) + prefix


def decode_all(encoded: bytes) -> Iterator[tuple[bytes, Entry | None, bytes]]:
    """Yield (name, entry, digest) for each entry in `encoded`; the first is the directory itself, with an empty name.

    Where a directory is divided, what follows are its parts: without an entry, and with the prefix of what is in them for a name.

    Raises:
        struct.error, ValueError: `encoded` is not what `encode` wrote.
    """
    at, whole = 0, len(encoded)
    unpack, head = _HEAD.unpack_from, _HEAD.size
    while at < whole:
        number, mode, uid, gid, size, digest, name_length = unpack(encoded, at)
        if number == Kind.DIRECTORY | _PART:
            at += head + name_length
            if at > whole or not name_length:
                raise ValueError("the canonical form of a directory is cut short")
            yield encoded[at - name_length : at], None, digest
            continue
        kind = _KINDS.get(number & ~(_TEMPLATE | _SEALED))
        if kind is None:
            raise ValueError(f"{number & ~(_TEMPLATE | _SEALED)} is no kind of path")
        name_at = at + head
        target_at = name_at + name_length
        seal_at = target_at + (size if kind is Kind.SYMLINK else 0)
        at = seal_at + (_SEAL_BYTES if number & _SEALED else 0)
        if at > whole:
            raise ValueError("the canonical form of a directory is cut short")
        entry = Entry(
            kind,
            None if mode < 0 else mode,
            digest if kind is Kind.FILE else b"",
            0 if kind is Kind.SYMLINK else size,
            encoded[target_at:seal_at],
            None if uid < 0 else uid,
            None if gid < 0 else gid,
            bool(number & _TEMPLATE),
            encoded[seal_at:at],
        )
        yield encoded[name_at:target_at], entry, digest


def own(node: Node) -> Entry:
    """Return the entry of a node, without what is below it."""
    return node.entry if isinstance(node, Directory) else node


def directories_in(tree: Directory) -> Iterator[Directory]:
    """Yield a directory and every directory below it."""
    yield tree
    for node in tree.children.values():
        if isinstance(node, Directory):
            yield from directories_in(node)


def lookup(tree: Directory, path: bytes) -> Node | None:
    """Return what `tree` has at `path`; the tree itself for `b""`; None where there is nothing."""
    node: Node = tree
    for part in path.split(b"/") if path else ():
        found = node.children.get(part) if isinstance(node, Directory) else None
        if found is None:
            return None
        node = found
    return node


def walk(tree: Directory, at: bytes = b"") -> Iterator[tuple[bytes, Entry]]:
    """Yield (path, entry) for everything below `tree`, parents before children, ordered by name."""
    waiting: list[tuple[bytes, Node]] = [(at, tree)]
    while waiting:
        path, node = waiting.pop()
        if path != at:
            yield path, own(node)
        if isinstance(node, Directory):
            waiting += [
                (join(path, name), child)
                for name, child in sorted(node.children.items(), key=itemgetter(0), reverse=True)
            ]


def build(entries: Mapping[bytes, Entry], root: Entry | None = None) -> Directory:
    """Return the tree that has exactly `entries` by path. Directories not named are made, as not ours (mode None)."""
    return edit(Directory(root or EMPTY.entry, {}), entries)


def edit(tree: Directory, edits: Mapping[bytes, Node | None]) -> Directory:
    """Return `tree` with each path of `edits` set to its value, or removed where that is None.

    A directory entry set where a directory is changes its attributes and keeps its children; any other value replaces what
    was there whole. What is set at a path comes before what is set below it. Missing parents are made, as not ours.
    Removing a directory removes what is below it. Parts that no edit touches are shared with `tree`.
    """
    spots = {b"": _Spot(tree)}
    for path, value in edits.items():
        if path:
            directory, _, name = path.rpartition(b"/")
            _spot(spots, directory).set(name, value)
        elif value is not None:
            spots[b""].node = _replaced(tree, value)
    order = [spots[b""]]
    for spot in order:
        order += spot.open()
    for spot in reversed(order):
        spot.close()
    if not isinstance(order[0].node, Directory):
        raise TypeError("the root of a tree is a directory")
    return order[0].node


class _Spot:
    """A directory, there or to be made, in which or below which something is edited."""

    __slots__ = ("above", "below", "changes", "fills", "here", "node")

    def __init__(self, node: Node | None = None, above: _Spot | None = None) -> None:
        self.node = node
        """What is there: before `open` and before the edits; after `close` and after them."""
        self.above = above
        self.below: dict[bytes, _Spot] = {}
        self.here: dict[bytes, Node | None] = {}
        self.fills = False
        """Whether anything here or below is set, not only removed."""
        self.changes: dict[bytes, Node | None] | None = None
        """By name, what is there then; None: there is no directory here, and none is to be."""

    def set(self, name: bytes, value: Node | None) -> None:
        self.here[name] = value
        spot: _Spot | None = self if value is not None else None
        while spot is not None and not spot.fills:
            spot.fills, spot = True, spot.above

    def open(self) -> Iterable[_Spot]:
        """Apply what is set here; return the spots below, each with what is there."""
        if self.fills and not isinstance(self.node, Directory):
            self.node = EMPTY
        if not isinstance(self.node, Directory):
            return ()
        children = self.node.children
        self.changes = {
            name: None if value is None else _replaced(children.get(name), value)
            for name, value in self.here.items()
        }
        for name, spot in self.below.items():
            spot.node = self.changes[name] if name in self.changes else children.get(name)
        return self.below.values()

    def close(self) -> None:
        """Put what became of the spots below into what is here."""
        self.above = None  # Of no more use; a cycle would stay until the collector comes.
        if self.changes is None or not isinstance(self.node, Directory):
            return
        self.changes.update((name, spot.node) for name, spot in self.below.items() if spot.node is not None)
        self.node = succeeding(self.node, self.node.entry, self.changes)


def _spot(spots: dict[bytes, _Spot], path: bytes) -> _Spot:
    """Return the spot of the directory `path`, with all above it."""
    missing = []
    while path not in spots:
        path, _, name = path.rpartition(b"/")
        missing.append(name)
    spot = spots[path]
    while missing:
        name = missing.pop()
        path = join(path, name)
        below = _Spot(above=spot)
        spot.below[name] = spots[path] = spot = below
    return spot


def _replaced(old: Node | None, value: Node) -> Node:
    """Return `value`; a directory's entry with the children of the directory that was there."""
    if isinstance(value, Entry) and value.kind == Kind.DIRECTORY:
        return Directory(value, old.children if isinstance(old, Directory) else {})
    return value


def diff(
    old: Directory, new: Directory, at: bytes = b""
) -> Iterator[tuple[bytes, Entry | None, Entry | None]]:
    """Yield (path, old entry, new entry) for each path below that is not the same in both; equal parts are skipped unread.

    For every pair of trees, `edit(old, {path: new_entry ...})` of what is yielded gives `new` (below the root).
    Parents come before children.
    """
    waiting = _differing(old, new, at)
    while waiting:
        path, before, after = waiting.pop()
        old_entry = None if before is None else own(before)
        new_entry = None if after is None else own(after)
        if old_entry != new_entry:
            yield path, old_entry, new_entry
        waiting += _differing(
            before if isinstance(before, Directory) else EMPTY,
            after if isinstance(after, Directory) else EMPTY,
            path,
        )


def _differing(old: Directory, new: Directory, at: bytes) -> list[tuple[bytes, Node | None, Node | None]]:
    """Return (path, old, new) for each child that is not the same object in both, the last by name first."""
    if old is new or old.digest == new.digest:
        return []
    names = changed_names(old, new)
    before, after = old.children.get, new.children.get
    return [(join(at, name), before(name), after(name)) for name in sorted(names, reverse=True)]


def changed_names(old: Directory, new: Directory) -> list[bytes]:
    """Return the names of the children that are not the same object in both, in no order.

    Parts that are the same are skipped; where `new` succeeds `old` that is remembered, and costs what changed and not what there is.
    """
    before, after = old.children, new.children
    origin = new._origin  # noqa: SLF001 - for here alone
    if origin is not None and origin[0]() is old:
        return [name for name in origin[1] if before.get(name) is not after.get(name)]
    if type(before) is Divided and type(after) is Divided:
        pairs = [
            (before.parts.get(at, EMPTY), after.parts.get(at, EMPTY)) for at in {*before.parts, *after.parts}
        ]
        return [name for one, other in pairs if one is not other for name in changed_names(one, other)]
    names = [name for name, node in after.items() if before.get(name) is not node]
    came = sum(name not in before for name in names)
    if len(before) + came > len(after):
        names += [name for name in before if name not in after]
    return names
