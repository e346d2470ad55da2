"""Requests bent out of shape and raw frames: the daemon never dies, hangs or forgets itself, and writes nowhere else.

A share runs in CI; `make torture` sends 100 times TIMES.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from tests.e2e.harness import Daemon, tree_of
from tests.torture import fuzzing
from tests.torture.killing import FAST
from tests.torture.scale import times

from headgate import Client
from headgate.errors import HeadgateError

pytestmark = [pytest.mark.torture, pytest.mark.slow, pytest.mark.timeout(100_000)]

AT_ONCE = 32
GROWTH = 48 * 1024 * 1024
"""Bytes by which memory may have grown after the first fifth; a leak of 1 KiB a request would be 80 MiB of 100,000."""
UNFORESEEN = {
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    home = Path(tempfile.mkdtemp(prefix="hg-fuzz-", dir=FAST if FAST.is_dir() else None))
    for name in ("sources/web", "targets", "outside"):
        (home / name).mkdir(parents=True)
    (home / "sources" / "web" / "app.conf").write_text("one\n")
    (home / "outside" / "precious").write_text("precious\n")
    config = f"""
        [roots]
        sources = ["{home}/sources"]
        targets = ["{home}/targets"]
        [audit]
        max_size = "256KiB"
        keep = 4
    """
    daemon = Daemon(home, config)
    try:
        yield daemon.start()
        assert daemon.stop() == 0, daemon.log()[-3000:]
    finally:
        daemon.kill()
        shutil.rmtree(home, ignore_errors=True)


class Storm:
    """Sends, and keeps count of what comes back."""

    def __init__(self, daemon: Daemon, seed: int) -> None:
        self._daemon, self._dice = daemon, random.Random(seed)
        self.codes: Counter[grpc.StatusCode] = Counter()
        self.frames = 0
        self.surprises: list[str] = []

    async def blow(self, count: int) -> None:
        """Send so many requests, a frame storm with every tenth, several at once, over fresh channels now and then."""
        for first in range(0, count, 1000):
            async with grpc.aio.insecure_channel(f"unix:{self._daemon.socket}") as channel:
                waiting = iter(range(min(1000, count - first)))
                await asyncio.gather(*(self._send(channel, waiting) for _ in range(AT_ONCE)))

    async def _send(self, channel: Any, waiting: Iterator[int]) -> None:
        for number in waiting:
            if number % 10 == 0:
                await self._send_frames()
                continue
            method = fuzzing.method(self._dice)
            raw = fuzzing.request(self._dice, method)
            self.codes[await self._outcome(channel, method, raw)] += 1

    async def _outcome(self, channel: Any, method: str, raw: bytes) -> grpc.StatusCode:
        streams = "/Watch" in method or "/Export" in method
        path = f"/headgate.v1.{method}"
        try:
            if not streams:
                await channel.unary_unary(path)(raw, timeout=60)
                return grpc.StatusCode.OK
            call = channel.unary_stream(path)(raw, timeout=60)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    async for _ in call:
                        pass
            call.cancel()
        except grpc.aio.AioRpcError as error:
            if error.code() in UNFORESEEN:
                self.surprises.append(f"{method} {raw!r}: {error.code()} {error.details()}")
            return error.code()
        return grpc.StatusCode.OK

    async def _send_frames(self) -> None:
        self.frames += 1
        reader, writer = await asyncio.open_unix_connection(self._daemon.socket)
        with contextlib.suppress(ConnectionError, TimeoutError):
            writer.write(fuzzing.frames(self._dice))
            async with asyncio.timeout(0.02):
                await reader.read(65536)
        writer.close()


def restored(daemon: Daemon) -> None:
    """Have the environment there that requests name; the storm deletes it now and then. Also shows that others are served."""
    with daemon.client() as client:
        names = [environment.name for environment in client.list_environments()]
        if "web" not in names:
            create(client, daemon)
        for name in set(names) - {"web"}:
            client.delete_environment(name)


def create(client: Client, daemon: Daemon) -> None:
    home = daemon.home
    with contextlib.suppress(HeadgateError):  # The storm has made one with that target.
        client.create_environment(
            "web", type="testing", config_path=f"{home}/targets/web", sources=[f"{home}/sources/web"]
        )


def test_mutated_requests_and_frames_do_no_harm(daemon: Daemon) -> None:
    count = times(15) * 100
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}, {count} requests and frames")  # noqa: T201 - figures for whoever runs it
    storm = Storm(daemon, seed)
    assert daemon.process is not None
    process = psutil.Process(daemon.process.pid)
    kept, sources = tree_of(daemon.home / "outside"), tree_of(daemon.home / "sources")
    step, warm = max(count // 10, 1), 0
    for part in range(10):
        restored(daemon)
        asyncio.run(storm.blow(step))
        assert storm.surprises == [], "\n".join([*storm.surprises, daemon.log()[-6000:]])
        if part == 1:
            warm = process.memory_info().rss
    assert daemon.process.poll() is None, daemon.log()[-3000:]
    restored(daemon)
    grown = process.memory_info().rss - warm
    shown = {code.name: number for code, number in storm.codes.most_common()}
    print(  # noqa: T201 - as above
        f"{storm.codes.total()} requests {shown}, {storm.frames} frame storms, {grown / 2**20:.1f} MiB grown"
    )
    assert grown < GROWTH
    assert tree_of(daemon.home / "outside") == kept
    assert tree_of(daemon.home / "sources") == sources
    expected = {"sources", "targets", "outside", "state", "s", "headgated.toml", "log"}
    assert {path.name for path in daemon.home.iterdir()} == expected
    assert "Traceback" not in daemon.log()
    with daemon.client() as client:
        assert list(client.verify_audit().damages) == []
        assert client.verify_history().damages == []
