"""A daemon on the network: mutual TLS, who calls is who the certificate says."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.harness import Daemon, eventually, running

from headgate.address import Address
from headgate.errors import ForbiddenError, HeadgateError, InvalidRequestError, UnreachableError
from headgate.remote import AUTHORITY, CERTIFICATE, KEY, TlsFiles

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="needs openssl, to make certificates"
)


@dataclass
class Network:
    """A daemon that listens on the network, and certificates for it."""

    daemon: Daemon
    address: str
    home: Path

    def files(self, name: str, authority: str = "ca") -> TlsFiles:
        return TlsFiles(
            *(str(self.home / each) for each in (f"{name}.pem", f"{name}.key", f"{authority}.pem"))
        )


def issue(home: Path) -> None:
    """Make two authorities, and certificates by the first."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=home, check=True, capture_output=True, timeout=60)

    def fresh(name: str, kind: str) -> list[str]:
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        return [*curve, "-keyout", f"{name}.key", "-out", f"{name}.{kind}"]

    for authority in ("ca", "others"):
        openssl("req", "-x509", *fresh(authority, "pem"), "-days", "2", "-subj", f"/CN={authority}")
    for name, names in (
        ("server", "DNS:localhost"),
        ("ci", "DNS:ci.example.org"),
        ("nobody", "DNS:nobody.example.org"),
    ):
        (home / f"{name}.ext").write_text(f"subjectAltName={names}\n")
        openssl("req", *fresh(name, "csr"), "-subj", f"/CN={name}")
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", f"{name}.pem", "-days", "2", "-extfile", f"{name}.ext",
        )  # fmt: skip
    for path in home.iterdir():
        path.chmod(0o600)


def listens(port: int) -> bool:
    with socket.socket() as knock:
        return knock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    home = tmp_path_factory.mktemp("pki")
    issue(home)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = f"""
        [tcp]
        address = "127.0.0.1:{port}"
        certificate = "{home}/server.pem"
        private_key = "{home}/server.key"
        client_ca = "{home}/ca.pem"
        [[grants]]
        role = "admin"
        certificates = ["dns:ci.example.org"]
    """
    with running(config) as daemon:
        eventually(lambda: listens(port), what="the network")
        yield Network(daemon, f"tls:localhost:{port}", home)


@pytest.mark.e2e
@needs_openssl
def test_deploys_over_the_network_as_who_the_certificate_says(network: Network, connect: Any) -> None:
    name = "web" if "Bridged" not in connect.__name__ else "web2"
    source = network.daemon.home / f"{name}-source"
    source.mkdir()
    (source / "a.conf").write_text("a\n")
    with connect(network.address, timeout=30, tls=network.files("ci")) as client:
        client.create_environment(
            name, type="staging", config_path=f"{source}-target", sources=[str(source)], auto_sync=False
        )
        done = client.wait_for_deployment(client.deploy(name).deployment_id, 30)
    assert done.deployed_by == "dns:ci.example.org"
    assert Path(f"{source}-target", "a.conf").read_text() == "a\n"


@pytest.mark.e2e
@needs_openssl
def test_certificate_without_a_grant_may_nothing(network: Network, connect: Any) -> None:
    with (
        connect(network.address, timeout=30, tls=network.files("nobody")) as client,
        pytest.raises(ForbiddenError),
    ):
        client.status()


@pytest.mark.e2e
@needs_openssl
def test_daemon_that_nobody_vouches_for_is_not_talked_to(network: Network, connect: Any) -> None:
    with connect(network.address, timeout=30, tls=network.files("ci", "others")) as client:
        with pytest.raises(UnreachableError, match="andshake") as caught:
            client.status()
        assert "vouches" in caught.value.hint


@pytest.mark.e2e
@needs_openssl
def test_command_line_takes_certificates_from_the_environment(network: Network) -> None:
    files = network.files("ci")
    environ = {CERTIFICATE: files.certificate, KEY: files.private_key, AUTHORITY: files.authority}
    done = subprocess.run(
        [Path(sys.executable).parent / "headgate", "--address", network.address, "status"],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "all right" in done.stdout


def test_nobody_there_is_said_at_once(tmp_path: Path, connect: Any) -> None:
    (tmp_path / "x").write_bytes(b"")
    files = TlsFiles(*(str(tmp_path / "x") for _ in range(3)))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = Address.find(f"tls:127.0.0.1:{probe.getsockname()[1]}", tls=files)
        assert "refused" in address.trouble().message


def test_every_fault_of_an_address_comes_at_once() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        Address.find("tls:nowhere", {})
    assert [fault.field for fault in caught.value.faults] == ["address", CERTIFICATE, KEY, AUTHORITY]


def test_certificate_that_cannot_be_read_is_named(tmp_path: Path, connect: Any) -> None:
    files = TlsFiles(*(str(tmp_path / name) for name in ("cert", "key", "ca")))
    with (
        pytest.raises(HeadgateError, match="cannot read") as caught,
        connect("tls:localhost:1", tls=files) as client,
    ):
        client.status()
    assert caught.value.reason == "TLS_FILE_UNREADABLE"
