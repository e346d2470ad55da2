from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from tests.api.conftest import open_descriptors, wait_until

from headgated.api.relay import CHUNK, Relay


class Wire:
    """A client and an upstream with a relay between them."""

    def __init__(self, linger: float = 5.0, buffer: memoryview | None = None) -> None:
        self.client, near = socket.socketpair()
        far, self.upstream = socket.socketpair()
        for end in (self.client, near, far, self.upstream):
            end.settimeout(0)
        self.near = (near.fileno(), far.fileno())
        self.closed = 0
        self.relay = Relay(
            near, far, buffer=buffer or memoryview(bytearray(CHUNK)), closed=self._count, linger=linger
        )
        self.relay.start()

    def _count(self) -> None:
        self.closed += 1

    def close(self) -> None:
        self.relay.close()
        self.client.close()
        self.upstream.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def wired(stack: ExitStack, **options: Any) -> Wire:
    wire = Wire(**options)
    stack.callback(wire.close)
    return wire


async def drain(end: socket.socket) -> bytes:
    got, loop = bytearray(), asyncio.get_running_loop()
    while piece := await loop.sock_recv(end, 65536):
        got += piece
    return bytes(got)


async def say(end: socket.socket, words: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(end, words)
    end.shutdown(socket.SHUT_WR)


async def test_relay_carries_large_streams_both_ways_at_once(stack: ExitStack) -> None:
    wire = wired(stack)
    there, back = os.urandom(24_000_001), os.urandom(16_000_003)
    _, _, got_there, got_back = await asyncio.gather(
        say(wire.client, there), say(wire.upstream, back), drain(wire.upstream), drain(wire.client)
    )
    assert hashlib.sha256(got_there).digest() == hashlib.sha256(there).digest()
    assert hashlib.sha256(got_back).digest() == hashlib.sha256(back).digest()
    await wait_until(lambda: wire.closed == 1)


async def test_relay_reads_no_more_than_the_other_side_takes(stack: ExitStack) -> None:
    wire = wired(stack)
    sent = 0
    while True:  # Nobody reads at the other end: two socket buffers and one chunk fit, and no more.
        try:
            sent += wire.client.send(bytes(65536))
        except BlockingIOError:
            before = sent
            for _ in range(10):
                await asyncio.sleep(0)
            try:
                sent += wire.client.send(bytes(65536))
            except BlockingIOError:
                if sent == before:
                    break
        assert sent < 16 * 1024 * 1024
    got = asyncio.ensure_future(drain(wire.upstream))
    wire.client.shutdown(socket.SHUT_WR)
    assert len(await got) == sent


async def test_relay_keeps_what_waits_apart_from_what_others_send(stack: ExitStack) -> None:
    """All relays of a loop share one buffer."""
    buffer = memoryview(bytearray(CHUNK))
    stuck, busy = wired(stack, buffer=buffer), wired(stack, buffer=buffer)
    words = os.urandom(4_000_000)
    sending = asyncio.ensure_future(say(stuck.client, words))
    await asyncio.sleep(0.05)  # Long enough to fill what there is room for.
    assert not sending.done()
    await asyncio.gather(say(busy.client, bytes(1_000_000)), drain(busy.upstream))
    got, _ = await asyncio.gather(drain(stuck.upstream), sending)
    assert got == words


async def test_relay_of_a_side_that_has_ended_does_not_look_at_it_again(stack: ExitStack) -> None:
    """The end would be ready to be read for ever, and the loop never idle."""
    wire = wired(stack)
    watched = asyncio.get_running_loop()._selector.get_map()  # type: ignore[attr-defined]
    assert len([fd for fd in watched if fd in wire.near]) == 2
    wire.client.shutdown(socket.SHUT_WR)
    assert await drain(wire.upstream) == b""
    assert len([fd for fd in watched if fd in wire.near]) == 1


async def test_relay_passes_the_end_of_one_direction_on_while_the_other_goes_on(stack: ExitStack) -> None:
    wire = wired(stack)
    await say(wire.client, b"question")
    assert await drain(wire.upstream) == b"question"
    answer = os.urandom(3_000_000)
    got, _ = await asyncio.gather(drain(wire.client), say(wire.upstream, answer))
    assert got == answer
    await wait_until(lambda: wire.closed == 1)


async def test_relay_ends_both_sides_when_one_breaks(stack: ExitStack) -> None:
    wire = wired(stack)
    await asyncio.get_running_loop().sock_sendall(wire.upstream, b"never read")
    await asyncio.sleep(0)
    wire.client.close()
    await asyncio.get_running_loop().sock_sendall(wire.upstream, b"more")
    await wait_until(lambda: wire.closed == 1)
    with pytest.raises(OSError, match=r"Connection reset|Broken pipe"):
        wire.upstream.send(b"x")


async def test_relay_delivers_what_was_sent_before_upstream_went_away(stack: ExitStack) -> None:
    wire = wired(stack)
    last = os.urandom(150_000)
    await asyncio.get_running_loop().sock_sendall(wire.upstream, last)
    wire.upstream.close()
    assert await drain(wire.client) == last


async def test_relay_gives_a_client_only_a_while_to_leave_after_upstream_has_ended(stack: ExitStack) -> None:
    wire = wired(stack, linger=0.05)
    wire.upstream.close()
    await wait_until(lambda: wire.closed == 1)


async def test_relay_leaves_no_descriptor_and_tells_its_end_once(stack: ExitStack) -> None:
    before = open_descriptors()
    for _ in range(50):
        wire = wired(stack)
        await say(wire.client, b"x")
        wire.relay.close()
        wire.relay.close()
        assert wire.closed == 1
        wire.close()
    assert open_descriptors() == before
