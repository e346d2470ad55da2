"""What history must not lose although nothing in it refers to it yet.

A content is put, or found to be there, some time before the deployment that needs it commits. Until then it is pinned. As two
deployments may need the same, nothing is unpinned while any is under way, nor while a collection runs. What is pinned and
never committed stays so until the second collection after which nothing is under way. Trees that come into use during a
collection are handed to it.
"""

from __future__ import annotations

from collections.abc import Iterable


class Pins:
    """Digests of contents and roots of trees. The database's lock guards it."""

    def __init__(self) -> None:
        self._contents: set[bytes] = set()
        self._trees: set[bytes] = set()
        self._older_contents: set[bytes] = set()
        self._older_trees: set[bytes] = set()
        self._under_way: dict[str, str] = {}
        """By environment: each has one deployment under way at a time."""
        self._unneeded: set[bytes] = set()
        """What committed deployments had pinned, waiting for the others."""
        self._fresh_trees: list[bytes] | None = None

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._contents or digest in self._older_contents

    def add(self, digest: bytes) -> None:
        """Pin a content."""
        self._contents.add(digest)

    def update(self, digests: Iterable[bytes]) -> None:
        """Pin some contents."""
        self._contents.update(digests)

    def add_tree(self, root: bytes) -> None:
        """Pin a tree with all that it refers to."""
        self._trees.add(root)
        if self._fresh_trees is not None:
            self._fresh_trees.append(root)

    def begin(self, environment: str, deployment_id: str) -> None:
        """Note that a deployment is under way, and will need some of what is pinned from now on."""
        self._under_way[environment] = deployment_id

    def end(self, environment: str, unneeded: Iterable[bytes] = ()) -> None:
        """Note that an environment's deployment has committed or was given up; what it refers to need not be pinned for it."""
        self._under_way.pop(environment, None)
        self._unneeded.update(unneeded)
        self._unpin()

    def end_deployment(self, deployment_id: str) -> None:
        """Note that a deployment was given up, if it is under way."""
        for environment, under_way in list(self._under_way.items()):
            if under_way == deployment_id:
                self.end(environment)

    def begin_collection(self) -> list[bytes]:
        """Return every pinned tree; from now on nothing is unpinned."""
        self._fresh_trees = []
        return [*self._trees, *self._older_trees]

    def fresh_trees(self) -> list[bytes]:
        """Return the trees pinned since this was last asked."""
        fresh, self._fresh_trees = self._fresh_trees or [], []
        return fresh

    def end_collection(self) -> None:
        """Let go of what was pinned before the last collection already, if nothing is under way."""
        self._fresh_trees = None
        if not self._under_way:
            self._older_contents, self._contents = self._contents, set()
            self._older_trees, self._trees = self._trees, set()
        self._unpin()

    def _unpin(self) -> None:
        if not self._under_way and self._fresh_trees is None:
            for pinned in (self._contents, self._older_contents, self._trees, self._older_trees):
                pinned -= self._unneeded  # noqa: PLW2901 - in place
                if not pinned:
                    pinned.clear()  # An empty set may keep the room of what was in it.
            self._unneeded = set()
