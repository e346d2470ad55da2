"""Asks whether a service is well: over HTTP, by a TCP connection, by a command, or by what asks gRPC's health service.

A probe looks once and says in a few words what is wrong. Neither proxies nor redirects are followed, and of an answer only its
status is read: no body gets into a record.
"""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from headgated.core.commands import Commands, Probe
from headgated.effects.commands import CommandRunner, Ending

AskGrpc = Callable[[str, float], str]
"""Asks the health service at an address (`HOST:PORT[/SERVICE]`, `unix:PATH[#SERVICE]`) within so many seconds; why it is not well, or nothing."""


class Prober:
    """Looks at services. Thread-safe.

    Args:
        runner: runs probes that are commands.
        ask_grpc: asks gRPC's health service; None: such probes fail, and say so.
    """

    def __init__(self, runner: CommandRunner, ask_grpc: AskGrpc | None = None) -> None:
        self._runner, self.ask_grpc = runner, ask_grpc

    def look(
        self, probe: Probe, commands: Commands, values: Mapping[str, str], cancelled: Ending | None = None
    ) -> tuple[str, str]:
        """Look once; returns why it is not well (empty: it is), and what a command printed."""
        if probe.command:
            ran = self._runner.run(commands.commands[probe.command], values, cancelled)
            return ran.why, ran.output
        try:
            if probe.http:
                return _ask_http(probe.http, probe.timeout), ""
            if probe.tcp:
                return _connect(probe.tcp, probe.timeout), ""
        except (OSError, http.client.HTTPException, ValueError) as error:
            return _told(error), ""
        if self.ask_grpc is None:
            return "gRPC cannot be asked here", ""
        return self.ask_grpc(probe.grpc, probe.timeout), ""


def _ask_http(url: str, timeout: float) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            host, parts.port, timeout=timeout, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=timeout)
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path, headers={"User-Agent": "headgate", "Connection": "close"})
        status = connection.getresponse().status
    finally:
        connection.close()
    return "" if 200 <= status < 400 else f"the answer was {status}"  # noqa: PLR2004 - HTTP's classes of success


def _connect(address: str, timeout: float) -> str:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout):
        return ""


def _told(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.errno == errno.EAFNOSUPPORT:
        return "the service may not use the network: it needs the drop-in network.conf (docs/operations.md)"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return f"{type(error).__name__}: {error}"[:200]
