"""Carries bytes between two connected sockets, both ways, until both have said all.

Promises: every byte arrives, in order; what one side cannot take is not read from the other, so memory stays at one buffer;
the end of one direction is passed on while the other goes on; a broken side ends both; both sockets are closed at the end,
exactly once. Reads and writes directly on the loop's readiness events: a relayed call costs four system calls each way.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

CHUNK = 128 * 1024
"""Bytes moved at once."""
LINGER = 5.0
"""Seconds that a client may take to leave after the daemon's side has ended."""


class Relay:
    """Two sockets (not blocking, owned from now on) and the bytes between them."""

    def __init__(
        self,
        client: socket.socket,
        upstream: socket.socket,
        *,
        buffer: memoryview,
        closed: Callable[[], None],
        linger: float = LINGER,
    ) -> None:
        """Carry through `buffer`, which may be shared by all relays of a loop; call `closed` once at the end."""
        self._loop = asyncio.get_running_loop()
        self._closed, self._linger = closed, linger
        self._sockets: tuple[socket.socket, ...] = (client, upstream)
        self._timer: asyncio.TimerHandle | None = None
        self._asking = _Direction(self._loop, client, upstream, buffer, self._ended, self.close)
        self._answering = _Direction(self._loop, upstream, client, buffer, self._ended, self.close)

    def start(self) -> None:
        """Begin."""
        self._asking.start()
        self._answering.start()

    def close(self) -> None:
        """End at once, whatever is on the way. Harmless when it has ended."""
        sockets, self._sockets = self._sockets, ()
        if not sockets:
            return
        if self._timer:
            self._timer.cancel()
        for end in sockets:
            self._loop.remove_reader(end)
            self._loop.remove_writer(end)
            end.close()
        self._closed()

    def _ended(self) -> None:
        if self._asking.ended and self._answering.ended:
            self.close()
        elif self._answering.ended:
            self._timer = self._loop.call_later(self._linger, self.close)


class _Direction:
    """The way from one socket to the other."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        source: socket.socket,
        sink: socket.socket,
        buffer: memoryview,
        finished: Callable[[], None],
        broken: Callable[[], None],
    ) -> None:
        self._loop, self._source, self._sink = loop, source, sink
        self._buffer, self._finished, self._broken = buffer, finished, broken
        self._waiting = memoryview(b"")
        self.ended = False

    def start(self) -> None:
        self._loop.add_reader(self._source, self._read)

    def _read(self) -> None:
        try:
            count = self._source.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._broken()
            return
        if not count:
            self._loop.remove_reader(self._source)
            self._end()
            return
        sent = self._send(self._buffer[:count])
        if 0 <= sent < count:
            self._waiting = memoryview(bytes(self._buffer[sent:count]))
            self._loop.remove_reader(self._source)
            self._loop.add_writer(self._sink, self._write)

    def _write(self) -> None:
        sent = self._send(self._waiting)
        if sent < 0:
            return
        self._waiting = self._waiting[sent:]
        if not self._waiting:
            self._loop.remove_writer(self._sink)
            self._loop.add_reader(self._source, self._read)

    def _send(self, piece: memoryview) -> int:
        """Return how many bytes the sink took; -1 where it is broken and all has been closed."""
        try:
            return self._sink.send(piece)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self._broken()
            return -1

    def _end(self) -> None:
        self.ended = True
        try:
            self._sink.shutdown(socket.SHUT_WR)
        except OSError:
            self._broken()
            return
        self._finished()
