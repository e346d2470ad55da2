"""The door: the public socket, which knows who comes in.

It accepts connections, asks the kernel who each client is, and relays the bytes to gRPC's private socket under a name that says
so (see `identity`). It reads nothing of what passes. Promises bounded numbers of connections, in all and for each user, with
some kept for root and the daemon's own user; what is beyond them is closed at once. It promises no fairness between users
within those bounds, and does not decide what a user may do.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import logging
import os
import resource
import socket
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from headgated.api.connection import Connection, Upstream
from headgated.api.identity import Credentials, Identities
from headgated.api.listener import Listener
from headgated.api.names import UserNames
from headgated.api.relay import CHUNK
from headgated.core.orders import Caller

_log = logging.getLogger(__name__)
_PEERCRED = struct.Struct("iII")
_SO_PEERGROUPS = 59  # asm-generic/socket.h; Python's socket does not name it
_MOST_GROUPS_BYTES = 65536 * 4  # NGROUPS_MAX
_FEW_GROUPS_BYTES = 1024
_AT_ONCE = 32
_BREATH = 0.5
_FEWEST = 32


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """How much the door lets in."""

    connections: int = 400
    per_user: int = 200
    reserved: int = 16
    """Connections of those above that only root and the daemon's own user may take."""
    first_bytes: float = 5.0
    """Seconds that a client may be silent after it has connected."""

    @classmethod
    def within_descriptors(cls, wanted: DoorLimits | None = None) -> DoorLimits:
        """Return limits that fit into the descriptors this process may open: three for each connection, half for others."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = wanted or cls()
        if soft == resource.RLIM_INFINITY or soft >= wanted.connections * 6:
            return wanted
        connections = max(_FEWEST, soft // 6)
        per_user = min(wanted.per_user, connections - wanted.reserved)
        return cls(connections, per_user, first_bytes=wanted.first_bytes)


class Door:
    """Lets clients of a public socket in to a private one. Lives on one asyncio loop."""

    def __init__(self, listener: Listener, private: Path, *, limits: DoorLimits | None = None) -> None:
        self._listener = listener
        self._limits = limits or DoorLimits.within_descriptors()
        self._names = UserNames()
        self._identities = Identities(self._names)
        self._upstream = Upstream(os.fspath(private), self._identities)
        self._buffer = memoryview(bytearray(CHUNK))
        self._open: set[Connection] = set()
        self._users: Counter[int] = Counter()
        self._empty = asyncio.Event()
        self._accepting: asyncio.TimerHandle | None = None
        self._full = False

    def limit(self, limits: DoorLimits) -> None:
        """Go by other limits from now on; who is in stays."""
        self._limits = limits

    @property
    def connections(self) -> int:
        """How many clients are in."""
        return len(self._open)

    @property
    def address(self) -> str:
        """The path of the public socket, `@name` where it has none in the file system."""
        name = self._listener.socket.getsockname()
        return "@" + os.fsdecode(name[1:]) if isinstance(name, bytes) else str(name)

    def caller_of(self, peer: str) -> Caller:
        """Return who is behind a connection that gRPC calls `peer`.

        Raises:
            ForbiddenError: it did not come through this door.
        """
        return self._identities.caller_of(peer)

    def open(self) -> None:
        """Begin to let clients in."""
        asyncio.get_running_loop().add_reader(self._listener.socket, self._accept)

    def shut(self) -> None:
        """Let nobody in any more; who is in stays."""
        loop = asyncio.get_running_loop()
        if self._accepting:
            self._accepting.cancel()
        if self._listener.socket.fileno() >= 0:
            loop.remove_reader(self._listener.socket)
        self._listener.close()

    async def empty(self, patience: float) -> None:
        """Shut, wait at most `patience` seconds for the clients to leave, and close what is left of them."""
        self.shut()
        if self._open:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._empty.wait()
        for connection in tuple(self._open):
            connection.close()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                client, _ = self._listener.socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(error)
                return
            client.settimeout(0)
            self._admit(client)

    def _pause(self, error: OSError) -> None:
        """Wait a moment where descriptors or memory have run out: the listener would be ready again at once."""
        _log.error("cannot accept a connection: %s; trying again in %s s", error.strerror, _BREATH)
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listener.socket)
        self._accepting = loop.call_later(_BREATH, self.open)

    def _admit(self, client: socket.socket) -> None:
        credentials = _credentials(client)
        if not self._has_room(credentials.uid):
            self._turn_away(client, credentials)
            return
        self._full = False
        self._users[credentials.uid] += 1
        self._open.add(
            Connection(
                client,
                credentials,
                upstream=self._upstream,
                names=self._names,
                buffer=self._buffer,
                patience=self._limits.first_bytes,
                closed=self._left,
            )
        )

    def _has_room(self, uid: int) -> bool:
        trusted = uid in (0, os.geteuid())
        room = self._limits.connections - (0 if trusted else self._limits.reserved)
        return len(self._open) < room and self._users[uid] < self._limits.per_user

    def _turn_away(self, client: socket.socket, credentials: Credentials) -> None:
        client.close()
        if (
            not self._full
        ):  # Once, until there is room again: whoever knocks at full tilt shall not fill the log.
            self._full = True
            _log.warning(
                "turning connections of uid %d (pid %d) away: %d of its own are open, %d in all",
                credentials.uid,
                credentials.pid,
                self._users[credentials.uid],
                len(self._open),
            )

    def _left(self, connection: Connection) -> None:
        self._open.discard(connection)
        uid = connection.credentials.uid
        self._users[uid] -= 1
        if not self._users[uid]:
            del self._users[uid]
        if not self._open:
            self._empty.set()


def _credentials(client: socket.socket) -> Credentials:
    raw = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEERCRED.size)
    pid, uid, gid = _PEERCRED.unpack(raw)
    return Credentials(pid, uid, gid, _groups(client))


def _groups(client: socket.socket) -> frozenset[int]:
    """Return the supplementary groups that the client had when it connected; none where the kernel does not tell."""
    try:
        raw = client.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _FEW_GROUPS_BYTES)
    except OSError as error:
        raw = _many_groups(client) if error.errno == errno.ERANGE else b""
    return frozenset(struct.unpack(f"{len(raw) // 4}I", raw))


def _many_groups(client: socket.socket) -> bytes:
    """Ask as C does: Python's `getsockopt` takes at most 1,024 bytes."""
    room = ctypes.create_string_buffer(_MOST_GROUPS_BYTES)
    length = ctypes.c_uint32(len(room))
    failed = ctypes.CDLL(None).getsockopt(
        client.fileno(), socket.SOL_SOCKET, _SO_PEERGROUPS, room, ctypes.byref(length)
    )
    return b"" if failed else room.raw[: length.value]
