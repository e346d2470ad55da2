"""Watchers hear everything in order, or are told that they cannot."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from headgated.core.deployment import ConfigDeployment, DeploymentKind, DeploymentStatus
from headgated.core.environment import EnvironmentType
from headgated.core.errors import ConflictError, UnavailableError
from headgated.engine.events import BACKLOG, QUEUE, EventHub
from headgated.engine.overview import gone

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def record(number: int) -> ConfigDeployment:
    return ConfigDeployment(
        f"d{number}", "web", DeploymentKind.DEPLOY, DeploymentStatus.SUCCESS, number, NOW, "me"
    )


async def hub_with(count: int) -> EventHub:
    hub = EventHub()
    hub.bind(asyncio.get_running_loop())
    for number in range(count):
        hub.publish("deployments", "updated", record(number))
    await asyncio.sleep(0)
    return hub


async def test_events_come_in_order_with_growing_revisions() -> None:
    hub = await hub_with(0)
    async with hub.subscribe("deployments") as events:
        for number in range(3):
            await asyncio.to_thread(hub.publish, "deployments", "updated", record(number))
        got = [await anext(events) for _ in range(3)]
    assert [event.value for event in got] == [record(0), record(1), record(2)]
    assert [event.revision for event in got] == [hub.revision - 2, hub.revision - 1, hub.revision]


async def test_watcher_that_comes_back_gets_what_it_missed_however_much() -> None:
    hub = await hub_with(0)
    seen = hub.revision
    for number in range(QUEUE * 2):
        hub.publish("deployments", "updated", record(number))
    await asyncio.sleep(0)
    async with hub.subscribe("deployments", from_revision=seen) as events:
        got = [await anext(events) for _ in range(QUEUE * 2)]
    assert [event.revision for event in got] == list(range(seen + 1, seen + 1 + QUEUE * 2))


async def test_revision_that_is_not_remembered_is_refused() -> None:
    hub = await hub_with(BACKLOG + 10)
    for revision in (1, hub.revision + 1, hub.revision - BACKLOG - 5):
        with pytest.raises(ConflictError) as caught:
            hub.subscribe("deployments", from_revision=revision)
        assert caught.value.reason == "REVISION_TOO_OLD"


async def test_watcher_that_falls_behind_is_told_and_others_are_not_held_up() -> None:
    """A3."""
    hub = await hub_with(0)
    slow, quick = hub.subscribe("deployments"), hub.subscribe("deployments")
    for number in range(QUEUE + 1):
        hub.publish("deployments", "updated", record(number))
        await asyncio.sleep(0)
        assert (await anext(quick)).value == record(number)
    with pytest.raises(ConflictError) as caught:
        await anext(slow)
    assert caught.value.reason == "WATCHER_TOO_SLOW"


async def test_streams_end_when_the_daemon_stops_also_those_that_come_late() -> None:
    hub = await hub_with(0)
    early = hub.subscribe("deployments")
    hub.close()
    for subscription in (early, hub.subscribe("environments")):
        with pytest.raises(UnavailableError):
            await asyncio.wait_for(anext(subscription), 1)


async def test_topics_are_apart() -> None:
    hub = await hub_with(0)
    async with hub.subscribe("environments") as environments, hub.subscribe("deployments") as deployments:
        hub.publish("deployments", "updated", record(1))
        await anext(deployments)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(environments), 0.05)


async def test_subscription_about_an_environment_hears_of_its_deletion_too_and_only_of_that() -> None:
    hub = await hub_with(0)
    before = hub.revision
    async with hub.subscribe("deployments", environment="web") as events:
        for name in ("api", "web"):
            hub.publish("environments", "updated", gone(name, EnvironmentType.TESTING))
            hub.publish("environments", "deleted", gone(name, EnvironmentType.TESTING))
        hub.publish("deployments", "updated", record(1))
        got = [await anext(events) for _ in range(2)]
    assert [event.deletes("web") for event in got] == [True, False]
    assert [event.topic for event in got] == ["environments", "deployments"]
    again = hub.subscribe("deployments", environment="web", from_revision=before)
    assert again.tells_of_deletion()
    assert not hub.subscribe("deployments", environment="web").tells_of_deletion()
    assert not hub.subscribe("deployments", from_revision=before).tells_of_deletion()
