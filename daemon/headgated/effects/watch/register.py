"""Which descriptor stands for which path, and what is below it: the bookkeeping of `watches`.

Knows no kernel and no file system. A descriptor that is known under no path any more is an orphan until somebody takes it.
Not thread-safe.
"""

from __future__ import annotations

from headgated.core.paths import parent
from headgated.effects.watch.reader import Descriptor


class Register:
    """Directories by path, relative to a root, and by descriptor. A descriptor may be known under more than one path."""

    def __init__(self) -> None:
        self.failed: dict[bytes, OSError] = {}
        """Directories that could not be watched or listed, and why."""
        self._descriptors: dict[bytes, Descriptor] = {}
        self._paths: dict[Descriptor, tuple[bytes, ...]] = {}
        self._below: dict[bytes, set[bytes]] = {}
        self._attributes: dict[bytes, tuple[int, int, int]] = {}
        self._alike: dict[tuple[int, int, int], tuple[int, int, int]] = {}
        """Those that were seen, one of each: a thousand directories have few."""
        self._orphans: set[Descriptor] = set()

    def __contains__(self, path: bytes) -> bool:
        """Tell whether `path` has a descriptor, or failed to get one."""
        return path in self._descriptors or path in self.failed

    @property
    def watched(self) -> int:
        """How many paths have a descriptor."""
        return len(self._descriptors)

    def descriptor(self, path: bytes) -> Descriptor | None:
        """Return the descriptor of `path`, if it has one and nothing failed there."""
        return None if path in self.failed else self._descriptors.get(path)

    def paths(self, wd: Descriptor) -> tuple[bytes, ...]:
        """Return the paths that a descriptor is known under."""
        return self._paths.get(wd, ())

    def below(self, path: bytes) -> set[bytes]:
        """Return what is registered directly below `path`, or leads to something that is."""
        return self._below.get(path, set())

    def record(self, path: bytes, wd: Descriptor) -> None:
        """Note that `wd` stands for `path`."""
        self._descriptors[path] = wd
        self._paths[wd] = (*self._paths.get(wd, ()), path)
        self._orphans.discard(wd)
        self._link(path)

    def fail(self, path: bytes, error: OSError) -> None:
        """Note that there is a directory at `path`, and why it is not watched or not known what is in it."""
        self.failed[path] = error
        self._link(path)

    def differs(self, path: bytes, attributes: tuple[int, int, int]) -> bool:
        """Note mode, owner and group of `path`, and tell whether they were not the same before."""
        before = self._attributes.get(path)
        self._attributes[path] = self._alike.setdefault(attributes, attributes)
        return before != attributes

    def release(self, path: bytes) -> int:
        """Forget `path` and everything below; return how many had a descriptor."""
        lost = 0
        if path:
            self.below(parent(path)).discard(path)
        stack = [path]
        while stack:
            here = stack.pop()
            stack.extend(self._below.pop(here, ()))
            self.failed.pop(here, None)
            self._attributes.pop(here, None)
            if (wd := self._descriptors.pop(here, None)) is not None:
                self._orphan(wd, here)
                lost += 1
        return lost

    def lose(self, wd: Descriptor) -> list[bytes]:
        """Forget a descriptor that the kernel took away; return the paths that have none now."""
        lost = [path for path in self._paths.pop(wd, ()) if self._descriptors.get(path) == wd]
        for path in lost:
            del self._descriptors[path]
        return lost

    def take_orphans(self) -> set[Descriptor]:
        """Return the descriptors that stand for nothing any more, once."""
        orphans, self._orphans = self._orphans, set()
        return orphans

    def _link(self, path: bytes) -> None:
        """Make `path` reachable from the root, also where a directory on the way is not watched (any more, or yet)."""
        while path and path not in (siblings := self._below.setdefault(parent(path), set())):
            siblings.add(path)
            path = parent(path)

    def _orphan(self, wd: Descriptor, path: bytes) -> None:
        if others := tuple(other for other in self._paths.get(wd, ()) if other != path):
            self._paths[wd] = others
        else:
            self._paths.pop(wd, None)
            self._orphans.add(wd)
