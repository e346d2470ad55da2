"""What tests of the API share: short directories, waiting for a condition, a server over a control in memory."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from tests.api.memory import MemoryControl

from headgate.v1.daemon_pb2_grpc import DaemonServiceStub
from headgate.v1.deployment_pb2_grpc import DeploymentServiceStub
from headgate.v1.environment_pb2_grpc import EnvironmentServiceStub
from headgated.api.door import DoorLimits
from headgated.api.server import ApiServer
from headgated.api.terms import Terms
from headgated.core.roles import Grant, Roles
from headgated.effects.accounts import roles_of
from headgated.effects.audit_log import AuditLog


async def wait_until(holds: Callable[[], bool], *, within: float = 5.0) -> None:
    """Wait for a condition; fail after `within` seconds."""
    deadline = asyncio.get_running_loop().time() + within
    while not holds():
        assert asyncio.get_running_loop().time() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.005)


def open_descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory whose path leaves room for a socket's name, and which other users may enter."""
    directory = Path(tempfile.mkdtemp(prefix="hg-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def granted(*grants: Grant) -> Roles:
    """Return roles by which these grants hold; this process may do everything."""
    return roles_of(grants)[0]


def audit_in(directory: Path) -> AuditLog:
    """Return an audit log that begins in `directory`."""
    (directory / "state").mkdir(exist_ok=True)
    return AuditLog(directory / "state")


class Served:
    """A running server, its control, and stubs that talk to it through the door."""

    def __init__(self, server: ApiServer, directory: Path) -> None:
        control, self.audit = server._control, server._audit_log
        assert isinstance(control, MemoryControl)
        self.control, self.server = control, server
        self.socket, self.private = directory / "headgate.sock", directory / "run" / "api.sock"
        self.channel = self.connect()
        self.environments: Any = EnvironmentServiceStub(self.channel)
        self.deployments: Any = DeploymentServiceStub(self.channel)
        self.daemon: Any = DaemonServiceStub(self.channel)

    def connect(self, path: Path | None = None, *options: tuple[str, int]) -> Any:
        """Return a channel with a connection of its own."""
        settings = [("grpc.use_local_subchannel_pool", 1), *options]
        return grpc.aio.insecure_channel(f"unix:{path or self.socket}", options=settings)


@pytest.fixture
async def served(short_dir: Path) -> AsyncIterator[Served]:
    """A server with room for 300 clients of one user."""
    server = ApiServer(
        MemoryControl(),
        socket=short_dir / "headgate.sock",
        runtime_dir=short_dir / "run",
        audit=audit_in(short_dir),
        terms=Terms(
            granted(Grant(role="deployer", users=("65534", "54321"))),
            DoorLimits(connections=400, per_user=300, first_bytes=1.0),
        ),
    )
    await server.start()
    served = Served(server, short_dir)
    yield served
    served.control.open.set()
    await served.channel.close()
    await server.stop(1.0)
    served.audit.close()
