"""Which socket is used, and why nobody answers there."""

from __future__ import annotations

import grp
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headgate.address import SYSTEM_SOCKET, Address
from headgate.errors import ForbiddenError, InvalidRequestError, UnreachableError


@pytest.mark.parametrize(
    "given", ["/run/x.sock", "unix:/run/x.sock", "unix:///run/x.sock", "/run/../run/x.sock"]
)
def test_address_given_is_a_path_plain_or_with_its_scheme(given: Any) -> None:
    assert Address.find(given, {"HEADGATE_ADDRESS": "/other"}).path == "/run/x.sock"


def test_relative_address_is_taken_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Address.find("x.sock", {}).path == str(tmp_path / "x.sock")


def test_address_comes_from_the_environment_before_the_defaults() -> None:
    assert Address.find(None, {"HEADGATE_ADDRESS": "unix:/run/y.sock"}).path == "/run/y.sock"
    assert Address.find("", {"HEADGATE_ADDRESS": ""}).path == SYSTEM_SOCKET


def test_user_socket_is_used_where_it_is_there_and_the_system_one_is_not(tmp_path: Path) -> None:
    own = tmp_path / "headgate" / "headgate.sock"
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    assert Address.find(None, environ).path == SYSTEM_SOCKET
    own.parent.mkdir()
    own.touch()
    expected = SYSTEM_SOCKET if os.path.lexists(SYSTEM_SOCKET) else str(own)
    assert Address.find(None, environ).path == expected


@pytest.mark.parametrize(
    "given",
    ["localhost:4711", "http://x/y", "dns:///x", "unix-abstract:x", "unix:", "/a\0b", "/" + "x" * 107],
)
def test_address_that_cannot_be_is_refused(given: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        Address.find(given, {})
    assert caught.value.faults[0].field == "address"


def test_address_of_the_variable_that_cannot_be_names_the_variable() -> None:
    with pytest.raises(InvalidRequestError, match="HEADGATE_ADDRESS"):
        Address.find(None, {"HEADGATE_ADDRESS": "host:1"})


def test_target_is_a_uri() -> None:
    assert Address("/run/x.sock").target == "unix:/run/x.sock"
    assert Address("/run/a b%#ü.sock").target == "unix:/run/a%20b%25%23%C3%BC.sock"


def test_missing_socket_means_that_the_daemon_is_not_running(socket_path: Path) -> None:
    trouble = Address(str(socket_path), "from HEADGATE_ADDRESS").trouble()
    assert isinstance(trouble, UnreachableError)
    assert "there is no such socket: the daemon is not running" in trouble.message
    assert trouble.hint.startswith("systemctl start headgated")
    assert "(from HEADGATE_ADDRESS)" in trouble.message


def test_socket_that_nobody_listens_on_means_that_the_daemon_has_stopped(socket_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(socket_path))
    trouble = Address(str(socket_path)).trouble()
    assert isinstance(trouble, UnreachableError)
    assert "nobody listens on it" in trouble.message


def test_file_that_is_no_socket_is_told_apart(socket_path: Path) -> None:
    socket_path.touch()
    assert "nobody listens" in Address(str(socket_path)).trouble().message


def test_listening_socket_that_does_not_answer_says_what_was_seen(socket_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(socket_path))
        listening.listen()
        trouble = Address(str(socket_path)).trouble("it talks nonsense")
    assert "it talks nonsense" in trouble.message


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
@pytest.mark.parametrize("where", ["socket", "directory"])
def test_socket_that_the_caller_may_not_use_names_the_group_that_may(short_path: Path, where: Any) -> None:
    """A1."""
    gid = next(each.gr_gid for each in grp.getgrall() if each.gr_name == "adm")
    path = short_path / "in" / "headgate.sock"
    path.parent.mkdir()
    short_path.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        guarded = path if where == "socket" else path.parent
        os.chown(guarded, 0, gid)
        guarded.chmod(0o770)
        code = (
            "import json, os, sys; from headgate.address import Address;"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534);"
            "t = Address(sys.argv[1]).trouble();"
            "print(json.dumps([type(t).__name__, t.reason, t.message, t.hint]))"
        )
        said = subprocess.check_output([sys.executable, "-c", code, str(path)])
    kind, reason, message, hint = json.loads(said)
    assert (kind, reason) == (ForbiddenError.__name__, "SOCKET_FORBIDDEN")
    assert "you may not use this socket" in message
    assert "(adm)" in hint
