"""Streams, over the real socket."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import grpc
import pytest
from tests.api.conftest import Served, wait_until
from tests.api.memory import FILE, deployment, environment

from headgate.v1 import deployment_pb2, environment_pb2 as wire
from headgated.api.calls import CallLimits
from headgated.api.terms import Terms
from headgated.core.deployment import Changes, DeploymentStatus, FileChange
from headgated.core.orders import Caller
from headgated.engine.events import QUEUE

SNAPSHOT = wire.WATCH_EVENT_KIND_SNAPSHOT
SNAPSHOT_END = wire.WATCH_EVENT_KIND_SNAPSHOT_END
UPDATED = wire.WATCH_EVENT_KIND_UPDATED
DELETED = wire.WATCH_EVENT_KIND_DELETED


async def take(stream: Any, count: int) -> list[Any]:
    return [await asyncio.wait_for(stream.read(), 5) for _ in range(count)]


async def rest(stream: Any) -> list[Any]:
    messages = []
    while (message := await asyncio.wait_for(stream.read(), 5)) is not grpc.aio.EOF:
        messages.append(message)
    return messages


async def settled(served: Served) -> None:
    """Let the hub deliver what was published."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def environments(messages: Any) -> list[tuple[int, str]]:
    return [(message.kind, message.environment.name) for message in messages]


def deployments(messages: Any) -> list[tuple[int, str]]:
    return [(message.kind, message.deployment.deployment_id) for message in messages]


def watchers(served: Served) -> int:
    return len(served.control.events._subscriptions)


async def test_environments_come_first_then_their_changes(served: Served) -> None:
    served.control.put(environment("b"))
    served.control.put(environment("a"))
    await settled(served)
    stream = served.environments.WatchEnvironments(wire.WatchEnvironmentsRequest())
    first = await take(stream, 3)
    assert environments(first) == [(SNAPSHOT, "a"), (SNAPSHOT, "b"), (SNAPSHOT_END, "")]
    served.control.put(environment("c"))
    await served.control.delete_environment("a", Caller("alice"))
    changes = await take(stream, 2)
    assert environments(changes) == [(UPDATED, "c"), (DELETED, "a")]
    assert not changes[1].environment.config_path
    assert [m.revision - first[0].revision for m in (*first, *changes)] == [0, 0, 0, 1, 2]
    stream.cancel()
    await wait_until(lambda: watchers(served) == 0)


async def test_one_environment_is_watched_alone(served: Served) -> None:
    served.control.put(environment("a"))
    served.control.put(environment("b"))
    stream = served.environments.WatchEnvironments(wire.WatchEnvironmentsRequest(name="b"))
    assert environments(await take(stream, 2)) == [(SNAPSHOT, "b"), (SNAPSHOT_END, "")]
    served.control.put(environment("a"))
    served.control.put(environment("b"))
    assert environments(await take(stream, 1)) == [(UPDATED, "b")]


async def test_watching_what_is_not_there_is_not_found(served: Served) -> None:
    for stream in (
        served.environments.WatchEnvironments(wire.WatchEnvironmentsRequest(name="nope")),
        served.deployments.WatchDeployments(deployment_pb2.WatchDeploymentsRequest(deployment_id="nope")),
        served.deployments.WatchDeployments(deployment_pb2.WatchDeploymentsRequest(environment="nope")),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await rest(stream)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert watchers(served) == 0


def watched(served: Served, what: str, **asked: Any) -> Any:
    """A stream about the environment `web`, of deployments or of the environment itself."""
    if what == "deployments":
        return served.deployments.WatchDeployments(
            deployment_pb2.WatchDeploymentsRequest(environment="web", **asked)
        )
    return served.environments.WatchEnvironments(wire.WatchEnvironmentsRequest(name="web", **asked))


async def ended(stream: Any) -> tuple[list[int], grpc.aio.AioRpcError]:
    """Read a stream to its end: the kinds of what it still tells, and how it ends."""
    kinds: list[int] = []

    async def read() -> None:
        while (message := await asyncio.wait_for(stream.read(), 5)) is not grpc.aio.EOF:
            kinds.append(message.kind)

    with pytest.raises(grpc.aio.AioRpcError) as end:
        await read()
    return kinds, end.value


@pytest.mark.parametrize(("what", "told"), [("deployments", [UPDATED]), ("environments", [UPDATED, DELETED])])
async def test_stream_about_an_environment_ends_when_that_is_deleted(
    served: Served, what: str, told: list[int]
) -> None:
    served.control.put(environment("web"))
    served.control.put(environment("api"))
    stream = watched(served, what)
    while (await take(stream, 1))[0].kind != SNAPSHOT_END:
        pass
    await served.control.delete_environment("api", Caller("alice"))
    served.control.put(environment("web"))
    served.control.tell(deployment(7, "web"))
    await served.control.delete_environment("web", Caller("alice"))
    kinds, end = await ended(stream)
    assert kinds == told, "all that came before it"
    assert end.code() is grpc.StatusCode.NOT_FOUND
    assert end.details() == "cannot go on watching web: it was deleted"
    await wait_until(lambda: watchers(served) == 0)


@pytest.mark.parametrize(("what", "told"), [("deployments", [UPDATED]), ("environments", [DELETED])])
async def test_stream_that_continues_hears_that_its_environment_was_deleted_meanwhile(
    served: Served, what: str, told: list[int]
) -> None:
    served.control.put(environment("web"))
    await settled(served)
    before = served.control.events.revision
    served.control.tell(deployment(7, "web"))
    await served.control.delete_environment("web", Caller("alice"))
    await settled(served)
    kinds, end = await ended(watched(served, what, from_revision=before))
    assert kinds == told
    assert end.details() == "cannot go on watching web: it was deleted"
    kinds, end = await ended(watched(served, what, from_revision=served.control.events.revision))
    assert (kinds, end.code()) == ([], grpc.StatusCode.NOT_FOUND), "its end lies before that revision"
    assert watchers(served) == 0


async def test_streams_of_all_environments_go_on_when_one_is_deleted(served: Served) -> None:
    served.control.put(environment("web"))
    await settled(served)
    stream = served.deployments.WatchDeployments(deployment_pb2.WatchDeploymentsRequest())
    await take(stream, 1)
    await served.control.delete_environment("web", Caller("alice"))
    served.control.tell(deployment(8, "api"))
    assert deployments(await take(stream, 1)) == [(UPDATED, "deploy_api_8")]


async def test_newest_deployments_come_first_the_newest_last(served: Served) -> None:
    for number in range(1, 61):
        served.control.tell(deployment(number, "web" if number % 2 else "api"))
    stream = served.deployments.WatchDeployments(deployment_pb2.WatchDeploymentsRequest())
    messages = await take(stream, 51)
    assert [message.deployment.sequence for message in messages] == [*range(11, 61), 0]
    assert messages[-1].kind == SNAPSHOT_END


async def test_deployments_of_one_environment_are_watched_alone(served: Served) -> None:
    served.control.put(environment("api"))
    served.control.tell(deployment(1, "web"))
    served.control.tell(deployment(2, "api"))
    stream = served.deployments.WatchDeployments(deployment_pb2.WatchDeploymentsRequest(environment="api"))
    assert deployments(await take(stream, 2)) == [(SNAPSHOT, "deploy_api_2"), (SNAPSHOT_END, "")]
    served.control.tell(deployment(3, "web"))
    served.control.tell(deployment(4, "api"))
    assert deployments(await take(stream, 1)) == [(UPDATED, "deploy_api_4")]


async def test_stream_of_one_deployment_ends_when_it_is_finished(
    served: Served,
) -> None:
    changes = Changes(added=(FileChange("a", None, FILE),), added_count=1)
    one = served.control.tell(deployment(1, changes=changes))
    served.control.tell(deployment(2))
    request = deployment_pb2.WatchDeploymentsRequest(deployment_id=one.deployment_id)
    stream = served.deployments.WatchDeployments(request)
    assert deployments(await take(stream, 2)) == [(SNAPSHOT, one.deployment_id), (SNAPSHOT_END, "")]
    running = served.control.tell(replace(one, status=DeploymentStatus.IN_PROGRESS))
    served.control.tell(deployment(2, status=DeploymentStatus.SUCCESS))
    served.control.tell(replace(running, status=DeploymentStatus.SUCCESS))
    last = await rest(stream)
    assert [message.deployment.status for message in last] == [
        deployment_pb2.DEPLOYMENT_STATUS_IN_PROGRESS,
        deployment_pb2.DEPLOYMENT_STATUS_SUCCESS,
    ]
    assert [len(message.deployment.changes.added) for message in last] == [
        0,
        0,
    ]  # Counts tell; the rest is read.
    assert [message.deployment.changes.added_count for message in last] == [1, 1]


async def test_stream_of_a_finished_deployment_ends_at_once(served: Served) -> None:
    one = served.control.tell(deployment(1, status=DeploymentStatus.FAILED))
    request = deployment_pb2.WatchDeploymentsRequest(deployment_id=one.deployment_id)
    first = await rest(served.deployments.WatchDeployments(request))
    assert deployments(first) == [(SNAPSHOT, one.deployment_id), (SNAPSHOT_END, "")]
    request.from_revision = first[-1].revision  # Its end lies before: no event will ever tell of it.
    again = await rest(served.deployments.WatchDeployments(request))
    assert deployments(again) == [(UPDATED, one.deployment_id)]


async def test_watcher_that_comes_back_misses_nothing_and_gets_nothing_twice(served: Served) -> None:
    served.control.tell(deployment(1))
    stream = served.deployments.WatchDeployments(deployment_pb2.WatchDeploymentsRequest())
    seen = (await take(stream, 2))[-1].revision
    stream.cancel()
    for number in (2, 3, 4):
        served.control.tell(deployment(number))
    await settled(served)
    again = served.deployments.WatchDeployments(deployment_pb2.WatchDeploymentsRequest(from_revision=seen))
    missed = await take(again, 3)
    assert [message.deployment.sequence for message in missed] == [2, 3, 4]
    assert {message.kind for message in missed} == {UPDATED}
    served.control.tell(deployment(5))
    assert [message.deployment.sequence for message in await take(again, 1)] == [5]


@pytest.mark.parametrize("from_revision", [1, 2**64 - 1])
async def test_watcher_with_a_revision_that_is_not_remembered_is_told_so(
    served: Served, from_revision: int
) -> None:
    request = deployment_pb2.WatchDeploymentsRequest(from_revision=from_revision)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await rest(served.deployments.WatchDeployments(request))
    assert refused.value.code() is grpc.StatusCode.ABORTED


async def test_watcher_that_falls_behind_is_told_so_and_costs_others_nothing(served: Served) -> None:
    async with served.connect() as other:
        slow = other.unary_stream(
            "/headgate.v1.DeploymentService/WatchDeployments",
            response_deserializer=deployment_pb2.WatchDeploymentsResponse.FromString,
        )(b"")
        quick = served.deployments.WatchDeployments(deployment_pb2.WatchDeploymentsRequest())
        assert [message.kind for message in (await slow.read(), await quick.read())] == [
            SNAPSHOT_END,
            SNAPSHOT_END,
        ]
        # Nobody reads `slow`; gRPC and the sockets hold some megabytes for it, then its queue fills.
        for sequence in range(3 * QUEUE):
            served.control.tell(deployment(1, reason="x" * 100_000, sequence=sequence))
            message = await asyncio.wait_for(quick.read(), 5)
            assert message.deployment.sequence == sequence
            if any(subscription._end for subscription in served.control.events._subscriptions):
                break
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await rest(slow)
        assert refused.value.code() is grpc.StatusCode.ABORTED
        assert "fell behind" in str(refused.value.details())
        quick.cancel()
    await wait_until(lambda: watchers(served) == 0)


async def test_change_while_the_beginning_is_read_is_not_lost(served: Served) -> None:
    one = served.control.tell(deployment(1))
    await settled(served)
    served.control.open.clear()
    stream = served.deployments.WatchDeployments(deployment_pb2.WatchDeploymentsRequest())
    await wait_until(lambda: len(served.control.asked) == 1)
    served.control.tell(replace(one, status=DeploymentStatus.IN_PROGRESS))  # Too late for the beginning.
    await settled(served)
    served.control.open.set()
    assert [(message.kind, message.deployment.status) for message in await take(stream, 3)] == [
        (SNAPSHOT, deployment_pb2.DEPLOYMENT_STATUS_PENDING),
        (SNAPSHOT_END, deployment_pb2.DEPLOYMENT_STATUS_UNSPECIFIED),
        (UPDATED, deployment_pb2.DEPLOYMENT_STATUS_IN_PROGRESS),
    ]


async def test_watchers_leave_room_for_other_calls(served: Served) -> None:
    served.server.go_by(Terms(calls=CallLimits(streams_per_user=100)))
    streams = [
        served.deployments.WatchDeployments(deployment_pb2.WatchDeploymentsRequest()) for _ in range(100)
    ]
    for stream in streams:
        await take(stream, 1)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await rest(served.environments.WatchEnvironments(wire.WatchEnvironmentsRequest()))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await served.environments.ListEnvironments(wire.ListEnvironmentsRequest(), timeout=5)
    streams[0].cancel()
    await wait_until(lambda: watchers(served) == 99)
    stream = served.environments.WatchEnvironments(wire.WatchEnvironmentsRequest())
    assert (await take(stream, 1))[0].kind == SNAPSHOT_END
