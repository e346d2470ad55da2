"""Where the daemon listens, and why it cannot be reached there.

An address is the path of a Unix socket, plain or as `unix:PATH`, or `tls:HOST:PORT` (see `headgate.remote`). Without one it is taken from HEADGATE_ADDRESS, then it is the
system's socket, then the user's. Nothing here talks gRPC.
"""

from __future__ import annotations

import errno
import grp
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate.errors import Fault, ForbiddenError, HeadgateError, InvalidRequestError, UnreachableError

if TYPE_CHECKING:
    from headgate.remote import TlsFiles

SYSTEM_SOCKET = "/run/headgate/headgate.sock"
VARIABLE = "HEADGATE_ADDRESS"

_LONGEST = 107  # bytes; what the kernel takes
_HOST_AND_PORT = re.compile(r"[^/]+:\d+")
_OTHER_SCHEME = re.compile(r"(?!unix:)[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_PLAIN = re.compile(r"[A-Za-z0-9/._-]+")
_PROBE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where a daemon may listen: here, a Unix socket."""

    path: str
    """Absolute; of a remote one: host and port."""
    origin: str = ""
    """Where it was taken from, for people; empty where the caller gave it."""

    @classmethod
    def find(
        cls,
        given: str | None = None,
        environ: Mapping[str, str] = os.environ,
        tls: TlsFiles | None = None,
    ) -> Address:
        """Return the address to use: the one given, the environment's, the system's, the user's.

        The system's socket is taken unless it is not there and the user's is.

        Raises:
            InvalidRequestError: it is no path of a Unix socket, or longer than the kernel takes, or on the network without
                certificates.
        """
        wanted, field = (given, "address") if given else (environ.get(VARIABLE, ""), VARIABLE)
        if wanted.startswith("tls:"):
            from headgate.remote import remote  # noqa: PLC0415 -- most talk to the daemon of their own machine

            return remote(wanted, field, tls, environ)
        if given:
            return cls(_path(given, "address"))
        if environ.get(VARIABLE):
            return cls(_path(environ[VARIABLE], VARIABLE), f"from {VARIABLE}")
        runtime = environ.get("XDG_RUNTIME_DIR", "")
        if runtime and not _there(SYSTEM_SOCKET) and _there(own := f"{runtime}/headgate/headgate.sock"):
            return cls(_path(own, "XDG_RUNTIME_DIR"), "your own")
        return cls(SYSTEM_SOCKET)

    @property
    def target(self) -> str:
        """The address as gRPC wants it: a URI."""
        if _PLAIN.fullmatch(self.path):
            return f"unix:{self.path}"
        from urllib.parse import quote  # noqa: PLC0415 -- rarely needed, and slow to import

        return f"unix:{quote(os.fsencode(self.path))}"

    def identity(self) -> tuple[bytes, bytes, bytes] | None:
        """Return what TLS takes (authority, private key, certificate); None: there is none of it here."""
        return None

    def trouble(self, why: str = "") -> HeadgateError:
        """Find out why nobody answers here, by looking at the socket and knocking at it.

        Args:
            why: what gRPC said, for where somebody does listen.

        Returns:
            The error to raise: UnreachableError, or ForbiddenError where the caller may not open the socket.
        """
        with socket.socket(socket.AF_UNIX) as knock:
            knock.settimeout(_PROBE_SECONDS)
            try:
                knock.connect(self.path)
            except OSError as error:
                return self._explain(error)
        return UnreachableError(
            f"cannot reach the daemon at {self.path}: {why or 'the connection ended'}",
            address=self.path,
            there=True,
            hint="see how it is: systemctl status headgated; journalctl -u headgated",
        )

    def _explain(self, error: OSError) -> HeadgateError:
        cannot = f"cannot reach the daemon at {self.path}"
        if self.origin:
            cannot += f" ({self.origin})"
        if error.errno == errno.EACCES:
            return ForbiddenError(
                f"{cannot}: you may not use this socket",
                reason="SOCKET_FORBIDDEN",
                hint=f"join the group that may ({_group(self.path)}), then log in again",
                paths=(self.path,),
            )
        by_hand = "" if self.path == SYSTEM_SOCKET else f", or headgated --socket {self.path}"
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            why, what = (
                "there is no such socket: the daemon is not running",
                "systemctl start headgated" + by_hand,
            )
        elif error.errno == errno.ECONNREFUSED:
            why, what = (
                "nobody listens on it: the daemon has stopped",
                "systemctl restart headgated" + by_hand,
            )
        else:
            why = os.strerror(error.errno) if error.errno else str(error)
            what = "systemctl status headgated"
        return UnreachableError(
            f"{cannot}: {why}", address=self.path, hint=f"{what}; if it listens elsewhere: --socket PATH"
        )


def _path(given: str, field: str) -> str:
    if _HOST_AND_PORT.fullmatch(given) or _OTHER_SCHEME.match(given):
        raise _invalid(field, f"must be the path of a Unix socket, or tls:HOST:PORT (got {given!r:.120})")
    path = given
    if given.startswith("unix:"):
        path = given.removeprefix("unix:")
        path = path.removeprefix("//") if path.startswith("///") else path
    if not path or "\0" in path:
        raise _invalid(field, f"must be the path of a Unix socket (got {given!r:.120})")
    path = os.path.abspath(path)  # noqa: PTH100 -- `..` goes, symbolic links stay
    if len(os.fsencode(path)) > _LONGEST:
        raise _invalid(
            field, f"is longer than the {_LONGEST} bytes that a Unix socket's path may have: {path}"
        )
    return path


def _invalid(field: str, message: str) -> InvalidRequestError:
    return InvalidRequestError("use this address", (Fault(field, message),))


def _there(path: str) -> bool:
    """Whether there is something at `path`, or it cannot be told (then asking there says why)."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def _group(path: str) -> str:
    """Name the group of the socket, or of the directory that keeps the caller from it."""
    try:
        owner = os.stat(path).st_gid  # noqa: PTH116 -- `pathlib` would be imported for this alone
    except OSError:
        return _group(path.rpartition("/")[0] or "/")
    try:
        return grp.getgrgid(owner).gr_name
    except KeyError:
        return f"gid {owner}"
