"""A stream: what there is, then what changes, without a gap between the two.

It subscribes first and looks second, so a change may be told that the beginning already shows, but none is missed. Every
message has a revision to continue from. Promises to leave the hub however it ends; ends with the hub's own words (too slow,
revision too old, the daemon stops) where the hub ends it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from headgate.v1 import environment_pb2 as wire
from headgated.api.convert.choices import EVENT_KINDS
from headgated.engine.events import EventHub, Topic

SNAPSHOT = wire.WATCH_EVENT_KIND_SNAPSHOT
SNAPSHOT_END = wire.WATCH_EVENT_KIND_SNAPSHOT_END
UPDATED = wire.WATCH_EVENT_KIND_UPDATED
DELETED = wire.WATCH_EVENT_KIND_DELETED

Send = Callable[[int, wire.WatchEventKind.ValueType, Any], Awaitable[None]]
"""Sends one message: its revision, its kind, and the item that it is about (None: none)."""


async def watch(
    hub: EventHub,
    topic: Topic,
    *,
    from_revision: int,
    present: Callable[[], Awaitable[Sequence[Any]]],
    wanted: Callable[[Any], bool],
    send: Send,
    over: Callable[[Any], bool] | None = None,
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

    Raises:
        ConflictError: the revision is too old, or the watcher fell behind.
        UnavailableError: the daemon stops.
    """
    async with hub.subscribe(topic, from_revision=from_revision) as events:
        revision = hub.revision
        if not from_revision:
            items = await _snapshot(revision, present, send)
        else:
            items = await present() if over else []
        if over and any(map(over, items)):
            if from_revision:  # Its end may lie before that revision, and would never be told.
                await send(revision, UPDATED, items[0])
            return
        async for event in events:
            if wanted(event.value):
                await send(event.revision, EVENT_KINDS[event.kind], event.value)
                if over and (event.kind == "deleted" or over(event.value)):
                    return


async def _snapshot(
    revision: int, present: Callable[[], Awaitable[Sequence[Any]]], send: Send
) -> Sequence[Any]:
    items = await present()
    for item in items:
        await send(revision, SNAPSHOT, item)
    await send(revision, SNAPSHOT_END, None)
    return items
