"""What watchers are told: each change has a revision, and a watch may continue after one that is remembered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from headgate.errors import ConflictError, LimitError, NotFoundError, UnreachableError
from headgate.v1 import environment_pb2 as ep

_MOST = 24
_JUMP = 1_000_000


@dataclass(frozen=True, slots=True)
class Event:
    """One change."""

    revision: int
    topic: str
    kind: ep.WatchEventKind.ValueType
    item: Any
    """The message of the environment or deployment."""

    def deletes(self, environment: str) -> bool:
        """Tell whether an environment is gone by it."""
        gone = self.topic == "environments" and self.kind == ep.WATCH_EVENT_KIND_DELETED
        return gone and self.item.name == environment


@dataclass(frozen=True, slots=True)
class About:
    """The one environment that a watch is about, and ends with."""

    environment: str
    look: Callable[[], object]
    """Raises NotFoundError where there is none of that name."""


class Feed:
    """The changes since the daemon began. Thread-safe.

    Args:
        lock: what guards the state that is told of; changes are published while it is held.
    """

    def __init__(self, lock: threading.RLock) -> None:
        self.changed = threading.Condition(lock)
        self.events: list[Event] = []
        self.watchers = 0
        self._oldest = self.revision = _JUMP
        self._era = 0

    def publish(self, topic: str, kind: ep.WatchEventKind.ValueType, item: Any) -> None:  # noqa: ANN401 -- either message
        """Tell of a change; keeps a copy of the item as it is now."""
        with self.changed:
            self.revision += 1
            copy = type(item)()
            copy.CopyFrom(item)
            self.events.append(Event(self.revision, topic, kind, copy))
            self.changed.notify_all()

    def interrupt(self, *, forget: bool) -> None:
        """End every watch, as a restart does; with `forget` no earlier revision means anything any more."""
        with self.changed:
            self._era += 1
            if forget:
                self.events.clear()
                self.revision += _JUMP
                self._oldest = self.revision
            self.changed.notify_all()

    def watch(
        self,
        topic: str,
        after: int,
        present: Callable[[], list[Any]],
        wanted: Callable[[Any], bool],
        alive: Callable[[], bool],
        about: About | None = None,
    ) -> Iterator[Event]:
        """Yield what there is (unless `after` continues an earlier watch), then what changes, while the watcher is alive.

        Raises:
            NotFoundError: there is no environment such as it is about, or not any more.
            UnreachableError: the daemon stops.
            LimitError: there are too many.
            ConflictError: REVISION_TOO_OLD.
        """
        with self.changed:
            era, seen = self._era, after or self.revision
            if self.watchers >= _MOST:
                raise LimitError("cannot answer: too many streams are open", reason="TOO_MANY_STREAMS")
            if after and not self._oldest <= after <= self.revision:
                raise ConflictError(
                    f"cannot watch from revision {after}: it is not among those remembered",
                    reason="REVISION_TOO_OLD",
                    hint="watch again without a revision; the stream begins with the present state",
                )
            if about and not any(e.deletes(about.environment) for e in self.events if e.revision > seen):
                about.look()
            first = [] if after else present()
            self.watchers += 1
        try:
            for item in first:
                yield Event(seen, topic, ep.WATCH_EVENT_KIND_SNAPSHOT, item)
            if not after:
                yield Event(seen, topic, ep.WATCH_EVENT_KIND_SNAPSHOT_END, None)
            while alive():
                for event in self._next(seen, era):
                    seen = event.revision
                    if event.topic == topic and wanted(event.item):
                        yield event
                    if about and event.deletes(about.environment):
                        raise NotFoundError(
                            f"cannot go on watching {about.environment}: it was deleted",
                            reason="ENVIRONMENT_DELETED",
                            hint="see which there are: headgate env list",
                        )
        finally:
            with self.changed:
                self.watchers -= 1

    def _next(self, seen: int, era: int) -> list[Event]:
        with self.changed:
            self.changed.wait_for(lambda: self._era != era or self.revision > seen, timeout=0.2)
            if self._era != era:
                raise UnreachableError("the daemon stops", address="", there=True, reason="STOPPING")
            return [event for event in self.events if event.revision > seen]
