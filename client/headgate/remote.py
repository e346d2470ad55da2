"""A daemon on another machine: its address, and the certificates that both sides show each other.

`tls:HOST:PORT`. Without certificates given, those are taken that HEADGATE_TLS_CERTIFICATE, HEADGATE_TLS_KEY and HEADGATE_TLS_AUTHORITY name.
The daemon's certificate must be for HOST; who the caller is, its own says.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headgate.address import Address
from headgate.errors import Fault, HeadgateError, UnreachableError, refuse

SCHEME = "tls:"
CERTIFICATE, KEY, AUTHORITY = "HEADGATE_TLS_CERTIFICATE", "HEADGATE_TLS_KEY", "HEADGATE_TLS_AUTHORITY"

_PLACE = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>\d{1,5})")
_LAST_PORT = 65535
_PROBE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What a connection over the network takes: paths of files in PEM."""

    certificate: str
    """The caller's own, with those between it and an authority that the daemon knows."""
    private_key: str
    authority: str
    """Who vouches for the daemon."""


@dataclass(frozen=True, slots=True)
class RemoteAddress(Address):
    """A host and port that a daemon may listen on."""

    files: TlsFiles = TlsFiles("", "", "")

    @property
    def target(self) -> str:
        """The address as gRPC wants it."""
        return f"dns:///{self.path}"

    def identity(self) -> tuple[bytes, bytes, bytes]:
        """Read the authority's certificate, the private key, and the certificate.

        Raises:
            HeadgateError: TLS_FILE_UNREADABLE.
        """
        return _read(self.files.authority), _read(self.files.private_key), _read(self.files.certificate)

    def trouble(self, why: str = "") -> HeadgateError:
        """Find out why nobody answers, by knocking at the port."""
        host, _, port = self.path.rpartition(":")
        cannot = f"cannot reach the daemon at {self.path}"
        try:
            socket.create_connection((host.strip("[]"), int(port)), _PROBE_SECONDS).close()
        except OSError as error:
            return UnreachableError(
                f"{cannot}: {error.strerror or error}",
                address=self.path,
                hint="see whether [tcp] is in that daemon's configuration, and no firewall in between",
            )
        return UnreachableError(
            f"{cannot}: {why or 'it ended the connection'}",
            address=self.path,
            there="andshake" not in why,
            hint="see whether each side's authority vouches for the other's certificate, and whether the daemon's is for this host",
        )


def remote(given: str, field: str, files: TlsFiles | None, environ: Mapping[str, str]) -> RemoteAddress:
    """Return the address that `tls:HOST:PORT` means.

    Raises:
        InvalidRequestError: it is none, or it is not said which certificates to show and to trust.
    """
    place = given.removeprefix(SCHEME).removeprefix("//")
    found = _PLACE.fullmatch(place)
    faults = []
    if found is None or not 0 < int(found["port"]) <= _LAST_PORT:
        faults.append(Fault(field, f"must be tls:HOST:PORT (got {given!r:.120})"))
    if files is None:
        missing = [name for name in (CERTIFICATE, KEY, AUTHORITY) if not environ.get(name)]
        faults += [Fault(name, "is not set, but an address on the network takes it") for name in missing]
        files = TlsFiles(*(environ.get(name, "") for name in (CERTIFICATE, KEY, AUTHORITY)))
    refuse("use this address", faults)
    return RemoteAddress(place, files=files)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise HeadgateError(
            f"cannot read {path}: {error.strerror}",
            reason="TLS_FILE_UNREADABLE",
            hint="name a file in PEM that you may read",
            paths=(path,),
        ) from error
