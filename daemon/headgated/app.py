"""The composition root: the only place that builds the daemon's parts, starts them in order and ends them in reverse.

Start: lock and recovery (nothing is served before), watching, workers, API, READY. Stop: streams and calls end, workers finish what
they do, watching ends, the lock goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import grp
import logging
import os
import signal
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from headgated.api.auditing import Auditor
from headgated.api.calls import CallLimits
from headgated.api.certificates import CertificateFiles, load
from headgated.api.door import DoorLimits
from headgated.api.probing import ask_health
from headgated.api.server import ApiServer, Network
from headgated.api.terms import Terms
from headgated.core.config import ApiSettings, Settings, TcpSettings
from headgated.core.deployment import ConfigDeployment
from headgated.core.environment import EnvironmentType
from headgated.core.errors import HeadgateError, NotFoundError, RefusedError
from headgated.core.orders import Caller
from headgated.core.roles import DEFAULT_GRANTS, Roles
from headgated.effects.accounts import roles_of
from headgated.effects.audit_log import AuditLog
from headgated.effects.memory import give_back
from headgated.effects.systemd import notify, take_passed, watchdog_seconds
from headgated.effects.watch import Watcher
from headgated.engine.configuration import Configuration
from headgated.engine.control import Control
from headgated.engine.deployer import ConfigurationDeployer
from headgated.engine.events import EventHub
from headgated.engine.fleet import Fleet
from headgated.engine.heartbeat import Heartbeat
from headgated.engine.inspection import Inspection
from headgated.engine.overview import gone, view
from headgated.engine.syncing import Syncing
from headgated.engine.targets import Watching
from headgated.engine.tidying import Tidying
from headgated.engine.views import Problem
from headgated.engine.vigil import Vigil

log = logging.getLogger("headgated")

LONGEST_RUNTIME_DIR = 90
"""Characters; with the name of a socket it must stay below the kernel's 107 (unix(7))."""
EXIT_HANGING = 75
"""Exit code where work could not be ended (EX_TEMPFAIL of sysexits.h)."""
MORE_TIME = 15.0
"""Seconds between two requests to systemd for more time to start."""
TARGET_LINGER = 0.05
"""Seconds after which edits at a target are noticed; our own deployments make most of the events there."""
COLLECT_AFTER = 10_000
"""Objects that may come to stay before the collector looks for cycles among them."""
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

    def __init__(
        self,
        settings: Settings,
        places: Places,
        version: str,
        read_again: Callable[[], Settings] | None = None,
    ) -> None:
        """Prepare to serve.

        Args:
            settings: what holds at first.
            places: where state and socket are.
            version: the daemon's own.
            read_again: reads the settings once more, for a reload; None: they stay as they are.
        """
        self._settings, self._places, self._version = settings, places, version
        self._read_again = read_again or (lambda: settings)
        self._stack = contextlib.AsyncExitStack()
        self._loop: asyncio.AbstractEventLoop
        self._events = EventHub()
        self._deployer: ConfigurationDeployer | None = None
        self._fleet: Fleet | None = None
        self._heartbeat: Heartbeat | None = None
        period = watchdog_seconds()
        self._vigil = Vigil() if period is None else Vigil(period)
        self._watching: Watching
        self._types: dict[str, EnvironmentType] = {}
        """Of every environment there is or was; one that is gone is told of to those who might see it."""
        self.control: Control
        self._auditor: Auditor

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
        """Read the configuration again and scan every source, as SIGHUP asks for."""
        notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            caller = Caller("SIGHUP")
            await self._auditor.carry_out(caller, "Reload", None, self.control.reload(caller))
        except HeadgateError as error:
            log.error("cannot reload: %s", error.message)  # noqa: TRY400 - the message says it all
        finally:
            notify("READY=1")

    async def _start(self) -> None:
        passed = _only(take_passed())
        self._loop = asyncio.get_running_loop()
        self._events.bind(self._loop, self._touch)
        watcher = Watcher(self._changed, scan_interval=self._settings.watch.scan_interval)
        self._stack.callback(watcher.close)
        self._watching = Watching(
            watcher.add,
            watcher.remove,
            lambda root: watcher.add(root, linger=TARGET_LINGER, may_be_absent=True),
        )
        notify("STATUS=recovering")
        async with self._more_time():
            deployer = await asyncio.to_thread(self._vigil.watched(self._open, "recovery"))
        self._deployer = deployer
        deployer.prober.ask_grpc = ask_health
        self._stack.callback(deployer.close)
        for root in deployer.sources.all():
            self._source_changed(root, None)  # What was told while there was nobody to note it.
        syncing = Syncing(
            deployer.environments,
            deployer.planning,
            deployer.deploying,
            deployer.ledger,
            self._environment_changed,
        )
        fleet = Fleet(deployer, watcher, syncing, self._environment_changed, self._vigil)
        inspection = Inspection(deployer, watcher, self._version)
        configuration = Configuration(self._settings, self._read_again, deployer.problems)
        self.control = Control(deployer, fleet, syncing, inspection, self._events, configuration)
        audit = await asyncio.to_thread(self._open_audit, deployer.problems)
        self._stack.callback(audit.close)
        roles, doubts = await asyncio.to_thread(roles_of, self._settings.grants)
        server = ApiServer(
            self.control,
            socket=self._places.socket,
            runtime_dir=self._runtime_dir(),
            socket_group=_existing(self._places.socket_group) if passed is None else None,
            socket_mode=self._settings.daemon.socket_mode,
            passed=passed,
            audit=audit,
            network=_network(self._settings.tcp),
            terms=_terms(roles, self._settings.api),
        )
        self._auditor = server.auditor
        self._stack.push_async_callback(_end_work, fleet)
        self._stack.callback(deployer.sources.end)
        await server.start()
        self._stack.push_async_callback(server.stop, STOP_GRACE)
        fleet.start()  # Last, and nobody has been let in yet: first looks at large sources must not hold up the answers.
        self._fleet = fleet
        tidying = Tidying(
            deployer.housekeeping, fleet.run, self._settings.retention.interval, deployer.problems
        )
        self._stack.push_async_callback(tidying.stop)
        tidying.start()
        configuration.follow(partial(_prepare, deployer, fleet, watcher, tidying))
        doubtful = Doubts(deployer.problems, self._settings.grants != DEFAULT_GRANTS)
        doubtful.tell(doubts)
        configuration.follow(partial(_prepare_api, server, doubtful, audit))
        count = len(deployer.list_environments())
        log.info("headgated %s serves %d environment(s) at %s", self._version, count, server.address)
        heartbeat = Heartbeat(fleet, inspection.environments, watchdog_seconds())
        _spare_collections()
        notify("READY=1", f"STATUS={heartbeat.status()}")
        self._stack.push_async_callback(heartbeat.stop)
        heartbeat.start()
        self._heartbeat = heartbeat
        stopping = threading.Event()
        self._stack.callback(stopping.set)
        checking = asyncio.create_task(fleet.run(deployer.check_records, stopping.is_set))
        checking.add_done_callback(_log_failure)

    def _runtime_dir(self) -> Path:
        """Return a directory of ours alone for the private socket: the state directory, unless its path is too long for one."""
        if len(str(self._places.state)) <= LONGEST_RUNTIME_DIR:
            return self._places.state
        return Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-")))

    @contextlib.asynccontextmanager
    async def _more_time(self) -> AsyncIterator[None]:
        """Ask systemd for more time until the block ends, as long as what is done there gets on: recovery takes what it takes."""

        async def ask() -> None:
            asked = f"EXTEND_TIMEOUT_USEC={int(2 * MORE_TIME * 1_000_000)}"
            while notify(asked) and not self._vigil.look():  # noqa: ASYNC110 - a rhythm, not a condition
                await asyncio.sleep(MORE_TIME)

        asking = asyncio.create_task(ask())
        try:
            yield
        finally:
            asking.cancel()
            await asyncio.wait((asking,))

    def _open(self) -> ConfigurationDeployer:
        deployer = ConfigurationDeployer(
            self._places.state,
            settings=self._settings,
            on_deployment=self._deployment_changed,
            on_environment=self._environment_changed,
            watch=self._watching.add,
            unwatch=self._watching.remove,
        )
        for environment in deployer.list_environments():
            self._types[environment.name] = environment.type
            self._watching.follow(environment.name, environment.config_path)
        return deployer

    def _open_audit(self, problems: list[Problem]) -> AuditLog:
        rules = self._settings.audit
        audit = AuditLog(self._places.state, max_size=rules.max_size, keep=rules.keep)
        if audit.damage:
            log.error("the audit log is damaged: %s", audit.damage)
            problems.append(
                Problem("AUDIT_DAMAGED", f"the audit log is damaged: {audit.damage}", "headgate audit verify")
            )
        return audit

    def _changed(self, root: str, paths: frozenset[bytes] | None) -> None:
        """Note where a source or target may have changed, then ring the loop. Called from watcher threads."""
        with self._vigil.over(f"telling of changes in {root}"):
            self._source_changed(root, paths)
            for name in self._watching.at(root):
                self._target_changed(name, paths)

    def _target_changed(self, name: str, paths: frozenset[bytes] | None) -> None:
        deployer, fleet = self._deployer, self._fleet
        if deployer is None:
            return
        with contextlib.suppress(NotFoundError):
            deployer.runtime(name).edits.mark(paths)
        if fleet is not None:
            with contextlib.suppress(RuntimeError):  # The loop is closed: the daemon stops.
                self._loop.call_soon_threadsafe(fleet.target_changed, name)

    def _source_changed(self, root: str, paths: frozenset[bytes] | None) -> None:
        deployer, fleet = self._deployer, self._fleet
        source = deployer.sources.get(root) if deployer is not None else None
        if source is not None:
            source.mark(paths)
        if fleet is not None and (others := fleet.changed_at_once(root)):
            with contextlib.suppress(RuntimeError):  # The loop is closed: the daemon stops.
                self._loop.call_soon_threadsafe(fleet.changed_for, others)

    def _deployment_changed(self, record: ConfigDeployment) -> None:
        self._events.publish("deployments", "updated", record)

    def _touch(self) -> None:
        """Have the status line told anew."""
        if self._heartbeat is not None:
            self._heartbeat.touch()

    def _environment_changed(self, name: str) -> None:
        if self._deployer is None:
            return
        try:
            environment = self._deployer.get_environment_config(name)
            self._types[name] = environment.type
            if self._watching.follow(name, environment.config_path):
                self._target_changed(name, None)
            self._events.publish("environments", "updated", view(environment, self._deployer.runtime(name)))
        except HeadgateError:
            self._watching.follow(name, None)
            self._events.publish(
                "environments", "deleted", gone(name, self._types.get(name, EnvironmentType.PRODUCTION))
            )


def _spare_collections() -> None:
    """Let the collector of cycles leave alone what is there for good, and come less often: each of its runs halts every thread.

    Trees are no cycles, and many objects: looking through all of them takes tens of milliseconds, in the middle of a deployment.
    """
    gc.collect()
    give_back()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 20)


def _only(passed: list[int]) -> int | None:
    """Return the one socket that systemd passed; None where it passed none.

    Raises:
        RefusedError: it passed several.
    """
    if len(passed) > 1:
        raise RefusedError(
            f"cannot listen: {len(passed)} sockets were passed, and one is wanted",
            reason="SOCKET_NOT_PASSED",
            hint="leave one ListenStream= in the socket unit: systemctl cat headgated.socket",
        )
    return passed[0] if passed else None


def _prepare(
    deployer: ConfigurationDeployer, fleet: Fleet, watcher: Watcher, tidying: Tidying, settings: Settings
) -> Callable[[], None]:
    """Return what has the engine go by other settings."""

    def commit() -> None:
        deployer.go_by(settings)
        watcher.scan_every(settings.watch.scan_interval)
        tidying.every(settings.retention.interval)
        fleet.settle_anew()
        logging.getLogger().setLevel(settings.daemon.log_level.upper())

    return commit


def _prepare_api(
    server: ApiServer, doubtful: Doubts, audit: AuditLog, settings: Settings
) -> Callable[[], None]:
    """Return what has the API go by other settings."""
    roles, doubts = roles_of(settings.grants)
    network = _network(settings.tcp)
    if network is not None:
        load(network.files)  # What cannot be used is a reason not to take the configuration over.

    def commit() -> None:
        server.go_by(_terms(roles, settings.api), network.files if network is not None else None)
        audit.go_by(settings.audit.max_size, settings.audit.keep)
        doubtful.explicit = settings.grants != DEFAULT_GRANTS
        doubtful.tell(doubts)

    return commit


class Doubts:
    """Grants to users and groups that there are none of, told as problems; not those that nobody wrote down."""

    def __init__(self, problems: list[Problem], explicit: bool) -> None:  # noqa: FBT001 - a fact, not a switch
        self._problems, self.explicit = problems, explicit
        self._told: list[Problem] = []

    def tell(self, doubts: list[str]) -> None:
        """Tell of these, and of no others any more."""
        for problem in self._told:
            self._problems.remove(problem)
        hint = "mend [[grants]] in the configuration, or create it; then headgate reload"
        self._told = [Problem("GRANT_TO_NOBODY", doubt, hint) for doubt in doubts if self.explicit]
        for problem in self._told:
            log.warning("%s", problem.message)
        self._problems += self._told


def _network(tcp: TcpSettings) -> Network | None:
    if not tcp.address:
        return None
    files = CertificateFiles(tcp.certificate, tcp.private_key, tcp.client_ca)
    return Network(tcp.address, files, tcp.connections)


def _terms(roles: Roles, api: ApiSettings) -> Terms:
    door = DoorLimits(api.connections, api.connections_per_user, first_bytes=api.first_bytes)
    calls = CallLimits(api.calls, api.calls_per_user, api.watchers, api.watchers_per_user)
    return Terms(roles, DoorLimits.within_descriptors(door), calls)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("cannot check the records", exc_info=task.exception())


async def _end_work(fleet: Fleet) -> None:
    """End all work; where some hangs, end the process: its lock must outlive the thread that may still change a target."""
    if not await fleet.stop():
        log.critical("ending all the same; the next start makes right what was begun")
        logging.shutdown()
        os._exit(EXIT_HANGING)


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


async def _reload_when(asked: asyncio.Event, app: App) -> None:
    while True:
        await asked.wait()
        asked.clear()
        try:
            await app.reload()
        except Exception:
            log.exception("cannot reload")


async def serve(app: App, ready: Callable[[App], Awaitable[None]] | None = None) -> None:
    """Run the daemon until SIGTERM or SIGINT.

    Args:
        ready: called when the daemon serves.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    asked = asyncio.Event()  # Not the end of a daemon that only just starts, nor forgotten.
    loop.add_signal_handler(signal.SIGHUP, asked.set)
    async with app:
        reloading = asyncio.create_task(_reload_when(asked, app))
        if ready is not None:
            await ready(app)
        await stop.wait()
        log.info("stopping")
        reloading.cancel()
