"""The children of a large directory, in parts, so that a change of one costs what its part holds and not what the directory does.

Which part a name is in follows from the name alone, and whether a part is divided again from how many are in it: what a tree
looks like does not depend on how it came to be. A part of another version that has not changed is shared with it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from hashlib import blake2b
from typing import TYPE_CHECKING, TypeVar, overload

if TYPE_CHECKING:
    from headgated.core.tree import Directory, Node

_T = TypeVar("_T")

WHOLE = 128
"""Children up to which a directory, or a part of one, is in one piece."""
WAYS = 16
"""Parts that what is larger is divided into."""


def by_place(named: Mapping[bytes, _T], depth: int) -> dict[int, dict[bytes, _T]]:
    """Return what has names by the part that each is in: of a directory (depth 0), or of a part of one (depth 1 and so on)."""
    groups: defaultdict[int, dict[bytes, _T]] = defaultdict(dict)
    for name, value in named.items():
        groups[blake2b(name).digest()[depth] % WAYS][name] = value
    return groups


class Divided(Mapping[bytes, "Node"]):
    """Children by name, in parts that are themselves directories, of nobody's, which hold some of them. Immutable."""

    # Whether children are divided is asked as `type(...) is Divided`: of an abstract class `isinstance` is slow.
    __slots__ = ("_count", "parts", "prefix")

    def __init__(self, prefix: bytes, parts: Mapping[int, Directory]) -> None:
        self.prefix = prefix
        """The places of the parts that these are the children of, the outermost first; empty: of the directory itself."""
        self.parts = parts
        """By place; no part is empty."""
        self._count = sum(len(part.children) for part in parts.values())

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        for part in self.parts.values():
            yield from part.children

    def __getitem__(self, name: bytes) -> Node:
        node = self.get(name)
        if node is None:
            raise KeyError(name)
        return node

    def __contains__(self, name: object) -> bool:
        return isinstance(name, bytes) and self.get(name) is not None

    @overload
    def get(self, name: bytes, /) -> Node | None: ...

    @overload
    def get(self, name: bytes, default: Node | _T, /) -> Node | _T: ...

    def get(self, name: bytes, default: object = None, /) -> object:
        """Return the child of that name; `default` where there is none."""
        places = blake2b(name).digest()
        children: Mapping[bytes, Node] = self
        while type(children) is Divided:
            part = children.parts.get(places[len(children.prefix)] % WAYS)
            if part is None:
                return default
            children = part.children
        return children.get(name, default)

    def items(self) -> ItemsView[bytes, Node]:
        """Return (name, child) of all, without looking each up."""
        return _Items(self)

    def values(self) -> ValuesView[Node]:
        """Return all children, without looking each up."""
        return _Values(self)


class _Items(ItemsView[bytes, "Node"]):
    _mapping: Divided

    def __iter__(self) -> Iterator[tuple[bytes, Node]]:
        for part in self._mapping.parts.values():
            yield from part.children.items()


class _Values(ValuesView["Node"]):
    _mapping: Divided

    def __iter__(self) -> Iterator[Node]:
        for part in self._mapping.parts.values():
            yield from part.children.values()
