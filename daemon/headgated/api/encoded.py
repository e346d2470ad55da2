"""Events and answers as the bytes that go over the wire, each made once however many watch or ask.

Of events only the newest are kept; what a stream begins with is made for its reader alone. Of answers those that were asked for last,
each for as long as what it tells of is the very same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from google.protobuf.message import Message

from headgate.v1 import environment_pb2 as wire

T = TypeVar("T")
V = TypeVar("V")
KEPT = 256
_SHARED = (wire.WATCH_EVENT_KIND_UPDATED, wire.WATCH_EVENT_KIND_DELETED)


class Encoded(Generic[V]):
    """The newest events of one topic, encoded. Lives on the loop.

    Args:
        make: makes the message of a revision, a kind and what it is about.
    """

    def __init__(self, make: Callable[[int, wire.WatchEventKind.ValueType, V | None], Message]) -> None:
        self._make = make
        self._kept: dict[int, tuple[wire.WatchEventKind.ValueType, V | None, bytes]] = {}

    def of(self, revision: int, kind: wire.WatchEventKind.ValueType, value: V | None) -> bytes:
        """Return one message."""
        kept = self._kept.get(revision)
        if kept is not None and kept[0] == kind and kept[1] is value:
            return kept[2]
        raw = self._make(revision, kind, value).SerializeToString()
        if kind in _SHARED:
            self._kept[revision] = kind, value, raw
            if len(self._kept) > KEPT:
                del self._kept[next(iter(self._kept))]
        return raw


class Answers(Generic[T]):
    """Answers to those who ask for one thing, encoded. Lives on the loop.

    Args:
        make: makes the message about something.
    """

    def __init__(self, make: Callable[[T], Message]) -> None:
        self._make = make
        self._kept: dict[str, tuple[T, bytes]] = {}

    def of(self, name: str, value: T) -> bytes:
        """Return the message about `value`, which is never changed and goes by `name`."""
        kept = self._kept.pop(name, None)
        if kept is None or kept[0] is not value:
            kept = value, self._make(value).SerializeToString()
        self._kept[name] = kept
        if len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return kept[1]
