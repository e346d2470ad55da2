"""Asks a service over HTTP. A module of its own, so that only those who ask so have what it imports in memory."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
from urllib.parse import urlsplit

_STATUS = re.compile(rb"HTTP/\d\.\d (\d{3})[ \r\n]")
_LONGEST_STATUS = 4096


def ask_http(url: str, timeout: float) -> str:
    """Return why what is at a URL is not well; empty: it is.

    Args:
        url: `http` or `https`.
        timeout: seconds, for all of it.

    Raises:
        OSError: it cannot be reached, or is silent.
        ValueError: it does not speak HTTP; says how.
    """
    until = time.monotonic() + timeout
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            host, parts.port, timeout=timeout, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=timeout)
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path, headers={"User-Agent": "headgate", "Connection": "close"})
        status = _status(connection.sock, until)
    except http.client.HTTPException as error:
        raise ValueError(f"{type(error).__name__}: {error}"[:200]) from error
    finally:
        connection.close()
    return "" if 200 <= status < 400 else f"the answer was {status}"  # noqa: PLR2004 - HTTP's classes of success


def _status(answering: socket.socket, until: float) -> int:
    """Read the status of an answer. By hand: `http.client` waits anew for every byte, so a server that trickles holds it up for ever."""
    said = b""
    while b"\n" not in said and len(said) < _LONGEST_STATUS:
        answering.settimeout(max(until - time.monotonic(), 0.001))
        piece = answering.recv(_LONGEST_STATUS)
        if not piece:
            break
        said += piece
    status = _STATUS.match(said)
    if status is None:
        raise ValueError("the answer is not HTTP" if said else "it closed the connection without an answer")
    return int(status[1])
