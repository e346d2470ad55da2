"""The service's side of systemd: what it tells (sd_notify(3)) and what it was given (sd_listen_fds(3), sd_watchdog_enabled(3)).

A datagram to the socket named in NOTIFY_SOCKET, and a few variables; nothing elsewhere. Nothing here needs a library.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

FIRST_PASSED = 3
"""The first descriptor that systemd passes (SD_LISTEN_FDS_START)."""

PATIENCE = 1.0
"""Seconds that a supervisor with a full queue is waited for."""


def notify(*lines: str) -> bool:
    """Send lines such as `READY=1` or `STATUS=...`; tells whether anybody was there to hear.

    Never raises, and never waits for long: a service must neither fail nor hang because its supervisor does not listen.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as datagrams:
            datagrams.settimeout(PATIENCE)
            datagrams.connect("\0" + address[1:] if address.startswith("@") else address)
            datagrams.sendall("\n".join(lines).encode())
    except OSError:
        return False
    return True


def take_passed(environ: MutableMapping[str, str] = os.environ) -> list[int]:
    """Return the descriptors of the sockets that systemd passed to this process, and forget how they were told.

    What is told belongs to one process only: children shall not take these descriptors for theirs.
    """
    meant = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if meant != str(os.getpid()) or not count.isdecimal():
        return []
    return list(range(FIRST_PASSED, FIRST_PASSED + int(count)))


def watchdog_seconds(environ: MutableMapping[str, str] = os.environ) -> float | None:
    """Return how long systemd waits for a sign of life (WatchdogSec=) before it ends the service; None: for ever."""
    period = environ.get("WATCHDOG_USEC", "")
    meant = environ.get("WATCHDOG_PID", "") or str(os.getpid())
    if not period.isdecimal() or int(period) == 0 or meant != str(os.getpid()):
        return None
    return int(period) / 1_000_000
