"""One client of the door, from the moment it is accepted to its last byte.

A client that says nothing costs one descriptor, for a few seconds; only after its first bytes is it connected to gRPC, under
the name that tells who it is. Promises that `closed` is called exactly once and nothing of the connection is left then.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

from headgated.api.identity import Credentials, Identities
from headgated.api.names import UserNames
from headgated.api.relay import Relay

_log = logging.getLogger(__name__)
_RETRY = 0.01


class Upstream:
    """The way to gRPC's private socket."""

    def __init__(self, path: str, identities: Identities) -> None:
        self._path, self._identities = path, identities

    def connect(self, client: Credentials) -> socket.socket:
        """Return a connection made on behalf of `client`.

        Raises:
            BlockingIOError: too many connections wait to be accepted just now; try again.
            OSError: nobody is there.
        """
        address = self._identities.address(client)
        upstream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            upstream.bind(address)
            upstream.connect(self._path)
        except OSError:
            upstream.close()
            self._identities.forget(address)
            raise
        return upstream

    def forget(self, address: bytes) -> None:
        """Forget who a connection was made for, by the address that it came from: it has ended."""
        self._identities.forget(address)


class Connection:
    """A client's socket (not blocking, owned from now on) on its way to being relayed."""

    def __init__(
        self,
        client: socket.socket,
        credentials: Credentials,
        *,
        upstream: Upstream,
        names: UserNames,
        buffer: memoryview,
        patience: float,
        closed: Callable[[Connection], None],
    ) -> None:
        """Wait at most `patience` seconds for the first bytes; call `closed` once at the end."""
        self.credentials = credentials
        self._client, self._upstream, self._names, self._buffer = client, upstream, names, buffer
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._relay: Relay | None = None
        self._address = b""
        self._learning: asyncio.Task[None] | None = None
        self._deadline = self._loop.time() + patience
        self._timer = self._loop.call_at(self._deadline, self.close)
        self._loop.add_reader(client, self._first_bytes)

    def close(self) -> None:
        """End at once. Harmless when it has ended."""
        if self._relay:
            self._relay.close()
        elif self._client.fileno() >= 0:
            self._timer.cancel()
            self._loop.remove_reader(self._client)
            if self._learning:
                self._learning.cancel()
            self._client.close()
            self._closed(self)

    def _first_bytes(self) -> None:
        try:
            said = self._client.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            said = b""
        if not said:
            self.close()
            return
        self._loop.remove_reader(self._client)
        if self._names.fresh(self.credentials.uid):
            self._connect()
        else:
            self._learning = self._loop.create_task(self._learn())

    async def _learn(self) -> None:
        await self._names.learn(self.credentials.uid)
        self._learning = None
        self._connect()

    def _connect(self) -> None:
        self._timer.cancel()
        try:
            upstream = self._upstream.connect(self.credentials)
        except BlockingIOError:
            soon = self._connect if self._loop.time() < self._deadline else self.close
            self._timer = self._loop.call_later(_RETRY, soon)
            return
        except OSError:
            _log.exception("cannot reach the API behind the door")
            self.close()
            return
        self._address = upstream.getsockname()
        self._relay = Relay(self._client, upstream, buffer=self._buffer, closed=self._relayed)
        self._relay.start()

    def _relayed(self) -> None:
        self._upstream.forget(self._address)
        self._closed(self)
