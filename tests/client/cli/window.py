"""A real terminal for tests: tmux, typed at and looked at."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
SLOW = 30.0  # a busy machine takes its time to start a program


class Terminal:
    """A terminal with a shell in it, whose prompt is `ready> `.

    Args:
        home: where its socket lies.
        address: the daemon's.
        columns: how wide it is.
        shell: the shell's command line.
    """

    def __init__(
        self, home: Path, address: str, columns: int, shell: str = "bash --norc --noprofile"
    ) -> None:
        self._server = ["tmux", "-S", str(home / "tmux"), "-f", "/dev/null"]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        settings = f"PATH={path} HEADGATE_ADDRESS={address} PS1='ready> '"
        self._run("new-session", "-d", "-x", str(columns), "-y", "30", f"env {settings} {shell}")

    def type(self, *keys: str) -> None:
        self._run("send-keys", *keys)

    def screen(self, *, colours: bool = False) -> str:
        return self._run("capture-pane", "-p", *(["-e"] if colours else []))

    def lines(self) -> list[str]:
        """Return what was printed, line by line, also where the terminal had to wrap it."""
        printed = self._run("capture-pane", "-p", "-J").rstrip()
        return [line.rstrip() for line in printed.splitlines()]

    def shows(self, *texts: str) -> None:
        """Wait until all of this is on the screen; blanks and where lines end do not matter, but for a line that is begun."""
        end = time.monotonic() + SLOW
        while True:
            screen = self.screen()
            flat = " ".join(screen.split())
            missing = [text for text in texts if text not in screen and text not in flat]
            if not missing:
                return
            assert time.monotonic() < end, f"{missing} did not come up in:\n{screen}"
            time.sleep(0.02)

    def end(self) -> None:
        self._run("kill-server")

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._server, *arguments], capture_output=True, text=True, timeout=30, check=True
        )
        return done.stdout
