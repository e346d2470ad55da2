"""Lays source trees over each other: later ones win path by path.

A part that only one layer has is shared, not copied, and a pair of parts that was laid over once is remembered, so that
after a change only the directories on the way to it are looked at again.
"""

from __future__ import annotations

from collections.abc import Sequence

from headgated.core.errors import DeploymentFailedError
from headgated.core.paths import escape, join
from headgated.core.tree import EMPTY, Directory, Node, directories_in

_SLACK = 10_000
"""Entries that may be remembered beyond need before they are let go."""


class Layers:
    """Lays trees over each other; keep one for each environment."""

    def __init__(self) -> None:
        self._memory: dict[tuple[bytes, ...], Directory] = {}
        self._weight = self._needed = 0
        """Entries that are remembered now, and that were when last something was let go."""

    def overlay(self, trees: Sequence[Directory]) -> Directory:
        """Return all of `trees` in one; the root's attributes are never ours.

        Raises:
            DeploymentFailedError: LAYER_CLASH, a file in one layer is a directory in another; every such path.
        """
        clashes: list[str] = []
        result = self._overlay([tree for tree in trees if tree.children], b"", clashes)
        if clashes:
            raise DeploymentFailedError(
                f"cannot lay the sources over each other: {clashes[0]} is a directory in one and not in another",
                reason="LAYER_CLASH",
                hint="rename it in one of the sources",
                paths=clashes,
            )
        if self._weight > 2 * self._needed + _SLACK:
            self._let_go(result)
        return result if result.entry == EMPTY.entry else Directory(EMPTY.entry, result.children)

    def _let_go(self, present: Directory) -> None:
        """Forget what the present tree does not hold: each edit leaves a directory behind that nobody asks for again."""
        there = {directory.digest for directory in directories_in(present)}
        self._memory = {key: known for key, known in self._memory.items() if known.digest in there}
        self._weight = self._needed = sum(len(known.children) for known in self._memory.values())

    def _overlay(self, trees: Sequence[Directory], at: bytes, clashes: list[str]) -> Directory:
        if not trees:
            return EMPTY
        if len(trees) == 1:
            return trees[0]
        key = tuple(tree.digest for tree in trees)
        known = self._memory.get(key)
        if known is None:
            found = len(clashes)
            known = Directory(trees[-1].entry, self._children(trees, at, clashes))
            if len(clashes) == found:
                self._memory[key] = known
                self._weight += len(known.children)
        return known

    def _children(self, trees: Sequence[Directory], at: bytes, clashes: list[str]) -> dict[bytes, Node]:
        stacks: dict[bytes, list[Node]] = {}
        for tree in trees:
            for name, node in tree.children.items():
                stacks.setdefault(name, []).append(node)
        return {name: self._merge(stack, join(at, name), clashes) for name, stack in stacks.items()}

    def _merge(self, stack: list[Node], path: bytes, clashes: list[str]) -> Node:
        directories = [node for node in stack if isinstance(node, Directory)]
        if directories and len(directories) < len(stack):
            clashes.append(escape(path))
        elif directories:
            return self._overlay(directories, path, clashes)
        return stack[-1]
