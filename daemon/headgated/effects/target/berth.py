"""The directory that a target is in, and the names that an atomic deployment uses there.

What lies at these names tells how far a deployment got, whoever looks at it and whenever:

    -tree                      being built, or built; it never was at the target
    -next, marked              the same, and just about to be exchanged; or exchanged, and back again
    -next, the target marked   exchanged; whether what came out is what was expected is not certain yet
    -old                       what came out is as expected: nothing but removing it is left to do
    none, the target marked    the same, where there was no target before or its removal is done
    none                       nothing was begun, or all is done
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

from headgated.core.steps import OWN_PREFIX
from headgated.effects.beneath import GONE, Beneath, open_below, open_root
from headgated.effects.target.acts import Acts
from headgated.effects.target.look import Lens
from headgated.effects.target.site import Site

_TREE, _NEXT, _OLD, _MARKER = b"tree", b"next", b"old", b"new"


class Berth:
    """The target's parent, held open. A context manager; not thread-safe."""

    def __init__(self, root: bytes, token: str, acts: Acts, *, openat2: bool = True) -> None:
        """Open the parent of `root`, an absolute path without symlinks.

        Raises:
            OSError: as `open_root`.
        """
        above, _, self.name = root.rstrip(b"/").rpartition(b"/")
        self.own = OWN_PREFIX + token.encode("ascii") + b"-"
        """How every name of this deployment begins."""
        self.tree = self.own + _TREE
        self.next = self.own + _NEXT
        self.old = self.own + _OLD
        self.marker = self.own + _MARKER
        """An empty file in the new tree, as long as the deployment is not over."""
        self.acts, self._openat2 = acts, openat2
        self.fd = open_root(above or b"/", openat2=openat2)

    def look(self, name: bytes) -> os.stat_result | None:
        """Return the stat of what is at a name; None: nothing."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def site(self, name: bytes, lens: Lens) -> Site:
        """Open the tree at a name; whatever is mounted in it is not entered. The caller closes it.

        Raises:
            OSError: there is none.
        """
        beneath = Beneath(name, openat2=self._openat2, within=self.fd, one_mount=True)
        return Site(beneath, lens, self.acts)

    def site_if_any(self, name: bytes, lens: Lens) -> Site | None:
        """Open the tree at a name, if there is a directory."""
        try:
            return self.site(name, lens)
        except OSError as error:
            if error.errno in GONE:
                return None
            raise

    def marked(self, name: bytes) -> bool:
        """Tell whether the tree at a name is the new one."""
        try:
            fd = open_below(self.fd, name, openat2=self._openat2)
        except OSError as error:
            if error.errno in GONE:
                return False
            raise
        try:
            os.stat(self.marker, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        finally:
            os.close(fd)
        return True

    def sync(self) -> None:
        """Bring the names in the parent to the disk.

        Raises:
            OSError: it cannot be said what reached the disk.
        """
        self.acts.sync(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)


def is_begun(root: bytes, token: str) -> bool:
    """Tell whether anything lies on disk of a deployment of the whole directory `root`. Opens nothing."""
    above = os.path.dirname(root)
    own = OWN_PREFIX + token.encode("ascii") + b"-"
    places = [os.path.join(above, own + name) for name in (_TREE, _NEXT, _OLD)]
    return any(map(os.path.lexists, [*places, os.path.join(root, own + _MARKER)]))
