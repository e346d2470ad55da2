from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.api.conftest import open_descriptors, wait_until

from headgated.api.door import Door, DoorLimits
from headgated.api.listener import Listener
from headgated.core.errors import ForbiddenError


class Echo:
    """What is behind the door: repeats what it hears, and keeps whom it heard it from."""

    def __init__(self) -> None:
        self.peers: list[str] = []
        self.tasks: set[asyncio.Task[None] | None] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.add(asyncio.current_task())
        name = writer.get_extra_info("peername")
        self.peers.append("unix-abstract:" + name.decode().removeprefix("\0"))
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
        writer.close()


Doors = Callable[..., tuple[Door, Echo]]


@pytest.fixture
async def doors(short_dir: Path) -> AsyncIterator[Doors]:
    """Makes doors; ends them, and checks that nothing is left."""
    opened, before = [], open_descriptors()
    echo = Echo()
    behind = await asyncio.start_unix_server(echo, short_dir / "private")

    def make(**limits: Any) -> tuple[Door, Echo]:
        door = Door(Listener.bind(short_dir / "s"), short_dir / "private", limits=DoorLimits(**limits))
        door.open()
        opened.append(door)
        return door, echo

    yield make
    for door in opened:
        await door.empty(0.1)
        assert door.connections == 0
    behind.close()
    await wait_until(lambda: all(task is None or task.done() for task in echo.tasks))
    await wait_until(lambda: open_descriptors() <= before)
    assert not (short_dir / "s").exists()


async def enter(short_dir: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(short_dir / "s")


async def echoed(short_dir: Path, words: bytes) -> bytes:
    reader, writer = await enter(short_dir)
    writer.write(words)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def turned_away(short_dir: Path) -> bool:
    reader, writer = await enter(short_dir)
    writer.write(b"x")
    try:
        answer = await asyncio.wait_for(reader.read(1), 5)
    except ConnectionError:
        answer = b""
    writer.close()
    return not answer


async def test_door_lets_bytes_through_and_knows_who_sent_them(doors: Doors, short_dir: Path) -> None:
    door, echo = doors()
    words = os.urandom(1_000_000)
    assert await echoed(short_dir, words) == words
    caller = door.caller_of(echo.peers[0])
    assert (caller.uid, caller.gid, caller.pid) == (os.getuid(), os.getgid(), os.getpid())
    assert caller.user == "root" or os.getuid() != 0


async def test_door_knows_nobody_who_did_not_come_through_it(doors: Doors) -> None:
    door, _ = doors()
    with pytest.raises(ForbiddenError):
        door.caller_of("unix:")


async def test_door_gives_each_connection_a_name_of_its_own(doors: Doors, short_dir: Path) -> None:
    _, echo = doors()
    await asyncio.gather(*(echoed(short_dir, b"x") for _ in range(50)))
    assert len(set(echo.peers)) == 50


async def test_door_closes_a_silent_client_which_meanwhile_costs_one_descriptor(
    doors: Doors, short_dir: Path
) -> None:
    door, echo = doors(first_bytes=0.2)
    before = open_descriptors()
    reader, writer = await enter(short_dir)
    await wait_until(lambda: door.connections == 1)
    assert open_descriptors() == before + 2  # The client's end is in this process too.
    assert await reader.read() == b""
    assert echo.peers == []
    assert door.connections == 0
    writer.close()


async def test_door_bothers_nobody_for_a_client_that_only_looks_whether_it_is_there(
    doors: Doors, short_dir: Path
) -> None:
    door, echo = doors()
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(short_dir / "s"))
    assert await echoed(short_dir, b"real") == b"real"
    await wait_until(lambda: door.connections == 0)
    assert len(echo.peers) == 1


async def test_door_turns_away_what_is_beyond_a_users_share_and_says_so_once(
    doors: Doors, short_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    door, _ = doors(connections=100, per_user=3)
    kept = [await enter(short_dir) for _ in range(3)]
    for reader, writer in kept:
        writer.write(b"x")
        assert await reader.read(1) == b"x"
    with caplog.at_level(logging.WARNING):
        assert all([await turned_away(short_dir) for _ in range(5)])
    assert len(caplog.records) == 1
    assert f"uid {os.getuid()}" in caplog.text
    kept[0][1].close()
    await wait_until(lambda: door.connections == 2)
    assert await echoed(short_dir, b"room again") == b"room again"
    for _, writer in kept:
        writer.close()


async def test_door_turns_away_what_is_beyond_its_own_limit(doors: Doors, short_dir: Path) -> None:
    door, _ = doors(connections=4, per_user=100, reserved=0)
    kept = [await enter(short_dir) for _ in range(4)]
    await wait_until(lambda: door.connections == 4)
    assert await turned_away(short_dir)
    for _, writer in kept:
        writer.close()


async def test_door_survives_running_out_of_descriptors(
    doors: Doors, short_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    doors()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(short_dir / "s"))
        client.sendall(b"still there")
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            await wait_until(lambda: "cannot accept a connection" in caplog.text)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        client.settimeout(0)
        assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 100), 5) == b"still there"
    assert len(caplog.records) <= 3


async def test_door_with_nobody_behind_it_closes_its_clients(short_dir: Path) -> None:
    door = Door(Listener.bind(short_dir / "s"), short_dir / "nobody", limits=DoorLimits())
    door.open()
    assert await turned_away(short_dir)
    await door.empty(0.1)


async def test_door_gives_clients_time_to_leave_and_then_none(doors: Doors, short_dir: Path) -> None:
    door, _ = doors()
    reader, writer = await enter(short_dir)
    writer.write(b"x")
    assert await reader.read(1) == b"x"
    await door.empty(0.1)
    assert await reader.read() == b""
    writer.close()


async def test_door_that_is_shut_lets_nobody_in_and_nobody_is_thrown_out(
    doors: Doors, short_dir: Path
) -> None:
    door, _ = doors()
    reader, writer = await enter(short_dir)
    writer.write(b"x")
    assert await reader.read(1) == b"x"
    door.shut()
    with pytest.raises(OSError, match="No such file"):
        await enter(short_dir)
    writer.write(b"y")
    assert await reader.read(1) == b"y"
    writer.close()


def test_door_limits_fit_into_the_descriptors_that_there_are() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
        few = DoorLimits.within_descriptors()
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
        many = DoorLimits.within_descriptors()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert 3 * few.connections <= 512
    assert few.per_user + few.reserved <= few.connections
    assert many == DoorLimits()
