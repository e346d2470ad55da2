from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from headgated.api.probing import ask_health

SERVING, DOWN = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A server that answers for itself (well), `good` (well) and `bad` (not); by port and by socket."""
    server = grpc.server(ThreadPoolExecutor(2))
    servicer = health.HealthServicer()
    for name, status in (("", SERVING), ("good", SERVING), ("bad", DOWN)):
        servicer.set(name, status)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.add_insecure_port(f"unix:{tmp_path}/s")
    server.start()
    yield f"127.0.0.1:{port}", f"unix:{tmp_path}/s"
    server.stop(None).wait()


def test_serving_is_well(served: tuple[str, str]) -> None:
    port, path = served
    assert [ask_health(address, 5) for address in (port, f"{port}/good", path, f"{path}#good")] == [""] * 4


def test_what_is_not_serving_says_so(served: tuple[str, str]) -> None:
    port, path = served
    assert ask_health(f"{port}/bad", 5) == "it says NOT_SERVING"
    assert ask_health(f"{path}#nope", 5) == "it answers NOT_FOUND"


def test_nobody_there_is_told_in_time(tmp_path: Path) -> None:
    assert ask_health(f"unix:{tmp_path}/none", 5) in ("nobody answers", "no answer in time")


def test_silent_server_is_waited_for_no_longer_than_was_said_however_late_grpc_is(tmp_path: Path) -> None:
    code = f"""
import time
import grpc
from headgated.effects.patience import patient_threads
from headgated.api.probing import ask_health
with patient_threads(5):
    channel = grpc.insecure_channel("unix:{tmp_path}/none")  # gRPC makes its threads.
began = time.monotonic()
print(ask_health("unix:{tmp_path}/s", 0.5))
print(time.monotonic() - began < 2.5)
"""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{tmp_path}/s")
        listening.listen()
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert ran.stdout == "no answer in time\nTrue\n"
