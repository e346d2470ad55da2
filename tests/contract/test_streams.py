"""Streams: what there is, then each change, with revisions to continue from; over a restart, too."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Self

import pytest
from tests.contract.conftest import Site
from tests.e2e.harness import SUCCESS, eventually

from headgate import AsyncClient, Client
from headgate.errors import NotFoundError
from headgate.v1 import deployment_pb2 as dp, environment_pb2 as ep

pytestmark = pytest.mark.e2e

SNAPSHOT, END, UPDATED, DELETED = (
    ep.WATCH_EVENT_KIND_SNAPSHOT,
    ep.WATCH_EVENT_KIND_SNAPSHOT_END,
    ep.WATCH_EVENT_KIND_UPDATED,
    ep.WATCH_EVENT_KIND_DELETED,
)


class Watcher(threading.Thread):
    """Watches on a thread until its client is closed."""

    def __init__(self, site: Site, topic: str = "deployments", **how: Any) -> None:
        super().__init__(daemon=True)
        self.client = Client(site.world.address, timeout=30)
        self.told: list[Any] = []
        self.lost: list[Any] = []
        self.error: NotFoundError | None = None
        self._events = getattr(self.client, f"watch_{topic}")(site.name, on_lost=self.lost.append, **how)
        self.start()

    def run(self) -> None:
        try:
            for event in self._events:
                self.told.append(event)
        except NotFoundError as error:
            self.error = error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.join(10)
        assert not self.is_alive()

    def begun(self) -> bool:
        return any(event.kind == END for event in self.told)

    def ended(self) -> list[str]:
        """The ids of deployments that it was told to have succeeded, as a change."""
        return [
            event.deployment.deployment_id
            for event in self.told
            if event.kind == UPDATED and event.deployment.status == SUCCESS
        ]


def test_watch_tells_what_there_is_then_each_change(site: Site) -> None:
    site.create()
    first = site.deploy()
    with Watcher(site) as watcher:
        eventually(watcher.begun)
        assert [event.kind for event in watcher.told] == [SNAPSHOT, END]
        assert watcher.told[0].deployment.deployment_id == first.deployment_id
        second = site.deploy()
        eventually(lambda: watcher.ended() == [second.deployment_id])
        revisions = [event.revision for event in watcher.told]
        assert revisions == sorted(revisions)
        statuses = [
            e.deployment.status for e in watcher.told if e.deployment.deployment_id == second.deployment_id
        ]
        assert statuses[0] == dp.DEPLOYMENT_STATUS_PENDING
        assert statuses == sorted(statuses)


def test_watch_of_another_environment_hears_nothing(site: Site) -> None:
    site.create()
    site.client.create_environment(
        f"{site.name}x", type="testing", config_path=f"{site.target}x", sources=[site.source], auto_sync=False
    )
    with Watcher(site) as watcher:
        eventually(watcher.begun)
        site.client.wait_for_deployment(site.client.deploy(f"{site.name}x").deployment_id)
        mine = site.deploy()
        eventually(lambda: watcher.ended() == [mine.deployment_id])
        assert {e.deployment.environment for e in watcher.told if e.kind == UPDATED} == {site.name}


def test_watch_of_one_deployment_ends_with_it(site: Site) -> None:
    site.create()
    asked = site.client.deploy(site.name)
    events = list(site.client.watch_deployments(deployment_id=asked.deployment_id))
    assert events[-1].deployment.status == SUCCESS
    assert {event.deployment.deployment_id for event in events if event.kind != END} == {asked.deployment_id}


def test_watch_continues_after_a_revision(site: Site) -> None:
    site.create()
    first = site.deploy()
    with Watcher(site) as watcher:
        eventually(watcher.begun)
        revision = watcher.told[-1].revision
    second = site.deploy()
    with Watcher(site, from_revision=revision) as again:
        eventually(lambda: again.ended() == [second.deployment_id])
        assert first.deployment_id not in {event.deployment.deployment_id for event in again.told}
        assert not again.begun(), "the present state is not told again"


def test_watch_goes_on_over_a_restart(site: Site) -> None:
    site.create()
    with Watcher(site) as watcher:
        eventually(watcher.begun)
        first = site.deploy()
        eventually(lambda: watcher.ended() == [first.deployment_id])
        before = watcher.told[-1].revision
        site.world.restart()
        eventually(
            lambda: watcher.lost and watcher.told[-1].kind == END and watcher.told[-1].revision > before
        )
        second = site.deploy()
        eventually(lambda: watcher.ended() == [first.deployment_id, second.deployment_id])


async def test_asyncio_client_watches_and_waits_over_a_restart(site: Site) -> None:
    site.create()
    async with AsyncClient(site.world.address, timeout=30) as client:
        told: list[str] = []

        async def watch() -> None:
            async for event in client.watch_deployments(site.name):
                told.extend([event.deployment.deployment_id] * (event.deployment.status == SUCCESS))

        watching = asyncio.create_task(watch())
        first = await client.wait_for_deployment((await client.deploy(site.name)).deployment_id, 30)
        await asyncio.to_thread(eventually, lambda: first.deployment_id in told)
        await asyncio.to_thread(site.world.restart)
        second = await client.wait_for_deployment((await client.deploy(site.name)).deployment_id, 30)
        await asyncio.to_thread(eventually, lambda: second.deployment_id in told)
        assert [each.deployment_id async for each in client.list_deployments(site.name)] == [
            second.deployment_id,
            first.deployment_id,
        ]
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def test_environments_are_watched_until_they_are_gone(site: Site) -> None:
    site.create()
    with Watcher(site, "environments") as watcher:
        eventually(watcher.begun)
        assert watcher.told[0].environment.name == site.name
        site.client.update_environment(site.name, variables={"A": "1"})
        eventually(lambda: dict(watcher.told[-1].environment.variables) == {"A": "1"})
        assert watcher.told[-1].kind == UPDATED
        site.client.delete_environment(site.name)
        eventually(lambda: watcher.error is not None)
        assert watcher.told[-1].kind == DELETED
        assert watcher.told[-1].environment.name == site.name
        assert watcher.error is not None
        assert watcher.error.reason == "ENVIRONMENT_DELETED"


def test_watch_of_an_environments_deployments_ends_when_it_is_deleted(site: Site) -> None:
    site.create()
    first = site.deploy()
    with Watcher(site) as watcher:
        eventually(watcher.begun)
        before = watcher.told[-1].revision
        removal = site.client.delete_environment(site.name, remove_target_files=True)
        eventually(lambda: watcher.error is not None)
        assert watcher.error is not None
        assert watcher.error.message == f"cannot go on watching {site.name}: it was deleted"
        assert watcher.error.reason == "ENVIRONMENT_DELETED"
        assert watcher.ended() == [removal], "what happened before it is told"
    with Watcher(site, from_revision=before) as late:
        eventually(lambda: late.error is not None)
        assert late.error is not None
        assert late.error.reason == "ENVIRONMENT_DELETED"
        assert late.ended() == [removal]
    with pytest.raises(NotFoundError) as unknown:
        next(site.client.watch_deployments(site.name))
    assert unknown.value.reason == "ENVIRONMENT_NOT_FOUND"
    assert [each.deployment_id for each in site.client.list_deployments(site.name)] == [
        removal,
        first.deployment_id,
    ]


def test_watch_notices_after_a_restart_that_its_environment_is_gone(site: Site) -> None:
    site.create()
    with Watcher(site) as watcher:
        eventually(watcher.begun)
        revision = watcher.told[-1].revision
    site.client.delete_environment(site.name)
    site.world.restart()
    with Watcher(site, from_revision=revision) as watcher:
        eventually(lambda: watcher.error is not None)


async def test_asyncio_watch_ends_when_its_environment_is_deleted(site: Site) -> None:
    site.create()
    async with AsyncClient(site.world.address, timeout=30) as client:

        async def watch() -> None:
            async for event in client.watch_deployments(site.name):
                if event.kind == END:
                    await client.delete_environment(site.name)

        with pytest.raises(NotFoundError, match="it was deleted"):
            await watch()


def test_watch_of_everything_goes_on_when_an_environment_is_deleted(site: Site) -> None:
    site.create()
    other = f"{site.name}x"
    site.client.create_environment(
        other, type="testing", config_path=f"{site.target}x", sources=[site.source], auto_sync=False
    )
    with Watcher(Site(site.world, site.client, "", "", "")) as watcher:
        eventually(watcher.begun)
        site.client.delete_environment(other)
        mine = site.deploy()
        eventually(lambda: mine.deployment_id in watcher.ended())
        assert watcher.error is None
