"""The server as a whole: starting, clients of every kind, stopping."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from tests.api.conftest import Served, audit_in, open_descriptors, wait_until
from tests.api.memory import MemoryControl, deployment

from headgate.v1 import daemon_pb2, deployment_pb2, environment_pb2
from headgated.api.door import DoorLimits
from headgated.api.server import SERVICES, ApiServer
from headgated.api.terms import Terms
from headgated.core.errors import RefusedError, UnavailableError

STATUS = daemon_pb2.GetStatusRequest()
EVERYTHING = deployment_pb2.WatchDeploymentsRequest()


def made(short_dir: Path, **options: Any) -> ApiServer:
    wanted: dict[str, Any] = {
        "socket": short_dir / "headgate.sock",
        "runtime_dir": short_dir / "run",
        "audit": audit_in(short_dir),
        **options,
    }
    return ApiServer(MemoryControl(), **wanted)


def stub(kind: Any, served: Served) -> Any:
    return kind(served.channel)


async def answers(served: Served) -> bool:
    return bool((await served.daemon.GetStatus(STATUS, timeout=5)).version)


# Starting


async def test_server_listens_with_its_mode_and_hides_its_private_socket(served: Served) -> None:
    assert served.socket.lstat().st_mode & 0o777 == 0o660
    assert served.private.parent.stat().st_mode & 0o777 == 0o700
    assert await answers(served)


async def test_second_server_on_a_live_socket_is_refused_and_harms_nothing(
    short_dir: Path, served: Served
) -> None:
    """A2"""
    second = made(short_dir, runtime_dir=short_dir / "other")
    with pytest.raises(RefusedError, match="a program listens there already"):
        await second.start()
    await second.stop(1.0)
    assert os.listdir(short_dir / "other") == []
    async with served.connect() as fresh:
        await fresh.unary_unary("/headgate.v1.DaemonService/GetStatus")(b"", timeout=5)


async def test_server_takes_over_after_a_crash(short_dir: Path) -> None:
    for name in ("headgate.sock", "run/api.sock"):
        path = short_dir / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    server = made(short_dir)
    await server.start()
    served = Served(server, short_dir)
    assert await answers(served)
    await served.channel.close()
    await server.stop(1.0)


async def test_server_refuses_a_private_directory_that_others_may_enter(short_dir: Path) -> None:
    (short_dir / "run").mkdir(mode=0o755)
    with pytest.raises(RefusedError, match="others may enter") as refused:
        await made(short_dir).start()
    assert "chmod 0700" in refused.value.hint
    assert not (short_dir / "headgate.sock").exists()


async def test_server_without_a_usable_directory_says_so(short_dir: Path) -> None:
    (short_dir / "run").write_text("in the way")
    with pytest.raises(UnavailableError, match=r"cannot serve from .*/run: ") as refused:
        await made(short_dir).start()
    assert refused.value.reason == "DIRECTORY_NOT_USABLE"


async def test_server_whose_start_fails_leaves_nothing(short_dir: Path) -> None:
    (short_dir / "headgate.sock").write_text("in the way")
    server = made(short_dir)
    before = open_descriptors()
    for _ in range(3):
        with pytest.raises(RefusedError, match="not a socket"):
            await server.start()
    assert os.listdir(short_dir / "run") == []
    await server.stop(1.0)
    gc.collect()
    assert open_descriptors() <= before


async def test_server_serves_from_a_directory_with_a_very_long_name(short_dir: Path) -> None:
    deep = short_dir / ("d" * 100) / ("e" * 100)
    server = made(short_dir, runtime_dir=deep)
    await server.start()
    served = Served(server, short_dir)
    assert await answers(served)
    await served.channel.close()
    await server.stop(1.0)
    assert os.listdir(deep) == []


async def test_server_serves_at_a_socket_that_was_passed_and_leaves_its_name(short_dir: Path) -> None:
    path = short_dir / "headgate.sock"
    with socket.socket(socket.AF_UNIX) as ours:
        ours.bind(str(path))
        ours.listen()
        passed = os.dup(ours.fileno())
    server = made(short_dir, passed=passed)
    await server.start()
    served = Served(server, short_dir)
    assert await answers(served)
    await served.channel.close()
    await server.stop(1.0)
    assert path.exists()


# What comes with it


async def test_health_is_told_for_the_whole_and_for_each_service(served: Served) -> None:
    health = stub(HealthStub, served)
    for name in ("", *SERVICES):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    watching = health.Watch(health_pb2.HealthCheckRequest())
    assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
    await served.server.report(serving=False)
    assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await health.Check(health_pb2.HealthCheckRequest(service="nope"))
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


async def test_reflection_shows_every_service(served: Served) -> None:
    reflection = stub(ServerReflectionStub, served)

    async def ask() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        yield reflection_pb2.ServerReflectionRequest(file_containing_symbol="headgate.v1.DeploymentService")

    listed, described = [answer async for answer in reflection.ServerReflectionInfo(ask())]
    assert {service.name for service in listed.list_services_response.service} == {
        *SERVICES,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    assert described.file_descriptor_response.file_descriptor_proto


# Clients


async def test_two_hundred_clients_are_served_at_once(served: Served) -> None:
    channels = [served.connect() for _ in range(200)]
    method = "/headgate.v1.DaemonService/GetStatus"
    answers = await asyncio.gather(*(channel.unary_unary(method)(b"", timeout=20) for channel in channels))
    assert len(answers) == 200
    assert served.server.connections == 200
    await asyncio.gather(*(channel.close() for channel in channels))
    await wait_until(lambda: served.server.connections == 0)


GARBAGE = {
    "another protocol": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "noise": os.urandom(4096),
    "zeros": bytes(4096),
    "preface and noise": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + os.urandom(4096),
    "half a preface": b"PRI * HTTP/2.0\r\n",
    "half a frame": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x06\x04\x00\x00",
    "a frame without an end": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    b"\xff\xff\xff\x00",
    "nothing": b"",
}


async def test_clients_that_talk_nonsense_or_nothing_are_gone_in_seconds(served: Served) -> None:
    """At once, because gRPC gives each of them its time; others are served meanwhile."""

    async def talk(words: bytes) -> None:
        reader, writer = await asyncio.open_unix_connection(served.socket)
        writer.write(words)
        with contextlib.suppress(ConnectionError):
            while await asyncio.wait_for(reader.read(65536), 8):
                pass
        writer.close()

    talking = asyncio.gather(*(talk(words) for words in GARBAGE.values() for _ in range(12)))
    assert await answers(served)
    await talking
    await wait_until(lambda: served.server.connections == 1)
    assert await answers(served)


CHILD = """
import json, os, sys
import grpc
from headgate.v1 import deployment_pb2 as d, deployment_pb2_grpc as g
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
with grpc.insecure_channel("unix:" + sys.argv[1]) as channel:
    try:
        answer = g.DeploymentServiceStub(channel).Deploy(d.DeployRequest(environment="web"), timeout=10)
        print(json.dumps(["ok", answer.deployment.deployed_by, os.getpid()]))
    except grpc.RpcError as error:
        print(json.dumps([error.code().name, error.details(), os.getpid()]))
"""


async def deploy_as(uid: int, path: Path) -> list[Any]:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        CHILD,
        path,
        str(uid),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await child.communicate()
    assert out, err.decode()
    answer: list[Any] = json.loads(out)
    return answer


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users")
async def test_the_kernel_says_which_user_calls(served: Served) -> None:
    """Two users at once, one with a name and one without."""
    served.socket.chmod(0o666)
    named, nameless = await asyncio.gather(deploy_as(65534, served.socket), deploy_as(54321, served.socket))
    assert (named[0], nameless[0]) == ("ok", "ok")
    assert (named[1], nameless[1]) == ("nobody", "uid:54321")
    callers = {asked[2].uid: asked[2].pid for asked in served.control.asked if asked[0] == "deploy"}
    assert callers == {65534: named[2], 54321: nameless[2]}


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users")
async def test_user_outside_the_group_cannot_connect(served: Served) -> None:
    """A1"""
    for path in (served.socket, served.private):
        code, why, _ = await deploy_as(65534, path)
        assert code == "UNAVAILABLE"
        assert "Permission denied" in why


# Stopping


async def stopped(server: ApiServer, grace: float) -> float:
    started = time.monotonic()
    await server.stop(grace)
    return time.monotonic() - started


async def test_stop_ends_streams_at_once_and_says_why(served: Served) -> None:
    """A10"""
    streams = [served.deployments.WatchDeployments(EVERYTHING) for _ in range(10)]
    streams.append(served.environments.WatchEnvironments(environment_pb2.WatchEnvironmentsRequest()))
    streams.append(stub(HealthStub, served).Watch(health_pb2.HealthCheckRequest()))
    for stream in streams:
        await stream.read()
    assert await stopped(served.server, 20.0) < 3
    for stream in streams[:-1]:
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await stream.read()
        assert (ended.value.code(), ended.value.details()) == (
            grpc.StatusCode.UNAVAILABLE,
            "the daemon stops",
        )


async def test_stop_does_not_wait_for_a_watcher_that_does_not_read(short_dir: Path, served: Served) -> None:
    client = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import sys, time, grpc\n"
        "stream = grpc.insecure_channel('unix:' + sys.argv[1], [('grpc.http2.lookahead_bytes', 65535)])"
        ".unary_stream('/headgate.v1.DeploymentService/WatchDeployments')(b'')\n"
        "next(stream); print('watching', flush=True); time.sleep(60)",
        served.socket,
        stdout=asyncio.subprocess.PIPE,
    )
    assert client.stdout is not None
    assert await client.stdout.readline() == b"watching\n"
    for number in range(300):
        served.control.tell(deployment(number, reason="x" * 100_000))
    [subscription] = served.control.events._subscriptions
    await asyncio.sleep(0.2)
    assert len(subscription._queue) > 10  # It is behind: its handler waits for it to read.
    assert await stopped(served.server, 20.0) < 5
    client.kill()
    await client.wait()


async def test_stop_lets_a_call_end_that_has_begun(served: Served) -> None:
    served.control.open.clear()
    call = served.deployments.Deploy(deployment_pb2.DeployRequest(environment="web"))
    await wait_until(lambda: bool(served.control.asked))
    stopping = asyncio.create_task(stopped(served.server, 20.0))
    await wait_until(lambda: not served.socket.exists())
    assert not stopping.done()
    served.control.open.set()
    assert (await call).deployment.deployment_id
    assert await stopping < 5


async def test_stop_waits_no_longer_than_its_grace(served: Served) -> None:
    served.control.open.clear()
    call = served.deployments.Deploy(deployment_pb2.DeployRequest(environment="web"))
    await wait_until(lambda: bool(served.control.asked))
    assert await stopped(served.server, 0.3) < 3
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await call
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE


def at_most(count: Callable[[], int], most: int) -> bool:
    return count() <= most


async def test_stop_leaves_no_task_no_descriptor_and_no_file(short_dir: Path) -> None:
    for round_number in range(3):
        server = made(short_dir)
        tasks, before = len(asyncio.all_tasks()), open_descriptors()
        await server.start()
        served = Served(server, short_dir)
        stream = served.deployments.WatchDeployments(EVERYTHING)
        await stream.read()
        assert await answers(served)
        await server.stop(5.0)
        await served.channel.close()
        assert not served.socket.exists()
        assert not served.private.exists()
        await server.stop(5.0)
        await wait_until(partial(at_most, lambda: len(asyncio.all_tasks()), tasks))
        if round_number:  # gRPC keeps some of the first round's for good.
            await wait_until(partial(at_most, open_descriptors, before))


async def test_stop_with_a_client_that_never_leaves_ends_all_the_same(served: Served) -> None:
    reader, writer = await asyncio.open_unix_connection(served.socket)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
    assert await reader.read(9)
    assert await stopped(served.server, 1.0) < 4
    writer.close()


async def test_server_with_small_limits_turns_clients_away_and_recovers(short_dir: Path) -> None:
    server = made(short_dir, terms=Terms(door=DoorLimits(connections=10, per_user=3, reserved=0)))
    await server.start()
    served = Served(server, short_dir)
    kept = [await asyncio.open_unix_connection(served.socket) for _ in range(3)]
    await wait_until(lambda: server.connections == 3)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.daemon.GetStatus(STATUS, timeout=5)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    for _, writer in kept:
        writer.close()
    assert (await served.daemon.GetStatus(STATUS, timeout=10, wait_for_ready=True)).version
    await served.channel.close()
    await server.stop(1.0)
