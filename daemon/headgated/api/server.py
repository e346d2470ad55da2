"""The API as a whole: gRPC on a private socket, the door in front of it, and how both start and end.

Promises that nothing listens where the start failed, that at the end streams are told so and cut short, calls that run get the
grace they are given, and no task, descriptor or socket file is left. It does not stop deployments: they are the engine's.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from headgate.v1 import daemon_pb2, deployment_pb2, environment_pb2
from headgate.v1.daemon_pb2_grpc import add_DaemonServiceServicer_to_server
from headgate.v1.deployment_pb2_grpc import add_DeploymentServiceServicer_to_server
from headgate.v1.environment_pb2_grpc import add_EnvironmentServiceServicer_to_server
from headgated.api.access import Access
from headgated.api.auditing import Auditor
from headgated.api.calls import Calls
from headgated.api.certificates import CertificateFiles, Certificates
from headgated.api.convert.values import MESSAGE_LIMIT
from headgated.api.door import Door
from headgated.api.guard import Guard
from headgated.api.listener import Listener
from headgated.api.network import listen, network_server
from headgated.api.noise import quieten
from headgated.api.private import private_socket
from headgated.api.servicers.daemon import DaemonServicer
from headgated.api.servicers.deployment import DeploymentServicer
from headgated.api.servicers.environment import EnvironmentServicer
from headgated.api.streams import Streams
from headgated.api.terms import Terms
from headgated.core.errors import UnavailableError
from headgated.effects.audit_log import AuditLog
from headgated.effects.patience import patient_threads
from headgated.engine.control import Control

_HANDSHAKE_MS = 2000
_IDLE_MS = 15 * 60 * 1000
_LEAVE, _CUT = 1.0, 0.5
_SLACK = 0.5
"""Seconds by which gRPC's threads may be late. Idle, they look after each other many times a second; the times that they keep are
limits of seconds to minutes, and what arrives wakes them at once."""

_OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_LIMIT),
    ("grpc.max_send_message_length", MESSAGE_LIMIT),
    ("grpc.so_reuseport", 0),  # Two daemons must never share an address in silence.
    ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
    ("grpc.http2.settings_timeout", _HANDSHAKE_MS),
    ("grpc.max_concurrent_streams", 200),  # For one connection.
    (
        "grpc.max_connection_idle_ms",
        _IDLE_MS,
    ),  # Three descriptors each; clients connect again without being told to.
)
SERVICES = (
    environment_pb2.DESCRIPTOR.services_by_name["EnvironmentService"].full_name,
    deployment_pb2.DESCRIPTOR.services_by_name["DeploymentService"].full_name,
    daemon_pb2.DESCRIPTOR.services_by_name["DaemonService"].full_name,
)


@dataclass(frozen=True, slots=True)
class Network:
    """Where to serve over the network."""

    address: str
    """`host:port`"""
    files: CertificateFiles
    connections: int = 200


class ApiServer:
    """Serves a control at a public socket. Starts once, stops once."""

    def __init__(  # noqa: PLR0913 - all parts of the API come together here
        self,
        control: Control,
        *,
        socket: Path,
        runtime_dir: Path,
        audit: AuditLog,
        socket_group: str | int | None = None,
        socket_mode: int = 0o660,
        passed: int | None = None,
        terms: Terms | None = None,
        network: Network | None = None,
    ) -> None:
        """Make a server that does nothing yet.

        Args:
            control: what answers.
            socket: where to listen; not touched where a socket is passed.
            runtime_dir: a directory of the daemon's own (0700) for the private socket; made if it is missing.
            audit: where it is written down who asked for what.
            socket_group: name or number of the group that may connect; None: the daemon's own.
            socket_mode: permission bits of the public socket.
            passed: descriptor of a listening socket that systemd passed.
            network: where to serve over the network as well; None: nowhere.
            terms: who may do what and how much at once, at first; None: the defaults, and nobody else than root and our own user.
        """
        self._control, self._socket, self._runtime_dir = control, socket, runtime_dir
        self._group, self._mode, self._passed = socket_group, socket_mode, passed
        self._terms = terms or Terms()
        self._audit_log = audit
        self.auditor = Auditor(audit, control.problems)
        self._health = health.aio.HealthServicer()
        self._calls = Calls(self._terms.calls)
        self._cleanup = contextlib.ExitStack()
        self._network = network
        self._certificates: Certificates | None = None
        self._server: grpc.aio.Server | None = None
        self._remote: grpc.aio.Server | None = None
        self._door: Door | None = None
        self._access: Access | None = None
        self._streams: Streams | None = None

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return self._door.connections if self._door else 0

    @property
    def address(self) -> str:
        """Where it listens."""
        return self._door.address if self._door else str(self._socket)

    async def start(self) -> None:
        """Serve from now on.

        Raises:
            RefusedError: the public or the private socket cannot be had; the message says why.
            UnavailableError: gRPC cannot listen.
        """
        quieten()
        with contextlib.ExitStack() as cleanup:
            private = cleanup.enter_context(private_socket(self._runtime_dir))
            listener = self._listener()
            cleanup.callback(listener.close)
            self._door = Door(listener, private, limits=self._terms.door)
            self._server = await self._serving(self._door, private)
            if self._network is not None:
                try:
                    self._remote = await self._serving_network(self._network)
                except BaseException:
                    await self._server.stop(None)
                    raise
            await self.report(serving=True)
            self._door.open()
            self._cleanup = cleanup.pop_all()

    async def stop(self, grace: float) -> None:
        """Serve no longer: end streams at once, give calls that run at most `grace` seconds. Harmless when stopped."""
        server, door, self._server = self._server, self._door, None
        if server is None or door is None:
            return
        door.shut()
        self._control.events.close()
        servers = [server, *([self._remote] if self._remote else [])]
        stopping = asyncio.gather(*(each.stop(grace) for each in servers))
        await self._calls.finish(grace)
        await asyncio.wait((stopping,), timeout=_CUT)
        for each in servers:
            await each.stop(None)  # What is left now are streams of others, which would take the whole grace.
        await stopping
        await door.empty(_LEAVE)
        await self.auditor.finish()
        self._cleanup.close()

    def go_by(self, terms: Terms, files: CertificateFiles | None = None) -> None:
        """Go by other terms from now on, also for streams that are open, and by other certificates."""
        if files is not None and self._certificates is not None:
            self._certificates.go_by(files)
        self._terms = terms
        self._calls.limit(terms.calls)
        if self._door is not None and self._access is not None and self._streams is not None:
            self._door.limit(terms.door)
            self._access.go_by(terms.roles)
            self._streams.look_anew()

    async def report(self, *, serving: bool) -> None:
        """Tell those who ask for the daemon's health whether it is well."""
        status = (
            health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        )
        for name in (health.OVERALL_HEALTH, *SERVICES):
            with contextlib.suppress(
                TimeoutError
            ):  # A watcher of the health that does not read holds this up.
                async with asyncio.timeout(_LEAVE):
                    await self._health.set(name, status)

    def _listener(self) -> Listener:
        if self._passed is not None:
            return Listener.adopt(self._passed)
        return Listener.bind(self._socket, mode=self._mode, group=self._group)

    async def _serving(self, door: Door, private: Path) -> grpc.aio.Server:
        with patient_threads(_SLACK):
            server = grpc.aio.server(options=_OPTIONS)
        self._access = Access(self._terms.roles, door.caller_of, self._control.type_of)
        self._streams = Streams(self._access)
        guard = self._add_services(server, self._access, self._streams)
        shown = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(  # type: ignore[no-untyped-call]
            reflection.aio.ReflectionServicer(shown), guard
        )
        try:
            server.add_insecure_port(f"unix:{private}")
        except RuntimeError as error:
            raise UnavailableError(
                f"cannot serve at {private}: {error}",
                reason="SOCKET_NOT_BOUND",
                hint="check the daemon's directory",
            ) from error
        await server.start()
        return server

    async def _serving_network(self, network: Network) -> grpc.aio.Server:
        """Serve the same, but for reflection, over the network."""
        if self._access is None or self._streams is None:
            raise RuntimeError("cannot serve the network before the socket")
        self._certificates = Certificates(network.files, self._control.problems)
        server = network_server(network.connections)
        self._add_services(server, self._access, self._streams)
        listen(server, network.address, self._certificates)
        await server.start()
        return server

    def _add_services(self, server: grpc.aio.Server, access: Access, streams: Streams) -> grpc.aio.Server:
        guard = cast("grpc.aio.Server", Guard(server, access, self._calls, streams, self.auditor))
        add_EnvironmentServiceServicer_to_server(EnvironmentServicer(self._control, access), guard)
        add_DeploymentServiceServicer_to_server(DeploymentServicer(self._control, access), guard)
        add_DaemonServiceServicer_to_server(DaemonServicer(self._control, access, self._audit_log), guard)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, guard)
        return guard
