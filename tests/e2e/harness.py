"""A real daemon as a process of its own, and what tests do with it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from headgate import Client
from headgate.v1 import deployment_pb2, environment_pb2

BIN = Path(sys.executable).parent
T = TypeVar("T")

SUCCESS = deployment_pb2.DEPLOYMENT_STATUS_SUCCESS
FAILED = deployment_pb2.DEPLOYMENT_STATUS_FAILED


def eventually(condition: Callable[[], T], *, within: float = 30.0, what: str = "") -> T:
    """Return the first true value of `condition`; fail after `within` seconds, saying what was waited for."""
    end = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited {within} s in vain for {what or condition}"
        time.sleep(0.01)


class Daemon:
    """One daemon with its own state directory and socket, in a directory of its own with a short name.

    Args:
        home: that directory.
        config: the configuration file; `HOME` in it stands for that directory.
    """

    def __init__(self, home: Path, config: str = "") -> None:
        self.home, self.state, self.socket = home, home / "state", home / "s"
        self.config = home / "headgated.toml"
        self.config.write_text(config.replace("HOME", str(home)))
        self.log_path = home / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> Daemon:
        """Start it; wait until it answers."""
        arguments: list[Path | str] = [
            "--config",
            self.config,
            "--state-dir",
            self.state,
            "--socket",
            self.socket,
        ]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [BIN / "headgated", *arguments],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        if wait:
            eventually(self._answers, within=30, what="the daemon to answer")
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the daemon ended: {self.log()[-3000:]}"
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def stop(self) -> int:
        """Stop it as systemd would, which waits no longer than `TimeoutStopSec=`; returns its exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it as bad luck would."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(60)

    def log(self) -> str:
        """Return what it has logged."""
        return self.log_path.read_text(errors="replace")

    def client(self) -> Client:
        """Return a new client."""
        return Client(f"unix:{self.socket}", timeout=30)

    def cli(
        self, *arguments: str | Path, check: bool = True, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `headgate` against it."""
        done = subprocess.run(
            [BIN / "headgate", *map(str, arguments)],
            env={**os.environ, "HEADGATE_ADDRESS": f"unix:{self.socket}", "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            cwd=cwd or self.home,
            check=False,
        )
        assert not check or done.returncode == 0, (
            f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done


@contextmanager
def running(config: str = "", directory: Path | None = None) -> Iterator[Daemon]:
    """Run a daemon of its own, in a directory of its own below the one given; at the end it must have stopped cleanly."""
    home = Path(tempfile.mkdtemp(prefix="hg-", dir=directory))
    daemon = Daemon(home, config)
    try:
        yield daemon.start()
        if daemon.process is not None:
            assert daemon.stop() == 0, daemon.log()[-3000:]
    finally:
        daemon.kill()
        shutil.rmtree(home, ignore_errors=True)


def tree_of(root: Path) -> dict[str, tuple[object, ...]]:
    """Return path -> (kind, mode, content) for everything below `root`."""
    found: dict[str, tuple[object, ...]] = {}
    for directory, names, files in os.walk(root):
        for name in [*names, *files]:
            path = Path(directory, name)
            status = path.lstat()
            key = str(path.relative_to(root))
            if stat.S_ISLNK(status.st_mode):
                found[key] = ("symlink", os.readlink(path))
            elif stat.S_ISDIR(status.st_mode):
                found[key] = ("directory", stat.S_IMODE(status.st_mode))
            else:
                found[key] = ("file", stat.S_IMODE(status.st_mode), path.read_bytes())
    return found


def same(source: Path, target: Path) -> bool:
    """Tell whether both directories hold the same."""
    try:
        return tree_of(source) == tree_of(target)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return False  # One of them moves; look again.


def state_of(client: Client, name: str) -> int:
    """Return an environment's sync state."""
    return client.get_environment(name).sync.state


HELD = environment_pb2.SYNC_STATE_HELD
HALTED = environment_pb2.SYNC_STATE_HALTED
SYNCED = environment_pb2.SYNC_STATE_SYNCED
FAILING = environment_pb2.SYNC_STATE_FAILING
OUT_OF_SYNC = environment_pb2.SYNC_STATE_OUT_OF_SYNC
