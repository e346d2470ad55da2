"""Where a target is not what a tree says."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from headgated.core.paths import join
from headgated.core.tree import Directory, own, walk
from headgated.effects.beneath import GONE
from headgated.effects.target.content import entry_at
from headgated.effects.target.failure import failed
from headgated.effects.target.look import SpecialFileError
from headgated.effects.target.site import Site

AT_ONCE = 500
"""So many names are looked at before others get their turn: some milliseconds."""


class Comparison:
    """A look at everything that a tree has, made bit by bit; costs one call for each file where all is as it should be.

    Args:
        tree: what should be there.
        at: its path from the target.
    """

    def __init__(self, tree: Directory, at: bytes) -> None:
        self._waiting = [(at, tree, iter(tree.children))]

    @property
    def done(self) -> bool:
        """Whether all has been looked at."""
        return not self._waiting

    def go_on(self, site: Site) -> list[bytes]:
        """Look at some more names; return the paths where what is there is not what the tree says.

        Raises:
            DeploymentFailedError, TargetMovedError: as `Target.observe`, but for special files, which differ from everything.
        """
        found: list[bytes] = []
        left = AT_ONCE
        while self._waiting and left > 0:
            at, directory, names = self._waiting[-1]
            some = list(islice(names, left))
            left -= len(some)
            if not some:
                self._waiting.pop()
                left -= 1
                continue
            try:
                fd = site.beneath.directory(at)
            except OSError as error:
                if error.errno not in GONE:
                    raise failed("look into", at, error) from error
                found += (path for name in some for path in _whole(directory, at, name))
            else:
                self._look(site, fd, some, found)
        return found

    def _look(self, site: Site, fd: int, names: list[bytes], found: list[bytes]) -> None:
        at, directory, _ = self._waiting[-1]
        for name in site.lens.doubtful(fd, names, directory.children, at):
            path, node = join(at, name), directory.children[name]
            try:
                as_it_should_be = own(node).stays(entry_at(site, path))
            except SpecialFileError:
                as_it_should_be = False
            if not as_it_should_be:
                found.append(path)
            if isinstance(node, Directory):
                self._waiting.append((path, node, iter(node.children)))


def _whole(directory: Directory, at: bytes, name: bytes) -> Iterator[bytes]:
    """Yield the path of a child and of all that is below it."""
    path, node = join(at, name), directory.children[name]
    yield path
    if isinstance(node, Directory):
        for below, _ in walk(node, path):
            yield below
