"""Tells systemd how the service is (sd_notify(3)): a datagram to the socket named in NOTIFY_SOCKET, nothing elsewhere."""

from __future__ import annotations

import os
import socket


def notify(*lines: str) -> bool:
    """Send lines such as `READY=1` or `STATUS=...`; tells whether anybody was there to hear.

    Never raises: a service must not fail because its supervisor does not listen.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as datagrams:
            datagrams.connect("\0" + address[1:] if address.startswith("@") else address)
            datagrams.sendall("\n".join(lines).encode())
    except OSError:
        return False
    return True
