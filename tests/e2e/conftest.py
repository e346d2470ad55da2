"""Fixtures: a running daemon, and an environment with one source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.e2e.harness import Daemon, running

from headgate import Client


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """A daemon of its own."""
    with running() as daemon:
        yield daemon


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    """A client of that daemon."""
    with daemon.client() as client:
        yield client


@dataclass
class Site:
    """An environment `web` (development, auto-sync on) with one source."""

    daemon: Daemon
    client: Client
    source: Path
    target: Path


@pytest.fixture
def site(daemon: Daemon, client: Client) -> Site:
    """An environment with one source that holds one file, not deployed yet."""
    source, target = daemon.home / "source", daemon.home / "target"
    source.mkdir()
    (source / "app.conf").write_text("one\n")
    client.create_environment("web", type="development", config_path=str(target), sources=[str(source)])
    return Site(daemon, client, source, target)
