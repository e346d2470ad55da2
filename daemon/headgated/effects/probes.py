"""Asks whether a service is well: over HTTP, by a TCP connection, by a command, or by what asks gRPC's health service.

A probe looks once, within a time that is the whole of it, and says in a few words what is wrong. Neither proxies nor redirects are
followed, and of an answer only its status is read: no body gets into a record.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace

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
        self,
        probe: Probe,
        commands: Commands,
        values: Mapping[str, str],
        at_most: float,
        cancelled: Ending | None = None,
    ) -> tuple[str, str]:
        """Look once; returns why it is not well (empty: it is), and what a command printed.

        Args:
            probe: what to look at.
            commands: those that are defined.
            values: for a command's placeholders.
            at_most: seconds; what the probe or its command may take of itself holds too.
            cancelled: ends a command when set.
        """
        if probe.command:
            command = commands.commands[probe.command]
            limited = replace(command, timeout=min(command.timeout, at_most))
            ran = self._runner.run(limited, values, cancelled)
            return ran.why, ran.output
        timeout = min(probe.timeout, at_most)
        try:
            if probe.http:
                from headgated.effects.http_probe import ask_http  # noqa: PLC0415 - megabytes, for those alone who ask so

                return ask_http(probe.http, timeout), ""
            if probe.tcp:
                return _connect(probe.tcp, timeout), ""
        except (OSError, ValueError) as error:
            return _told(error), ""
        if self.ask_grpc is None:
            return "gRPC cannot be asked here", ""
        return self.ask_grpc(probe.grpc, timeout), ""


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
    if type(error) is ValueError:
        return str(error)
    return f"{type(error).__name__}: {error}"[:200]
