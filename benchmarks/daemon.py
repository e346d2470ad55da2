"""A real daemon as a process of its own, as its users have it: its defaults, its door, its client."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headgate import Client
from headgate.v1 import environment_pb2

PROGRAMS = Path(sys.executable).parent
STARTING_SECONDS = 600.0


@dataclass(frozen=True)
class Weight:
    """What a process has taken so far."""

    cpu_seconds: float
    wakeups: int
    """Voluntary context switches: each was a wait that ended."""
    rss_mb: float


class Daemon:
    """One daemon with a state directory and a socket in `home`."""

    def __init__(self, home: Path, config: str = "") -> None:
        self.home, self.state, self.socket = home, home / "state", home / "s"
        home.mkdir(parents=True, exist_ok=True)
        self._config = home / "headgated.toml"
        self._config.write_text(config, encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that runs."""
        if self._process is None:
            raise RuntimeError("the daemon does not run")
        return self._process.pid

    def pids(self) -> list[int]:
        """Return the leaders of its process groups."""
        return [] if self._process is None else [self._process.pid]

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"unix:{self.socket}"

    def start(self) -> float:
        """Start it; return how many seconds it took until it told systemd that it is ready."""
        notices = self.home / "n"
        notices.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified, self._log().open("ab") as log:
            notified.bind(str(notices))
            notified.settimeout(STARTING_SECONDS)
            began = time.perf_counter()
            self._process = subprocess.Popen(
                [
                    PROGRAMS / "headgated",
                    *("--config", self._config, "--state-dir", self.state, "--socket", self.socket),
                ],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "NOTIFY_SOCKET": str(notices)},
                start_new_session=True,
            )
            while b"READY=1" not in notified.recv(4096):
                if self._process.poll() is not None:
                    raise RuntimeError(f"the daemon ended: {self.log()[-2000:]}")
            return time.perf_counter() - began

    def stop(self) -> None:
        """Stop it as systemd would."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def client(self) -> Client:
        """Return a new client."""
        return Client(self.address, timeout=60)

    def weigh(self) -> Weight:
        """Return what it has taken so far, all its threads together."""
        nanoseconds = switches = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(OSError):  # A thread that ends meanwhile.
                nanoseconds += int((task / "schedstat").read_text(encoding="ascii").split()[0])
                status = (task / "status").read_text(encoding="ascii")
                switches += _field(status, "voluntary_ctxt_switches:")
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return Weight(nanoseconds / 1e9, switches, _field(status, "VmRSS:") / 1024)

    def log(self) -> str:
        """Return what it has logged."""
        return self._log().read_text(encoding="utf-8", errors="replace")

    def _log(self) -> Path:
        return self.home / "log"


@contextlib.contextmanager
def running(home: Path, config: str = "") -> Iterator[Daemon]:
    """Run a daemon; end it afterwards."""
    daemon = Daemon(home, config)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.stop()


def wait_synced(client: Client, name: str) -> None:
    """Wait until an environment's target is what its sources say."""
    for event in client.watch_environments(name):
        state = event.environment.sync.state
        if event.HasField("environment") and state == environment_pb2.SYNC_STATE_SYNCED:
            return
        if event.HasField("environment") and state in FAILED:
            raise RuntimeError(f"{name} did not synchronise: {event.environment.sync.message}")


FAILED = (environment_pb2.SYNC_STATE_HALTED, environment_pb2.SYNC_STATE_FAILING)


def _field(status: str, name: str) -> int:
    return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1])
