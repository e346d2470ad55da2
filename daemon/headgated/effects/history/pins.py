"""What history must not lose although nothing in it refers to it yet.

A content is put, or found to be there, some time before the deployment that needs it commits. Until then it is pinned. What
is never committed stays pinned until the collection after next, which is longer than any deployment takes.
While a collection runs nothing is unpinned, and trees that come into use are handed to it.
"""

from __future__ import annotations

from collections.abc import Collection


class Pins:
    """Digests of contents and roots of trees. The database's lock guards it."""

    def __init__(self) -> None:
        self._contents: set[bytes] = set()
        self._trees: set[bytes] = set()
        self._older_contents: set[bytes] = set()
        self._older_trees: set[bytes] = set()
        self._fresh_trees: list[bytes] | None = None

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._contents or digest in self._older_contents

    def add(self, digest: bytes) -> None:
        """Pin a content."""
        self._contents.add(digest)

    def add_tree(self, root: bytes) -> None:
        """Pin a tree with all that it refers to."""
        self._trees.add(root)
        if self._fresh_trees is not None:
            self._fresh_trees.append(root)

    def release(self, contents: Collection[bytes], trees: Collection[bytes]) -> None:
        """Unpin what a committed deployment refers to from now on."""
        if self._fresh_trees is None:
            for pinned in (self._contents, self._older_contents):
                pinned.difference_update(contents)
                pinned.difference_update(trees)  # a node is a content as well
            for pinned in (self._trees, self._older_trees):
                pinned.difference_update(trees)

    def begin_collection(self) -> list[bytes]:
        """Return every pinned tree; from now on nothing is unpinned."""
        self._fresh_trees = []
        return [*self._trees, *self._older_trees]

    def fresh_trees(self) -> list[bytes]:
        """Return the trees pinned since this was last asked."""
        fresh, self._fresh_trees = self._fresh_trees or [], []
        return fresh

    def end_collection(self) -> None:
        """Let go of what was pinned before the last collection."""
        self._fresh_trees = None
        self._older_contents, self._contents = self._contents, set()
        self._older_trees, self._trees = self._trees, set()
