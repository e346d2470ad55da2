from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import pytest

from headgated.effects.systemd import notify, take_passed, watchdog_seconds


def test_notify_sends_its_lines_as_one_datagram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "n"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "n"))
        assert notify("READY=1", "STATUS=well")
        assert manager.recv(100) == b"READY=1\nSTATUS=well"


def test_notify_reaches_an_abstract_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"headgate-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        assert notify("READY=1")
        assert manager.recv(100) == b"READY=1"


def test_notify_is_quiet_where_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    assert not notify("READY=1")


def test_notify_does_not_wait_for_a_manager_that_does_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "n"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as others:
            with contextlib.suppress(BlockingIOError):
                while True:
                    others.sendto(b"x", str(tmp_path / "n"))
            monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "n"))
            assert not notify("STATUS=nobody hears")


def test_passed_sockets_are_taken_once_and_not_told_to_children() -> None:
    told = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b", "HOME": "/"}
    assert take_passed(told) == [3, 4]
    assert told == {"HOME": "/"}
    assert take_passed(told) == []


@pytest.mark.parametrize(
    "told",
    [{}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_FDS": "1"}, {"LISTEN_PID": str(os.getpid())}],
)
def test_sockets_that_were_passed_to_another_process_are_not_taken(told: dict[str, str]) -> None:
    assert take_passed(told) == []


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ({"WATCHDOG_USEC": "1500000"}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "often"}, None),
        ({}, None),
    ],
)
def test_watchdog_period_is_the_one_meant_for_us(told: dict[str, str], seconds: float | None) -> None:
    assert watchdog_seconds(told) == seconds
