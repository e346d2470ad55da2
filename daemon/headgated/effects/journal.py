"""Sends entries with fields to systemd's journal, in its own protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL).

Promises that an entry arrives whole, whatever is in its values, or that the caller is told. Knows nothing of what is logged.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Mapping

ADDRESS = "/run/systemd/journal/socket"
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_TOO_LONG = frozenset({errno.EMSGSIZE, errno.ENOBUFS})


class Journal:
    """The way to the journal. Thread-safe: each entry is one datagram.

    Raises:
        OSError: there is no journal at `address`.
    """

    def __init__(self, address: str = ADDRESS) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.connect(address)
        except OSError:
            self._socket.close()
            raise

    def send(self, fields: Mapping[str, str]) -> None:
        """Send one entry. Field names are capitals, digits and underscores, and do not begin with an underscore.

        Raises:
            OSError: it cannot be sent.
        """
        entry = b"".join(_field(name, value) for name, value in fields.items())
        try:
            self._socket.sendall(entry)
        except OSError as error:
            if error.errno not in _TOO_LONG:
                raise
            self._send_by_memory(entry)

    def close(self) -> None:
        """Close the way. Harmless when it is closed."""
        self._socket.close()

    def _send_by_memory(self, entry: bytes) -> None:
        """Send what is longer than a datagram may be: as a sealed piece of memory, of which only the descriptor is sent."""
        descriptor = os.memfd_create("headgated-log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with contextlib.ExitStack() as cleanup:
                file = cleanup.enter_context(os.fdopen(os.dup(descriptor), "wb"))
                file.write(entry)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
            passed = array.array("i", [descriptor])
            self._socket.sendmsg([b""], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])
        finally:
            os.close(descriptor)


def _field(name: str, value: str) -> bytes:
    """Return a field: `NAME=value`, or with its length in front where a line's end is in it."""
    raw = value.encode("utf-8", "backslashreplace")
    if b"\n" not in raw:
        return name.encode() + b"=" + raw + b"\n"
    return name.encode() + b"\n" + struct.pack("<Q", len(raw)) + raw + b"\n"
