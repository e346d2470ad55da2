"""Benchmark 6: reading through the door beside a bare echo, and a thousand watchers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc

from benchmarks import trees
from benchmarks.daemon import Daemon, wait_synced
from benchmarks.figures import Samples, percentile, text
from benchmarks.observing import Observer
from benchmarks.result import Result, Table
from benchmarks.setting import Setting
from headgate.v1 import deployment_pb2

TITLE = "API: reading, and watching"
HOW = """\
*GetDeployment* through the door beside a bare `grpc.aio` server in a process of its own that answers the same bytes to the same call; the client is the
same, calls of both alternate in blocks. *Watchers*: so many streams of all deployments from another process, while a file changes twice a second; from the
new bytes at the target to the arrival of its SUCCESS at each watcher."""

METHOD = "/headgate.v1.DeploymentService/GetDeployment"
DOOR, ECHO = "through the door", "bare grpc.aio echo"


def run(setting: Setting) -> Result:
    """Measure."""
    home = setting.fresh("api")
    samples = Samples()
    source, target = home / "source", home / "target"
    trees.grow(source, 10, 1024)
    file = source / trees.place(5)
    file.write_bytes(trees.hot(0))
    daemon = Daemon(home / "d")
    try:
        daemon.start()
        with daemon.client() as client:
            client.create_environment(
                "canal",
                type="testing",
                config_path=str(target),
                sources=[str(source)],
                variables={trees.VARIABLE: trees.VALUE},
            )
            wait_synced(client, "canal")
            record = next(client.list_deployments("canal"))
        setting.say("api: reading")
        _read(home, daemon, record.deployment_id, samples, rounds=5 if setting.quick else 15)
        watchers = 100 if setting.quick else 1_000
        setting.say(f"api: {watchers:,} watchers")
        delivery = _watch(
            daemon, file, target / file.relative_to(source), watchers, 10 if setting.quick else 30
        )
        memory = daemon.weigh().rss_mb
    finally:
        daemon.stop()
    return _result(samples, watchers, delivery, memory)


def _result(samples: Samples, watchers: int, delivery: list[float], memory: float) -> Result:
    result = Result("api", TITLE, HOW)
    heads = ["", "one caller, p50 (µs)", "p99 (µs)", "x echo", "16 callers (calls/s)", "x echo"]
    table = Table("GetDeployment", heads)
    for name in (ECHO, DOOR):
        table.row(
            name,
            text(samples.median(name)),
            text(samples.p99(name)),
            text(samples.ratio(name, ECHO)),
            text(samples.median(f"{name}/rate")),
            text(samples.ratio(f"{name}/rate", f"{ECHO}/rate")),
        )
    result.tables.append(table)
    watch = Table(f"Delivery to {watchers:,} watchers (milliseconds)", ["", "p50", "p99", "last"])
    watch.row("SUCCESS of a deployment", *(text(percentile(delivery, of)) for of in (50, 99, 100)))
    result.tables.append(watch)
    result.goal("GetDeployment through the door / bare aio echo", samples.ratio(DOOR, ECHO), 1.6)
    result.goal(f"delivery to {watchers:,} watchers, p99", percentile(delivery, 99) / 1e3, 1.0, "s")
    result.remarks.append(f"Memory of the daemon with {watchers:,} watchers: {text(memory)} MB.")
    return result


def _read(home: Path, daemon: Daemon, deployment_id: str, samples: Samples, rounds: int) -> None:
    request = deployment_pb2.GetDeploymentRequest(deployment_id=deployment_id).SerializeToString()
    with _call(daemon.address) as call:
        answer = call(request)
    with _echo(home, answer) as echo:
        addresses = {DOOR: daemon.address, ECHO: echo}
        for _ in range(rounds):
            for name, address in addresses.items():
                with _call(address) as call:
                    got = b""
                    for _ in range(20):
                        call(request)
                    for _ in range(200):
                        began = time.perf_counter()
                        got = call(request)
                        samples.add(name, (time.perf_counter() - began) * 1e6)
                    if got != answer:
                        raise RuntimeError(f"{name}: a wrong answer")
                samples.add(f"{name}/rate", asyncio.run(_rate(address, request)))


@contextlib.contextmanager
def _call(address: str) -> Iterator[grpc.UnaryUnaryMultiCallable[bytes, bytes]]:
    with grpc.insecure_channel(address) as channel:
        yield channel.unary_unary(METHOD)


async def _rate(address: str, request: bytes, callers: int = 16, calls: int = 100) -> float:
    """Return how many calls a second so many callers get answered together."""
    async with grpc.aio.insecure_channel(address) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)

        async def caller() -> None:
            for _ in range(calls):
                await call(request)

        await call(request)
        began = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(callers)))
        return callers * calls / (time.perf_counter() - began)


@contextlib.contextmanager
def _echo(home: Path, answer: bytes) -> Iterator[str]:
    address = f"unix:{home / 'e'}"
    with _beside("echo", address, answer.hex()) as process:
        if process.stdout is None or process.stdout.readline() != b"ready\n":
            raise RuntimeError("the echo did not start")
        yield address


def _watch(daemon: Daemon, file: Path, copy: Path, watchers: int, changes: int) -> list[float]:
    """Return milliseconds from the bytes at the target to SUCCESS at each watcher, for each change."""
    with (
        Observer([copy], trees.HOT_BYTES, rendered=True) as observer,
        _beside("watchers", daemon.address, str(watchers), str(changes)) as process,
    ):
        if process.stdout is None or process.stdout.readline() != b"ready\n":
            raise RuntimeError("the watchers did not get what is there now")
        seen = []
        for number in range(1, changes + 1):
            beside = file.parents[2] / "next"
            beside.write_bytes(trees.hot(number))
            beside.rename(file)
            seen.append(observer.wait(number))
            time.sleep(0.5)
        received: dict[str, list[int]] = json.loads(process.stdout.readline())
    rounds = sorted(received.values(), key=min)
    if [len(times) for times in rounds] != [watchers] * changes:
        raise RuntimeError(f"some watchers were not told: {[len(times) for times in rounds]}")
    return [(at - bytes_at) / 1e6 for bytes_at, times in zip(seen, rounds, strict=True) for at in times]


@contextlib.contextmanager
def _beside(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "benchmarks.beside", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.terminate()
