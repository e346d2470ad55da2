"""Over the network: mutual TLS or nothing, roles by the names in the certificate, certificates renewed without a restart."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.api.conftest import audit_in, granted
from tests.api.memory import MemoryControl, environment
from tests.api.test_guard import outcome

from headgated.api.certificates import CertificateFiles, load
from headgated.api.server import ApiServer, Network
from headgated.api.terms import Terms
from headgated.core.errors import RefusedError, UnavailableError
from headgated.core.roles import Grant

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, to make certificates")

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


class Authority:
    """Issues certificates."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir()
        self._run("req", "-x509", *self._new("ca"), "-days", "2", "-subj", "/CN=authority")

    def issue(
        self, name: str, names: str, *, usage: str = "clientAuth", days: str = "2"
    ) -> tuple[Path, Path]:
        """Return the paths of a key and of its certificate for `names` (as in subjectAltName; empty: a common name only)."""
        extensions = self.home / f"{name}.ext"
        extensions.write_text(f"extendedKeyUsage={usage}\n" + (f"subjectAltName={names}\n" if names else ""))
        self._run("req", *self._new(name, "csr"), "-subj", "/CN=ci.example.org")
        self._run(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", f"{name}.pem", "-days", days, "-extfile", extensions,
        )  # fmt: skip
        return self.home / f"{name}.key", self.home / f"{name}.pem"

    def _new(self, name: str, kind: str = "pem") -> list[str]:
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        return [*curve, "-keyout", f"{name}.key", "-out", f"{name}.{kind}"]

    def _run(self, *arguments: str | Path) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.home, check=True, capture_output=True)


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    home = tmp_path_factory.mktemp("pki")
    ours, others = Authority(home / "ours"), Authority(home / "others")
    for authority in (ours, others):
        authority.issue("server", "DNS:localhost", usage="serverAuth")
        authority.issue("ci", "DNS:ci.example.org,URI:spiffe://example.org/ci")
    ours.issue("nobody", "DNS:else.example.org")
    ours.issue("nameless", "")
    ours.issue("mail", "email:ci@example.org")
    ours.issue("wrong-use", "DNS:ci.example.org", usage="serverAuth")
    return ours, others


def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


class Remote:
    """A server on the network, and channels to it."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        self.home = directory / "tls"
        self.home.mkdir()
        self.files = CertificateFiles(*(str(self.home / name) for name in ("cert", "key", "ca")))
        self.install(authority)
        self.address = f"127.0.0.1:{port()}"
        self.control = MemoryControl()
        self.control.put(environment())
        self.server = ApiServer(
            self.control,
            socket=directory / "headgate.sock",
            runtime_dir=directory / "run",
            audit=audit_in(directory),
            terms=Terms(granted(Grant(role="deployer", certificates=("dns:ci.example.org",)))),
            network=Network(self.address, self.files),
        )

    def install(self, authority: Authority) -> None:
        """Put an authority's files in place, as a renewal would."""
        for source, target in (("server.pem", "cert"), ("server.key", "key"), ("ca.pem", "ca")):
            fresh = self.home / "fresh"
            fresh.write_bytes((authority.home / source).read_bytes())
            fresh.chmod(0o600)
            fresh.rename(self.home / target)

    async def call(
        self, authority: Authority, name: str | None, trusted: Authority | None = None, method: str = "Deploy"
    ) -> Any:
        """Call as the holder of a certificate; returns the error, None where there is none."""
        roots = ((trusted or authority).home / "ca.pem").read_bytes()
        pair = [(authority.home / f"{name}.{kind}").read_bytes() for kind in ("key", "pem")] if name else []
        credentials = grpc.ssl_channel_credentials(roots, *pair)
        options = [("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.secure_channel(self.address, credentials, options) as channel:
            call: Any = channel.unary_unary(f"/headgate.v1.DeploymentService/{method}")
            return await outcome(call(b"\n\x03web", timeout=5))


@pytest.fixture
async def remote(short_dir: Path, authorities: tuple[Authority, Authority]) -> AsyncIterator[Remote]:
    remote = Remote(short_dir, authorities[0])
    await remote.server.start()
    yield remote
    await remote.server.stop(1.0)
    remote.server._audit_log.close()


@pytest.fixture
def ours(authorities: tuple[Authority, Authority]) -> Authority:
    return authorities[0]


@pytest.fixture
def others(authorities: tuple[Authority, Authority]) -> Authority:
    return authorities[1]


async def test_name_in_the_certificate_gives_the_role_and_is_who_deployed(
    remote: Remote, ours: Authority
) -> None:
    assert await remote.call(ours, "ci") is None
    caller = next(asked[2] for asked in remote.control.asked if asked[0] == "deploy")
    assert (caller.user, caller.uid) == ("dns:ci.example.org", None)
    assert caller.certificates == ("uri:spiffe://example.org/ci", "dns:ci.example.org")
    asked = remote.server._audit_log.newest(2)[1]
    assert (asked["user"], "uid" in asked, asked["from"][:15]) == (
        "dns:ci.example.org",
        False,
        "ipv4:127.0.0.1:",
    )


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nobody", "you are dns:else.example.org (a certificate for dns:else.example.org) and have no role"),
        ("nameless", "no alternative name of the kind URI or DNS"),
        ("mail", "no alternative name of the kind URI or DNS"),
    ],
)
async def test_certificate_without_a_granted_name_may_nothing(
    remote: Remote, ours: Authority, name: str, told: str
) -> None:
    """The common name of all of them is the granted one; it does not count."""
    error = await remote.call(ours, name)
    assert (error.code(), told in error.details()) == (grpc.StatusCode.PERMISSION_DENIED, True)
    assert not any(asked[0] == "deploy" for asked in remote.control.asked)


async def test_who_has_no_certificate_of_the_right_authority_does_not_get_in(
    remote: Remote, ours: Authority, others: Authority
) -> None:
    assert (await remote.call(ours, None)).code() is UNAVAILABLE
    assert (await remote.call(others, "ci", trusted=ours)).code() is UNAVAILABLE
    assert (await remote.call(ours, "wrong-use")).code() is UNAVAILABLE
    async with grpc.aio.insecure_channel(remote.address) as channel:
        check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        error = await outcome(check(b"", timeout=5))
    assert error is not None
    assert error.code() is UNAVAILABLE
    assert await remote.call(ours, "ci") is None


async def test_certificates_are_renewed_without_a_restart(
    remote: Remote, ours: Authority, others: Authority
) -> None:
    assert await remote.call(ours, "ci") is None
    remote.install(others)
    assert await remote.call(others, "ci") is None
    assert (await remote.call(ours, "ci", trusted=others)).code() is UNAVAILABLE


async def test_renewal_that_does_not_fit_leaves_the_old_ones_in_force_and_is_told(
    remote: Remote, ours: Authority, others: Authority
) -> None:
    (remote.home / "key").write_bytes((others.home / "server.key").read_bytes())
    assert await remote.call(ours, "ci") is None
    assert [problem.reason for problem in remote.control.problems] == ["CERTIFICATE_REJECTED"]
    remote.install(ours)
    assert await remote.call(ours, "ci") is None
    assert remote.control.problems == []


async def test_port_is_shared_with_nobody(remote: Remote, short_dir: Path, ours: Authority) -> None:
    (short_dir / "second").mkdir()
    second = Remote(short_dir / "second", ours)
    second.server._network = Network(remote.address, second.files)
    with pytest.raises(UnavailableError, match=r"cannot listen at 127\.0\.0\.1"):
        await second.server.start()
    second.server._audit_log.close()
    assert await remote.call(ours, "ci") is None


def readable(files: CertificateFiles) -> None:
    Path(files.private_key).chmod(0o640)


def writable(files: CertificateFiles) -> None:
    Path(files.certificate).chmod(0o666)


def not_pem(files: CertificateFiles) -> None:
    Path(files.client_ca).write_text("nothing")


def missing(files: CertificateFiles) -> None:
    Path(files.certificate).unlink()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (readable, "others may read it"),
        (writable, "others may write it"),
        (not_pem, "cannot use"),
        (missing, "No such file"),
    ],
)
async def test_files_that_cannot_be_trusted_or_used_are_refused(
    short_dir: Path, ours: Authority, spoil: Callable[[CertificateFiles], None], told: str
) -> None:
    files = Remote(short_dir, ours).files
    load(files)
    spoil(files)
    with pytest.raises(RefusedError, match=told):
        load(files)


def test_certificate_files_that_cannot_be_read_are_told_together(tmp_path: Path) -> None:
    files = CertificateFiles(*(str(tmp_path / name) for name in ("certificate", "key", "authority")))
    with pytest.raises(RefusedError) as refused:
        load(files)
    assert [fault.field for fault in refused.value.faults] == [
        "tcp.certificate",
        "tcp.private_key",
        "tcp.client_ca",
    ]
    for path in (files.certificate, files.private_key):
        Path(path).touch(mode=0o600)
    with pytest.raises(RefusedError, match="authority") as refused:
        load(files)
    assert refused.value.reason == "FILE_NOT_READABLE"
    assert refused.value.faults == ()
