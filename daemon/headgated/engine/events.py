"""Tells watchers what changes, in order, without letting a slow one cost more than a bounded queue.

Every event has a revision, which grows over restarts too (it begins at the clock's microseconds). A watcher that comes back with
the last revision it saw gets what it missed from a bounded backlog, or is told that it is too late. A watcher that falls
behind is told so and dropped; nothing is skipped in silence. Lives on one asyncio loop; `publish` may be called from any thread.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from headgated.core.deployment import ConfigDeployment
from headgated.core.errors import ConflictError, UnavailableError
from headgated.engine.views import EnvironmentView

Topic = Literal["deployments", "environments"]
EventKind = Literal["updated", "deleted"]

BACKLOG = 10_000
QUEUE = 1_000


@dataclass(frozen=True, slots=True)
class Event:
    """One change."""

    revision: int
    topic: Topic
    kind: EventKind
    value: ConfigDeployment | EnvironmentView

    def deletes(self, environment: str) -> bool:
        """Tell whether an environment is gone by it."""
        return (
            self.kind == "deleted"
            and isinstance(self.value, EnvironmentView)
            and self.value.environment.name == environment
        )


class Subscription:
    """One watcher's place in the stream: iterate for events; leave the context to end it.

    It has the events of its topic and, where it is about one environment, that environment's deletion.

    Raises from the iterator:
        ConflictError: WATCHER_TOO_SLOW, the watcher fell more than `QUEUE` events behind.
        UnavailableError: the daemon stops.
    """

    def __init__(self, hub: EventHub, topic: Topic, environment: str = "") -> None:
        self._hub, self._topic, self._environment = hub, topic, environment
        self._queue: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._end: Exception | None = None
        self._room = QUEUE

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hub.drop(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._queue:
            if self._end is not None:
                raise self._end
            self._wake.clear()
            await self._wake.wait()
        return self._queue.popleft()

    def tells_of_deletion(self) -> bool:
        """Tell whether its environment's deletion is among what is queued."""
        return any(event.deletes(self._environment) for event in self._queue)

    def begin_with(self, missed: Iterable[Event]) -> None:
        """Queue what was missed, however much; only what comes while it is not fetched counts against the watcher."""
        self._queue.extend(event for event in missed if self._takes(event))
        self._room = len(self._queue) + QUEUE

    def push(self, event: Event) -> None:
        """Queue one event, if it is one that is watched; a full queue ends the subscription."""
        if self._end is not None or not self._takes(event):
            return
        if len(self._queue) >= self._room:
            self.end(
                ConflictError(
                    "cannot go on watching: the watcher fell behind",
                    reason="WATCHER_TOO_SLOW",
                    hint="watch again; the stream begins with the present state",
                )
            )
            self._queue.clear()
            return
        self._queue.append(event)
        self._wake.set()

    def _takes(self, event: Event) -> bool:
        return event.topic == self._topic or event.deletes(self._environment)

    def end(self, error: Exception) -> None:
        """End the subscription after what is queued."""
        self._end = error
        self._wake.set()


class EventHub:
    """Where events come from and go to."""

    def __init__(self) -> None:
        self._revision = time.time_ns() // 1000
        self._oldest = self._revision
        self._backlog: deque[Event] = deque()
        self._subscriptions: set[Subscription] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._incoming: deque[tuple[Topic, EventKind, ConfigDeployment | EnvironmentView]] = deque()
        self._rung = False
        """The loop is about to look what has come in."""
        self._listener: Callable[[], None] = lambda: None

    @property
    def revision(self) -> int:
        """The revision of the newest event."""
        return self._revision

    def bind(self, loop: asyncio.AbstractEventLoop, listener: Callable[[], None] = lambda: None) -> None:
        """Deliver on `loop` from now on; events published before are dropped (nobody can have watched).

        Args:
            loop: where watchers live.
            listener: called there after events were delivered, once for as many as came together.
        """
        self._loop, self._listener = loop, listener

    def publish(self, topic: Topic, kind: EventKind, value: ConfigDeployment | EnvironmentView) -> None:
        """Tell every watcher of `topic`. Never blocks; callable from any thread."""
        if self._loop is None or self._closed:
            return
        self._incoming.append((topic, kind, value))
        if (
            not self._rung
        ):  # Each time the loop is woken, it takes its share of the interpreter from who works.
            self._rung = True
            self._loop.call_soon_threadsafe(self._deliver_all)

    def _deliver_all(self) -> None:
        self._rung = False
        while self._incoming:
            self._deliver(*self._incoming.popleft())
        self._listener()

    def _deliver(self, topic: Topic, kind: EventKind, value: ConfigDeployment | EnvironmentView) -> None:
        self._revision += 1
        event = Event(self._revision, topic, kind, value)
        self._backlog.append(event)
        if len(self._backlog) > BACKLOG:
            self._oldest = self._backlog.popleft().revision
        for subscription in tuple(self._subscriptions):
            subscription.push(event)

    def subscribe(self, topic: Topic, *, from_revision: int = 0, environment: str = "") -> Subscription:
        """Begin to watch, from now or from after `from_revision`.

        Args:
            topic: which events.
            from_revision: continue after this one; 0: begin now.
            environment: whose deletion is told too, whatever the topic; empty: of none.

        Raises:
            ConflictError: REVISION_TOO_OLD where the backlog does not reach back that far (or the revision is no revision
                of this daemon).
        """
        subscription = Subscription(self, topic, environment)
        if self._closed:
            subscription.end(_stopping())
        if from_revision:
            if not self._oldest <= from_revision <= self._revision:
                raise ConflictError(
                    f"cannot watch from revision {from_revision}: it is not among those remembered",
                    reason="REVISION_TOO_OLD",
                    hint="watch again without a revision; the stream begins with the present state",
                )
            subscription.begin_with(event for event in self._backlog if event.revision > from_revision)
        self._subscriptions.add(subscription)
        return subscription

    def drop(self, subscription: Subscription) -> None:
        """Forget a watcher."""
        self._subscriptions.discard(subscription)

    def close(self) -> None:
        """End every stream: the daemon stops."""
        self._closed = True
        for subscription in tuple(self._subscriptions):
            subscription.end(_stopping())


def _stopping() -> UnavailableError:
    return UnavailableError("the daemon stops", reason="STOPPING", hint="watch again when it is back")
