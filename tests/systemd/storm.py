"""A stream of calls from many sides that runs while the daemon is restarted or killed, and what came of it.

Four kinds of callers: one that stays connected, one that comes anew each time as the command line does, one that only knocks at the
socket, and one that writes and keeps count of what it was told is done.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from tests.systemd.site import Site

CALLERS = ("stay", "come anew", "write")
PATIENCE = 60.0
"""Seconds that a call may take: a restart under load, not for ever."""


@dataclass
class Storm:
    """Calls until the end of the `with` block; then `failures` and `lost` tell what went wrong."""

    site: Site
    answered: int = 0
    """Calls that were answered."""
    knocks: int = 0
    """Connections that were accepted, or wait to be."""
    slowest: float = 0.0
    """Seconds."""
    failures: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """What was said to be done and is not."""
    written: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    """Calls that were answered, by who called."""
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        for caller in (self._stay, self._come_anew, self._knock, self._write):
            self._threads.append(threading.Thread(target=self._until_over, args=(caller,)))
            self._threads[-1].start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE * 2)
            assert not thread.is_alive(), "a call hangs"
        with self.site.machine.client(PATIENCE) as client:
            there = int(client.get_environment(self.site.name).variables["N"])
        if there != self.written:
            self.lost.append(f"{self.written} was said to be written, {there} is there")

    def _until_over(self, caller: Callable[[], None]) -> None:
        try:
            caller()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a failed call
            self.failures.append(f"{caller.__name__}: {type(error).__name__}: {error}")

    def everybody_answered(self, since: Counter[str]) -> bool:
        """Tell whether each caller has been answered since a copy of `answers` was taken, or one of them has failed."""
        return bool(self.failures) or all(self.answers[who] > since[who] for who in CALLERS)

    def _timed(self, who: str, call: Callable[[], object]) -> None:
        began = time.monotonic()
        call()
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.answers[who] += 1
        self.answered += 1

    def _stay(self) -> None:
        with self.site.machine.client(PATIENCE) as client:
            while not self._over.is_set():
                self._timed("stay", client.status)

    def _come_anew(self) -> None:
        while not self._over.is_set():
            with self.site.machine.client(PATIENCE) as client:
                self._timed("come anew", client.status)

    def _knock(self) -> None:
        path = f"{self.site.machine.root}/run/headgate/headgate.sock"
        while not self._over.is_set():
            with socket.socket(socket.AF_UNIX) as knock:
                knock.settimeout(PATIENCE)
                knock.connect(path)
            self.knocks += 1
            time.sleep(0.05)

    def _write(self) -> None:
        with self.site.machine.client(PATIENCE) as client:
            while not self._over.is_set():
                number = self.written + 1
                variables = {"N": str(number)}
                self._timed("write", partial(client.update_environment, self.site.name, variables=variables))
                self.written = number
