"""The targets that are watched for edits by hand: which directory is whose, and which are watched already as sources."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable


class Watching:
    """Watches each directory once, however many ask for it. Thread-safe.

    Args:
        watch, unwatch: told of each directory that is first or no longer asked for.
        watch_target: told in place of `watch` where it is a target that is first asked for.
    """

    def __init__(
        self,
        watch: Callable[[str], None],
        unwatch: Callable[[str], None],
        watch_target: Callable[[str], None] | None = None,
    ) -> None:
        self._watch, self._unwatch = watch, unwatch
        self._watch_target = watch_target or watch
        self._asked: Counter[str] = Counter()
        self._targets: dict[str, str] = {}
        self._lock = threading.Lock()

    def add(self, root: str) -> None:
        """Watch a directory."""
        self._add(root, self._watch)

    def _add(self, root: str, watch: Callable[[str], None]) -> None:
        with self._lock:
            self._asked[root] += 1
            first = self._asked[root] == 1
        if first:
            watch(root)

    def remove(self, root: str) -> None:
        """Watch a directory no longer, unless somebody else asked for it."""
        with self._lock:
            self._asked[root] -= 1
            last = self._asked[root] <= 0
            if last:
                del self._asked[root]
        if last:
            self._unwatch(root)

    def follow(self, name: str, target: str | None) -> bool:
        """Watch an environment's target; None: it has none any more. Tell whether that is another than before."""
        with self._lock:
            old = self._targets.get(name)
            if old == target:
                return False
            if target is None:
                del self._targets[name]
            else:
                self._targets[name] = target
        if target is not None:
            self._add(target, self._watch_target)
        if old is not None:
            self.remove(old)
        return True

    def at(self, root: str) -> list[str]:
        """Return the environments whose target a directory is."""
        with self._lock:
            return [name for name, target in self._targets.items() if target == root]
