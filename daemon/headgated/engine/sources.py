"""The sources that environments subscribe to: one `Source` for each directory, however many subscribe."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from headgated.core.environment import Environment
from headgated.effects.scan import ScanLimits, Source


class Sources:
    """Knows who subscribes to what. Thread-safe.

    Args:
        limits: what a source may hold.
        watch, unwatch: told of each directory that gets its first or loses its last subscriber.
    """

    def __init__(
        self,
        limits: ScanLimits,
        watch: Callable[[str], None],
        unwatch: Callable[[str], None],
    ) -> None:
        self._limits, self._watch, self._unwatch = limits, watch, unwatch
        self._sources: dict[str, Source] = {}
        self._subscribers: dict[str, set[str]] = {}
        self._lock = threading.Lock()

    def subscribe(self, environment: Environment) -> None:
        """Make an environment's subscriptions what it says now."""
        self._set(environment.name, environment.sources)

    def unsubscribe(self, name: str) -> None:
        """End an environment's subscriptions."""
        self._set(name, ())

    def limit(self, limits: ScanLimits) -> None:
        """Go by other limits from each source's next scan on; a source that a limit refused is looked at anew."""
        with self._lock:
            changed, self._limits = limits != self._limits, limits
            for source in self._sources.values():
                source.limit(limits)
                if changed:
                    source.distrust()

    def end(self) -> None:
        """Cut off every look that is made now: the daemon stops."""
        with self._lock:
            for source in self._sources.values():
                source.end()

    def of(self, environment: Environment) -> list[Source]:
        """Return the environment's sources, in its order."""
        with self._lock:
            return [self._sources[path] for path in environment.sources]

    def get(self, path: str) -> Source | None:
        """Return one source, if anybody subscribes to it."""
        with self._lock:
            return self._sources.get(path)

    def all(self) -> dict[str, tuple[str, ...]]:
        """Return each source's path with its subscribers, both ordered."""
        with self._lock:
            return {path: tuple(sorted(self._subscribers[path])) for path in sorted(self._sources)}

    def subscribers(self, path: str) -> tuple[str, ...]:
        """Return who subscribes to `path`."""
        with self._lock:
            return tuple(self._subscribers.get(path, ()))

    def _set(self, name: str, paths: Iterable[str]) -> None:
        wanted = set(paths)
        with self._lock:
            new = [path for path in wanted if path not in self._sources]
            for path in new:
                self._sources[path] = Source(path, limits=self._limits)
            for path in wanted:
                self._subscribers.setdefault(path, set()).add(name)
            gone = []
            for path, names in list(self._subscribers.items()):
                if path not in wanted:
                    names.discard(name)
                if not names:
                    gone.append(path)
                    del self._subscribers[path], self._sources[path]
        for path in new:
            self._watch(path)
        for path in gone:
            self._unwatch(path)
