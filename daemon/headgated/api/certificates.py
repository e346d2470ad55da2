"""The daemon's certificate, its key, and whose certificates it takes: from files, which are read again when they change.

Promises that nothing is taken over that does not fit together or that others could have written (a key: read), and that what was in
force then stays in force and `status` says why. Looks at the files at each handshake; reads them only where they look different.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, fields
from pathlib import Path

import grpc

from headgated.core.errors import Fault, HeadgateError, RefusedError, in_a_line
from headgated.effects.trusted_file import read_trusted
from headgated.engine.views import Problem

_log = logging.getLogger(__name__)

REASON = "CERTIFICATE_REJECTED"


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where they are. PEM."""

    certificate: str
    private_key: str
    client_ca: str


class Certificates:
    """Thread-safe: gRPC asks from threads of its own."""

    def __init__(self, files: CertificateFiles, problems: list[Problem]) -> None:
        """Read the files.

        Raises:
            RefusedError: they cannot be used; the message says why.
        """
        self._files, self._problems = files, problems
        self._lock = threading.Lock()
        self._told: Problem | None = None
        self._seen = _look(files)
        self._present = load(files)

    def credentials(self) -> grpc.ServerCredentials:
        """Return what a port is secured with: mutual TLS, by what the files say at each handshake."""
        return grpc.dynamic_ssl_server_credentials(
            self._present, self._fetch, require_client_authentication=True
        )

    def go_by(self, files: CertificateFiles) -> None:
        """Go by other files from the next handshake on; connections that are open stay as they are."""
        with self._lock:
            self._files, self._seen = files, ""

    def _fetch(self) -> grpc.ServerCertificateConfiguration:
        with self._lock:
            looks = _look(self._files)
            if looks != self._seen:
                self._renew(looks)
            return self._present

    def _renew(self, looks: str) -> None:
        try:
            self._present = load(self._files)
        except HeadgateError as error:
            self._seen = looks  # Tried once for each state of the files; a write in progress looks different when it is done.
            message = (
                f"{error.message}; clients over the network are still met with the certificate from before"
            )
            _log.error("%s", message)
            self._tell(Problem(REASON, message, error.hint))
            return
        self._seen = looks
        self._tell(None)
        _log.info("certificates are read again")

    def _tell(self, problem: Problem | None) -> None:
        if self._told is not None:
            self._problems.remove(self._told)
        if problem is not None:
            self._problems.append(problem)
        self._told = problem


def load(files: CertificateFiles) -> grpc.ServerCertificateConfiguration:
    """Return what the files hold, once it is clear that it fits together.

    Raises:
        RefusedError: it does not, or others could have written it.
    """
    import ssl  # noqa: PLC0415 - megabytes, for those alone who serve the network

    certificate, key, authorities = _contents(files)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(files.certificate, files.private_key, password=lambda: b"")
        context.load_verify_locations(cadata=authorities.decode("ascii"))
    except (ssl.SSLError, OSError, ValueError) as error:
        raise RefusedError(
            f"cannot use {files.certificate} with {files.private_key} and {files.client_ca}: {error}",
            reason=REASON,
            hint="the certificate and its key (without a password) must fit together, all in PEM",
            paths=[files.certificate, files.private_key, files.client_ca],
        ) from error
    if not context.get_ca_certs():
        raise RefusedError(
            f"cannot use {files.client_ca}: there is no authority in it",
            reason=REASON,
            hint="put the certificates of the authorities there whose clients shall be taken, in PEM",
        )
    return grpc.ssl_server_certificate_configuration([(key, certificate)], authorities)


def _contents(files: CertificateFiles) -> list[bytes]:
    """Read certificate, key and authorities; several that cannot be read are told together."""
    found, wrong = [], dict[str, HeadgateError]()
    for field in fields(files):
        try:
            path = Path(getattr(files, field.name))
            found.append(read_trusted(path, private=field.name == "private_key"))
        except HeadgateError as error:
            wrong[f"tcp.{field.name}"] = error
    if len(wrong) == 1:
        raise next(iter(wrong.values()))
    if wrong:
        faults = [Fault(key, error.message) for key, error in wrong.items()]
        raise RefusedError(
            f"cannot use the certificates: {in_a_line(faults)}",
            reason=REASON,
            hint="name files in PEM that are there, and that nobody else may write (of the key: read)",
            faults=faults,
        )
    return found


def _look(files: CertificateFiles) -> str:
    """Return what changes when one of the files does."""
    seen = []
    for path in (files.certificate, files.private_key, files.client_ca):
        try:
            found = Path(path).stat()
        except OSError as error:
            seen.append(str(error.errno))
            continue
        seen.append(
            f"{found.st_dev}/{found.st_ino}/{found.st_mtime_ns}/{found.st_ctime_ns}/{found.st_size}/{found.st_mode}"
        )
    return " ".join(seen)
