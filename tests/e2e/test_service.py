"""The daemon as systemd sees it: told by descriptor where to listen, telling by datagram how it is. Without systemd."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.harness import BIN, eventually
from tests.torture.test_isolation import freezable

from headgate import Client

pytestmark = pytest.mark.e2e

# What systemd does between fork and exec: the socket becomes descriptor 3, and LISTEN_PID names the process.
PASS_ON = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


class Service:
    """A daemon with a supervisor: the supervisor owns the public socket and hears what the daemon tells."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.home, self.socket = home, home / "public"
        self._environment = environment
        (home / "headgated.toml").touch()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.socket))
        self._listening.listen(64)
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._manager.bind(str(home / "n"))
        self._manager.settimeout(0)
        self.told: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    PASS_ON,
                    str(self._listening.fileno()),
                    str(BIN / "headgated"),
                    "--config",
                    str(self.home / "headgated.toml"),
                    "--state-dir",
                    str(self.home / "state"),
                ],
                env={
                    **os.environ,
                    "LISTEN_FDS": "1",
                    "NOTIFY_SOCKET": str(self.home / "n"),
                    **self._environment,
                },
                pass_fds=[self._listening.fileno()],
                stdout=log,
                stderr=log,
            )

    def hear(self) -> list[str]:
        """Return every line told so far."""
        while True:
            try:
                self.told += self._manager.recv(65536).decode().split("\n")
            except BlockingIOError:
                return self.told

    def log(self) -> str:
        return (self.home / "log").read_text(errors="replace")

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(30)

    def close(self) -> None:
        self.end(signal.SIGKILL)
        self._listening.close()
        self._manager.close()


@pytest.fixture
def service() -> Iterator[Service]:
    home = Path(tempfile.mkdtemp(prefix="hg-"))
    service = Service(home, WATCHDOG_USEC="1000000")
    yield service
    service.close()
    shutil.rmtree(home, ignore_errors=True)


def test_daemon_serves_at_the_socket_it_was_passed_and_leaves_it_in_place(service: Service) -> None:
    service.start()
    with Client(f"unix:{service.socket}", timeout=30) as client:
        assert client.status().pid > 0
    assert f"at {service.socket}" in service.log()
    assert service.end() == 0, service.log()
    assert service.socket.is_socket()


def test_calls_made_while_it_is_down_are_answered_when_it_is_back(service: Service) -> None:
    """The socket outlives the daemon, killed or stopped: who calls meanwhile waits, and nobody is refused."""
    for number in (signal.SIGKILL, signal.SIGTERM):
        service.start()
        with Client(f"unix:{service.socket}", timeout=30) as client:
            first = client.status().pid
            service.end(number)
            service.hear()
            service.start()
            assert client.status().pid != first
        service.end()
        service.hear()


def test_daemon_tells_that_it_is_ready_well_and_what_it_does(service: Service, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "f").write_text("f\n")
    service.start()
    eventually(lambda: "READY=1" in service.hear(), within=30, what="READY=1")
    assert "STATUS=0 environments" in service.told
    assert any(line.startswith("EXTEND_TIMEOUT_USEC=") for line in service.told)
    eventually(lambda: service.hear().count("WATCHDOG=1") > 3, what="signs of life")
    with Client(f"unix:{service.socket}", timeout=30) as client:
        client.create_environment(
            "web", type="testing", config_path=str(tmp_path / "target"), sources=[str(tmp_path / "source")]
        )
        eventually(lambda: "STATUS=1 environment: 1 in step" in service.hear(), what="the status line")
    assert "WATCHDOG=trigger" not in service.hear()
    assert service.end() == 0
    assert "STOPPING=1" in service.hear()


def test_hangup_is_told_as_a_reload(service: Service) -> None:
    service.start()
    eventually(lambda: "READY=1" in service.hear(), within=30, what="READY=1")
    before = time.monotonic_ns() // 1000
    assert service.process is not None
    service.process.send_signal(signal.SIGHUP)
    eventually(lambda: service.hear().count("READY=1") == 2, what="the end of the reload")
    (stamp,) = [line for line in service.told if line.startswith("MONOTONIC_USEC=")]
    assert int(stamp.partition("=")[2]) >= before
    assert service.told.index("RELOADING=1") < len(service.told) - service.told[::-1].index("READY=1")


def test_stopped_daemon_gives_no_sign_of_life(service: Service) -> None:
    service.start()
    eventually(lambda: "WATCHDOG=1" in service.hear(), within=30, what="a sign of life")
    assert service.process is not None
    service.process.send_signal(signal.SIGSTOP)
    eventually(lambda: Path(f"/proc/{service.process.pid}/stat").read_text().split()[2] == "T")  # type: ignore[union-attr]
    heard = len(service.hear())
    time.sleep(1.5)  # Longer than the watchdog's period: silence is what is tested.
    assert len(service.hear()) == heard
    service.process.send_signal(signal.SIGCONT)
    eventually(lambda: len(service.hear()) > heard, what="a sign of life again")


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mkfs.ext4") is None or shutil.which("fsfreeze") is None,
    reason="needs root, mkfs.ext4 and fsfreeze",
)
def test_disk_that_does_not_answer_is_told_and_not_taken_for_a_stuck_daemon(
    service: Service, tmp_path: Path
) -> None:
    """A target's file system stands still for several times the watchdog's period: signs of life go on, and so do others."""
    for name in ("slow", "well"):
        (tmp_path / f"{name}.source").mkdir()
        (tmp_path / f"{name}.source" / "f").write_text("one\n")
    mount = tmp_path / "slow.target"
    with freezable(mount, tmp_path / "image"):
        service.start()
        with Client(f"unix:{service.socket}", timeout=30) as client:
            for name in ("slow", "well"):
                target = str(mount / "here" if name == "slow" else tmp_path / "well.target")
                client.create_environment(
                    name, type="development", config_path=target, sources=[str(tmp_path / f"{name}.source")]
                )
            eventually((mount / "here" / "f").exists, what="the first deployment")
            subprocess.run(["fsfreeze", "--freeze", mount], check=True)
            (tmp_path / "slow.source" / "f").write_text("two\n")
            eventually(
                lambda: any("for slow waits since" in line for line in service.hear()),
                within=30,
                what="the status line to tell of the wait",
            )
            signs = service.hear().count("WATCHDOG=1")
            eventually(lambda: service.hear().count("WATCHDOG=1") > signs + 12, what="signs of life")
            (tmp_path / "well.source" / "f").write_text("two\n")
            eventually(lambda: (tmp_path / "well.target" / "f").read_text() == "two\n", what="the other one")
            assert "WATCHDOG=trigger" not in service.hear()
            subprocess.run(["fsfreeze", "--unfreeze", mount], check=True)
            eventually(lambda: (mount / "here" / "f").read_text() == "two\n", within=30, what="the slow one")
        assert service.end() == 0


def test_several_sockets_are_refused_with_a_reason(service: Service) -> None:
    service._environment["LISTEN_FDS"] = "2"
    service.start()
    assert service.process is not None
    assert service.process.wait(30) == 1
    assert "cannot listen: 2 sockets were passed, and one is wanted" in service.log()
