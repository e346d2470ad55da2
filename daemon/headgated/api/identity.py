"""Who is at the other end, written into the name of a socket so that gRPC carries it.

gRPC tells a servicer the address that a connection came from and nothing else. The door connects to gRPC from a socket bound
to an abstract name that says uid, gid and pid as the kernel gave them, numbered and sealed with a key that never leaves this
process. Nobody else can make such a name, nor take it before the door does. (Abstract names in use can be seen by everybody,
in /proc/net/unix; a seal fits one name only, and a name in use is taken.)
"""

from __future__ import annotations

import hashlib
import itertools
import secrets
from dataclasses import dataclass
from hmac import compare_digest

from headgated.api.names import UserNames
from headgated.core.errors import ForbiddenError
from headgated.core.orders import Caller

_PEER = "unix-abstract:"
_PREFIX = "headgate"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the kernel says of a client (SO_PEERCRED), as it was when the client connected.

    The pid may belong to another program by now; decide by the uid only.
    """

    pid: int
    uid: int
    gid: int
    groups: frozenset[int] = frozenset()
    """Supplementary ones (SO_PEERGROUPS)."""


class Identities:
    """Makes names for connections and reads them back."""

    def __init__(self, names: UserNames) -> None:
        self._names = names
        self._key = secrets.token_bytes(32)
        self._numbers = itertools.count(1)
        self._groups: dict[str, frozenset[int]] = {}
        """Supplementary groups, by the number of the connection: they do not fit into its name."""

    def address(self, client: Credentials) -> bytes:
        """Return the abstract address to connect from on behalf of `client`; another one at each call."""
        number = str(next(self._numbers))
        if client.groups:
            self._groups[number] = client.groups
        name = f"{_PREFIX}/{client.uid}/{client.gid}/{client.pid}/{number}"
        return f"\0{name}/{self._seal(name)}".encode()

    def forget(self, address: bytes) -> None:
        """Forget what is kept of a connection, which has ended. Nobody shall hold a role by a group that could not be told any more."""
        self._groups.pop(address.decode().split("/")[4], None)

    def caller_of(self, peer: str) -> Caller:
        """Return who is behind a connection, as gRPC names it in `ServicerContext.peer()`.

        Raises:
            ForbiddenError: it did not come through the door.
        """
        name, _, seal = peer.removeprefix(_PEER).rpartition("/")
        if not (peer.startswith(_PEER) and compare_digest(seal.encode(), self._seal(name).encode())):
            raise ForbiddenError(
                "cannot tell who asks: the connection did not come through the public socket",
                reason="CALLER_UNKNOWN",
                hint="connect to the daemon's public socket",
            )
        _, uid, gid, pid, number = name.split("/")
        groups = self._groups.get(number, frozenset()) | {int(gid)}
        return Caller(self._names.of(int(uid)), int(uid), int(gid), int(pid), groups)

    def _seal(self, name: str) -> str:
        return hashlib.blake2b(name.encode(), key=self._key, digest_size=16).hexdigest()
