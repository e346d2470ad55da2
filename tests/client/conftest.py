"""A fake daemon on a real socket, and a client of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.client.bridged import Bridged
from tests.client.fake_daemon import FakeDaemon

from headgate.client import Client


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose name leaves room for the path of a socket."""
    with tempfile.TemporaryDirectory(prefix="hg-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def socket_path(short_path: Path) -> Path:
    return short_path / "headgate.sock"


@pytest.fixture
def daemon(socket_path: Path) -> Iterator[FakeDaemon]:
    fake = FakeDaemon(socket_path)
    fake.start()
    yield fake
    fake.stop()


@pytest.fixture(params=[Client, Bridged], ids=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Any:
    """What makes a client: either of the two."""
    return request.param


@pytest.fixture
def client(daemon: FakeDaemon, connect: Any) -> Iterator[Client]:
    with connect(str(daemon.socket), timeout=5) as made:
        yield made


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)
