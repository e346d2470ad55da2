"""A stream: what there is, then what changes, without a gap between the two.

It subscribes first and looks second, so a change may be told that the beginning already shows, but none is missed. Every
message has a revision to continue from. Promises to leave the hub however it ends; ends with the hub's own words (too slow,
revision too old, the daemon stops) where the hub ends it. A stream about one environment ends when that is gone: nothing
would ever come any more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from headgate.v1 import environment_pb2 as wire
from headgated.api.convert.choices import EVENT_KINDS
from headgated.core.errors import NotFoundError
from headgated.engine.events import EventHub, Topic

SNAPSHOT = wire.WATCH_EVENT_KIND_SNAPSHOT
SNAPSHOT_END = wire.WATCH_EVENT_KIND_SNAPSHOT_END
UPDATED = wire.WATCH_EVENT_KIND_UPDATED
DELETED = wire.WATCH_EVENT_KIND_DELETED

Send = Callable[[int, wire.WatchEventKind.ValueType, Any], Awaitable[None]]
"""Sends one message: its revision, its kind, and the item that it is about (None: none)."""


@dataclass(frozen=True, slots=True)
class About:
    """The one environment that a stream is about."""

    environment: str
    look: Callable[[], Awaitable[object]]
    """Raises NotFoundError where there is none of that name."""


async def watch(  # noqa: PLR0913 - what there is, what is wanted of it, and when it is over
    hub: EventHub,
    topic: Topic,
    *,
    from_revision: int,
    present: Callable[[], Awaitable[Sequence[Any]]],
    wanted: Callable[[Any], bool],
    send: Send,
    over: Callable[[Any], bool] | None = None,
    about: About | None = None,
) -> None:
    """Send what is there, unless `from_revision` continues an earlier stream, then what changes.

    Args:
        hub: where changes are told.
        topic: which of them.
        from_revision: continue after this one; 0: begin anew.
        present: reads what is there.
        wanted: tells whether an item is one that the watcher asked for.
        send: sends one message.
        over: tells whether nothing more will happen to an item that is watched alone, so that the stream ends; None: never.
        about: the environment that the stream is about, and ends with; None: it is about no single one.

    Raises:
        NotFoundError: there is no such environment (ENVIRONMENT_NOT_FOUND), or it was deleted (ENVIRONMENT_DELETED).
        ConflictError: the revision is too old, or the watcher fell behind.
        UnavailableError: the daemon stops.
    """
    environment = about.environment if about else ""
    async with hub.subscribe(topic, from_revision=from_revision, environment=environment) as events:
        revision = hub.revision
        if about and not events.tells_of_deletion():
            await about.look()
        if not from_revision:
            items = await _snapshot(revision, present, send)
        else:
            items = await present() if over else []
        if over and any(map(over, items)):
            if from_revision:  # Its end may lie before that revision, and would never be told.
                await send(revision, UPDATED, items[0])
            return
        async for event in events:
            if event.topic == topic and wanted(event.value):
                await send(event.revision, EVENT_KINDS[event.kind], event.value)
                if over and (event.kind == "deleted" or over(event.value)):
                    return
            if about and event.deletes(environment):
                raise _deleted(environment)


def _deleted(environment: str) -> NotFoundError:
    return NotFoundError(
        f"cannot go on watching {environment}: it was deleted",
        reason="ENVIRONMENT_DELETED",
        hint="see which there are: headgate env list",
    )


async def _snapshot(
    revision: int, present: Callable[[], Awaitable[Sequence[Any]]], send: Send
) -> Sequence[Any]:
    items = await present()
    for item in items:
        await send(revision, SNAPSHOT, item)
    await send(revision, SNAPSHOT_END, None)
    return items
