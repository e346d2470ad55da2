"""The composition root: the only place that builds the daemon's parts, starts them in order and ends them in reverse.

Start: lock and recovery (nothing is served before), watching, workers, API, READY. Stop: streams and calls end, workers finish what
they do, watching ends, the lock goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import logging
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from headgated.api.server import ApiServer
from headgated.core.config import Settings
from headgated.core.deployment import ConfigDeployment
from headgated.core.errors import HeadgateError
from headgated.core.orders import Caller
from headgated.effects.systemd import notify
from headgated.effects.watch import Watcher
from headgated.engine.control import Control
from headgated.engine.deployer import ConfigurationDeployer
from headgated.engine.events import EventHub
from headgated.engine.fleet import Fleet
from headgated.engine.inspection import Inspection
from headgated.engine.overview import gone, view
from headgated.engine.syncing import Syncing

log = logging.getLogger("headgated")

LONGEST_RUNTIME_DIR = 90
"""Characters; with the name of a socket it must stay below the kernel's 107 (unix(7))."""
STOP_GRACE = 5.0
"""Seconds that calls under way have to end at stop."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the daemon keeps its state and listens."""

    state: Path
    socket: Path
    socket_group: str | None = None
    """None: the daemon's own group."""


class App:
    """The daemon; it serves inside `async with`."""

    def __init__(self, settings: Settings, places: Places, version: str) -> None:
        self._settings, self._places, self._version = settings, places, version
        self._stack = contextlib.AsyncExitStack()
        self._loop: asyncio.AbstractEventLoop
        self._events = EventHub()
        self._deployer: ConfigurationDeployer | None = None
        self._fleet: Fleet | None = None
        self.control: Control

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        notify("STOPPING=1", "STATUS=stopping")
        await self._stack.aclose()

    async def reload(self) -> None:
        """Scan every source, as SIGHUP asks for."""
        notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            await self.control.reload(Caller("SIGHUP"))
        except HeadgateError as error:
            log.error("cannot reload: %s", error.message)  # noqa: TRY400 - the message says it all
        finally:
            notify("READY=1")

    async def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events.bind(self._loop)
        watcher = Watcher(self._source_changed, scan_interval=self._settings.watch.scan_interval)
        self._stack.callback(watcher.close)
        notify("STATUS=recovering")
        deployer = await asyncio.to_thread(self._open, watcher)
        self._deployer = deployer
        self._stack.callback(deployer.close)
        syncing = Syncing(
            deployer.environments,
            deployer.planning,
            deployer.jobs,
            deployer.ledger,
            self._environment_changed,
        )
        fleet = Fleet(deployer, watcher, syncing)
        inspection = Inspection(deployer, watcher, self._version)
        self.control = Control(deployer, fleet, syncing, inspection, self._events)
        server = ApiServer(
            self.control,
            socket=self._places.socket,
            runtime_dir=self._runtime_dir(),
            socket_group=_existing(self._places.socket_group),
        )
        self._stack.push_async_callback(fleet.stop)
        fleet.start()
        self._fleet = fleet
        await server.start()
        self._stack.push_async_callback(server.stop, STOP_GRACE)
        count = len(deployer.list_environments())
        log.info("headgated %s serves %d environment(s) at %s", self._version, count, self._places.socket)
        notify("READY=1", f"STATUS=serving {count} environment(s)")

    def _runtime_dir(self) -> Path:
        """Return a directory of ours alone for the private socket: the state directory, unless its path is too long for one."""
        if len(str(self._places.state)) <= LONGEST_RUNTIME_DIR:
            return self._places.state
        return Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-")))

    def _open(self, watcher: Watcher) -> ConfigurationDeployer:
        return ConfigurationDeployer(
            self._places.state,
            settings=self._settings,
            on_deployment=self._deployment_changed,
            on_environment=self._environment_changed,
            watch=watcher.add,
            unwatch=watcher.remove,
        )

    def _source_changed(self, root: str, paths: frozenset[bytes] | None) -> None:
        """Note what is dirty, then ring the loop. Called from watcher threads."""
        deployer, fleet = self._deployer, self._fleet
        source = deployer.sources.get(root) if deployer is not None else None
        if source is not None:
            source.mark(paths)
        if fleet is not None:
            with contextlib.suppress(RuntimeError):  # The loop is closed: the daemon stops.
                self._loop.call_soon_threadsafe(fleet.changed, root)

    def _deployment_changed(self, record: ConfigDeployment) -> None:
        self._events.publish("deployments", "updated", record)

    def _environment_changed(self, name: str) -> None:
        if self._deployer is None:
            return
        try:
            environment = self._deployer.get_environment_config(name)
            self._events.publish("environments", "updated", view(environment, self._deployer.runtime(name)))
        except HeadgateError:
            self._events.publish("environments", "deleted", gone(name))


def _existing(group: str | None) -> str | None:
    """Return the group that may talk to the daemon; the daemon's own where there is none of that name."""
    if group is None:
        return None
    try:
        grp.getgrnam(group)
    except KeyError:
        log.warning("there is no group %s: only the daemon's own user and group may talk to it", group)
        return None
    return group


async def serve(app: App, ready: Callable[[App], Awaitable[None]] | None = None) -> None:
    """Run the daemon until SIGTERM or SIGINT.

    Args:
        ready: called when the daemon serves.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with app:
        loop.add_signal_handler(signal.SIGHUP, lambda: asyncio.ensure_future(app.reload()))
        if ready is not None:
            await ready(app)
        await stop.wait()
        log.info("stopping")
