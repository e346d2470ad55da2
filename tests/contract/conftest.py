"""What a daemon promises its clients, tried on both: the real one, as a process of its own, and the fake that is shipped.

A test here knows neither: it has a client, and a world in which it writes to sources and edits targets.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from tests.e2e.harness import Daemon, eventually, running

from headgate import Client
from headgate.testing import FakeDaemon
from headgate.v1 import deployment_pb2 as dp, environment_pb2 as ep

_numbers = itertools.count(1)


class World(Protocol):
    """Where a daemon works."""

    @property
    def address(self) -> str: ...
    def source(self, name: str) -> str: ...
    def target(self, name: str) -> str: ...
    def write(self, source: str, path: str, text: str) -> None: ...
    def remove(self, source: str, path: str) -> None: ...
    def edit(self, target: str, path: str, text: str | None) -> None: ...
    def files(self, target: str) -> dict[str, bytes]: ...
    def restart(self) -> None: ...


class RealWorld:
    """Directories, and the daemon as a process."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.address = f"unix:{daemon.socket}"

    def source(self, name: str) -> str:
        path = self._daemon.home / "sources" / name
        path.mkdir(parents=True)
        return str(path)

    def target(self, name: str) -> str:
        return str(self._daemon.home / "targets" / name)

    def write(self, source: str, path: str, text: str) -> None:
        Path(source, path).write_text(text)

    def remove(self, source: str, path: str) -> None:
        Path(source, path).unlink()

    def edit(self, target: str, path: str, text: str | None) -> None:
        if text is None:
            Path(target, path).unlink()
        else:
            Path(target, path).write_text(text)

    def files(self, target: str) -> dict[str, bytes]:
        found = {}
        for path in Path(target).rglob("*") if Path(target).is_dir() else ():
            if path.is_file() and not path.name.startswith("."):
                found[str(path.relative_to(target))] = path.read_bytes()
        return found

    def restart(self) -> None:
        assert self._daemon.stop() == 0
        self._daemon.start()


class FakeWorld(FakeDaemon):
    """The fake, whose directories are but names."""

    def source(self, name: str) -> str:
        self.environments.sources[f"/sources/{name}"] = {}
        return f"/sources/{name}"

    def target(self, name: str) -> str:
        return f"/targets/{name}"


@pytest.fixture(scope="session", params=["daemon", "fake"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "daemon":
        with running() as daemon:
            (daemon.home / "targets").mkdir()
            yield RealWorld(daemon)
    else:
        with FakeWorld() as fake:
            yield fake


@pytest.fixture
def client(world: World) -> Iterator[Client]:
    with Client(world.address, timeout=30) as made:
        yield made


@dataclass
class Site:
    """An environment of its own for each test: staging, not synced by itself, with a source that has one file."""

    world: World
    client: Client
    name: str
    source: str
    target: str

    def create(self, **more: Any) -> ep.Environment:
        settings = {
            "type": "staging",
            "config_path": self.target,
            "sources": [self.source],
            "auto_sync": False,
        }
        return self.client.create_environment(self.name, **{**settings, **more})

    def write(self, path: str, text: str) -> None:
        self.world.write(self.source, path, text)

    def deploy(self, *files: str, **order: Any) -> dp.ConfigDeployment:
        return self.finish(self.client.deploy(self.name, files, **order))

    def finish(self, asked: dp.ConfigDeployment) -> dp.ConfigDeployment:
        return self.client.wait_for_deployment(asked.deployment_id, 30)

    def files(self) -> dict[str, bytes]:
        return self.world.files(self.target)

    def follows(self, **files: str) -> None:
        wanted = {f"{name}.conf": text.encode() for name, text in files.items()}
        eventually(lambda: self.files() == wanted, what=f"{wanted}")

    def state(self) -> int:
        return self.client.get_environment(self.name).sync.state


@pytest.fixture
def site(world: World, client: Client) -> Site:
    name = f"e{next(_numbers)}"
    made = Site(world, client, name, world.source(name), world.target(name))
    made.write("app.conf", "one\n")
    return made
