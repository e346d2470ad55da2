"""Events as the bytes that go over the wire, each made once however many watch.

Only events are kept, and only the newest of them: what a stream begins with is made for its reader alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from google.protobuf.message import Message

from headgate.v1 import environment_pb2 as wire

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
