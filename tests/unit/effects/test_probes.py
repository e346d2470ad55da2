"""What a probe makes of a service: well, ill, silent, or one that keeps it waiting."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from headgated.core.commands import Command, Commands, Probe
from headgated.effects.commands import CommandRunner
from headgated.effects.probes import Prober

PROBER = Prober(CommandRunner(scoped=False))


def why(probe: Probe, at_most: float = 20.0, commands: Commands | None = None) -> str:
    """Return why it is not well."""
    return PROBER.look(probe, commands or Commands(), {}, at_most)[0]


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Have somebody listen and deal with one connection; yields the address."""

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(4096)
            answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        thread.join(30)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.0 204\r\n", ""),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", ""),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "the answer was 404"),
        (b"HTTP/1.1 503 x\n", "the answer was 503"),
        (b"220 mail ESMTP\r\n", "the answer is not HTTP"),
        (b"x" * 10_000, "the answer is not HTTP"),
        (b"", "it closed the connection without an answer"),
    ],
)
def test_answer_over_http_is_told_by_its_status(said: bytes, told: str) -> None:
    with server(lambda connection: connection.sendall(said)) as address:
        assert why(Probe("p", http=f"http://{address}/")) == told


def test_server_that_trickles_is_waited_for_no_longer_than_one_look() -> None:
    over = threading.Event()

    def trickle(connection: socket.socket) -> None:
        with suppress(OSError):  # It has gone.
            while not over.wait(0.05):
                connection.sendall(b"H")

    with server(trickle) as address:
        began = time.monotonic()
        assert why(Probe("p", http=f"http://{address}/", timeout=0.5)) == "no answer in time"
        took = time.monotonic() - began
    over.set()
    assert took < 10


def test_what_is_left_of_the_deadline_ends_a_command() -> None:
    commands = Commands(commands={"hangs": Command("hangs", ("sleep", "60"))})
    began = time.monotonic()
    assert "time limit" in why(Probe("p", command="hangs"), 0.5, commands)
    assert time.monotonic() - began < 20


def test_what_is_left_of_the_deadline_ends_a_connection() -> None:
    over = threading.Event()

    def say_nothing(_connection: socket.socket) -> None:
        over.wait(30)

    with server(say_nothing) as address:
        assert why(Probe("p", http=f"http://{address}/", timeout=60), 0.3) == "no answer in time"
        over.set()


def test_port_where_nobody_listens_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert why(Probe("p", tcp=f"127.0.0.1:{port}")) == ""
    assert why(Probe("p", tcp=f"127.0.0.1:{port}")) == "connection refused"
