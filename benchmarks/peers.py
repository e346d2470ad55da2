"""The tools that people use today, each keeping one target like one source, with the least delay that it allows.

Each is started on a source and a target of its own, is ready when `start` returns, and ends with `stop`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import trees
from benchmarks.limits import bare as bare_module, program
from benchmarks.machine import without

READY_SECONDS = 300.0
BARE = "bare Python with SQLite, synced"


@dataclass
class Peer:
    """One tool at work on one tree."""

    name: str
    needs: tuple[str, ...]
    _start: Callable[[Peer], None]
    home: Path = field(default_factory=Path)
    """Of its own: `source` and `target` are in it."""
    flat: bool = False
    """It puts files into the top of the target, whatever directory they are in."""
    rendered: bool = False
    """It puts variables in."""
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def source(self) -> Path:
        """What it watches."""
        return self.home / "source"

    @property
    def target(self) -> Path:
        """What it writes to."""
        return self.home / "target"

    def missing(self) -> list[str]:
        """Return what is not installed."""
        return without(*self.needs)

    def start(self, home: Path) -> None:
        """Start it on `home/source`, and wait until it watches."""
        self.home = home
        self.target.mkdir(exist_ok=True)
        self._start(self)

    def pids(self) -> list[int]:
        """Return the leaders of its process groups."""
        return [process.pid for process in self._processes]

    def stop(self) -> None:
        """End it with all it has started."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._processes.clear()

    def run(self, *command: str | Path) -> Path:
        """Start a process; return its log."""
        log = self.home / f"log{len(self._processes)}"
        with log.open("wb") as out:
            self._processes.append(
                subprocess.Popen(
                    [str(word) for word in command],
                    stdout=out,
                    stderr=out,
                    stdin=subprocess.DEVNULL,
                    cwd=self.home,
                    start_new_session=True,
                )
            )
        return log

    def told(self) -> str:
        """Return what it has said so far."""
        return "".join(log.read_text(errors="replace") for log in sorted(self.home.glob("log*")))

    def until(self, log: Path, words: bytes) -> None:
        """Wait until a log says `words`."""
        self.until_true(lambda: log.exists() and words in log.read_bytes())

    def until_true(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so; not if it ends before."""
        end = time.monotonic() + READY_SECONDS
        while not condition():
            if self._processes[-1].poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{self.name} did not start: {self.told()[-500:]}")
            time.sleep(0.02)


def relay(*, synced: bool) -> Peer:
    """Return the limit: `limits/relay.c`."""

    def start(self: Peer) -> None:
        log = self.run(program("relay"), self.source, self.target, *(["sync"] if synced else []))
        self.until(log, b"ready")

    return Peer("limit, synced" if synced else "limit, not synced", (), start, flat=True)


def bare() -> Peer:
    """Return the limit for Python with history in SQLite: `limits/bare.py`."""

    def start(self: Peer) -> None:
        log = self.run(sys.executable, bare_module.__file__, self.source, self.target, trees.VALUE)
        self.until(log, b"ready")

    return Peer(BARE, (), start, rendered=True)


def lsyncd(how: str) -> Peer:
    """Return lsyncd, `direct` (it copies) or `rsync` (it runs rsync), without delay."""

    def start(self: Peer) -> None:
        config = self.home / "lsyncd.lua"
        config.write_text(
            f"settings {{ nodaemon = true, logfile = {_lua(self.home / 'lsyncd.log')},"
            f" statusFile = {_lua(self.home / 'lsyncd.status')} }}\n"
            f"sync {{ default.{how}, source = {_lua(self.source)}, target = {_lua(self.target)}, delay = 0 }}\n",
            encoding="utf-8",
        )
        self.run("lsyncd", config)
        self.until(self.home / "lsyncd.log", b"finished")

    return Peer(f"lsyncd {how}", ("lsyncd", "rsync"), start)


def inotifywait(how: str) -> Peer:
    """Return the loop that people write: inotifywait, then rsync of the one `file` or of the `tree`."""

    def start(self: Peer) -> None:
        only_directories = ["-f", "+ */", "-f", "- *"] if how == "file" else []
        subprocess.run(["rsync", "-a", *only_directories, f"{self.source}/", f"{self.target}/"], check=True)
        source, target = shlex.quote(str(self.source)), shlex.quote(str(self.target))
        action = (
            f'rsync -a "{self.source}/$file" {target}/"$file"'
            if how == "file"
            else f"rsync -a {source}/ {target}/"
        )
        log = self.run(
            "sh",
            "-c",
            f"inotifywait -m -r -e close_write,moved_to --format %w%f {source} | "
            f'while read -r path; do file="${{path#"{self.source}/"}}"; {action}; done',
        )
        self.until(log, b"Watches established")

    return Peer(f"inotifywait + rsync of the {how}", ("inotifywait", "rsync"), start)


def watchman() -> Peer:
    """Return watchman with a trigger that runs rsync on the files it names; its settle time is 20 ms."""

    def start(self: Peer) -> None:
        socket = self.home / "w"
        self.run(
            "watchman",
            "--foreground",
            f"--sockname={socket}",
            f"--statefile={self.home / 'watchman.state'}",
            f"--logfile={self.home / 'watchman.log'}",
            f"--pidfile={self.home / 'watchman.pid'}",
        )
        self.until_true(socket.exists)
        ask = ["watchman", "--no-spawn", f"--sockname={socket}", "--no-pretty", "-j"]
        trigger = {
            "name": "copy",
            "expression": ["type", "f"],
            "command": ["rsync", "-aR", "--files-from=-", ".", f"{self.target}/"],
            "stdin": "NAME_PER_LINE",
        }
        for order in (["watch", str(self.source)], ["trigger", str(self.source), trigger]):
            done = subprocess.run(ask, input=json.dumps(order), text=True, capture_output=True, check=False)
            if done.returncode or '"error"' in done.stdout:
                raise RuntimeError(f"watchman refused {order[0]}: {done.stdout}{done.stderr}")
        _quiet(self.target)

    return Peer("watchman + rsync of the file", ("watchman", "rsync"), start)


def _quiet(target: Path) -> None:
    """Wait until nothing has run for a while: watchman runs a new trigger once for all that is there."""
    time.sleep(1.0)
    while any(_runs_rsync_to(pid, target) for pid in os.listdir("/proc") if pid.isdigit()):
        time.sleep(0.2)


def _runs_rsync_to(pid: str, target: Path) -> bool:
    with contextlib.suppress(OSError):
        words = Path("/proc", pid, "cmdline").read_bytes()
        return words.startswith(b"rsync\0") and str(target).encode() in words
    return False


def _lua(path: Path) -> str:
    return json.dumps(str(path))
