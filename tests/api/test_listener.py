from __future__ import annotations

import grp
import os
import socket
import stat
from pathlib import Path

import pytest

from headgated.api.listener import Listener
from headgated.core.errors import RefusedError


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def reaches(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def test_listener_has_its_mode_whatever_the_umask_is(short_dir: Path) -> None:
    path = short_dir / "s"
    before = os.umask(0)
    try:
        listener = Listener.bind(path, mode=0o660)
    finally:
        os.umask(before)
    assert mode_of(path) == 0o660
    assert reaches(path)
    assert os.listdir(short_dir) == ["s"]
    listener.close()
    assert os.listdir(short_dir) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a socket to another group")
def test_listener_belongs_to_its_group(short_dir: Path) -> None:
    group = next(group for group in grp.getgrall() if group.gr_gid not in (0, os.getegid()))
    for wanted in (group.gr_name, group.gr_gid):
        listener = Listener.bind(short_dir / "s", group=wanted)
        assert (short_dir / "s").lstat().st_gid == group.gr_gid
        listener.close()


def test_listener_refuses_an_unknown_group_and_leaves_nothing(short_dir: Path) -> None:
    with pytest.raises(RefusedError, match="no such group") as refused:
        Listener.bind(short_dir / "s", group="no-such-group-here")
    assert refused.value.reason == "GROUP_UNKNOWN"
    assert os.listdir(short_dir) == []


def test_listener_replaces_a_dead_socket(short_dir: Path) -> None:
    path = short_dir / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    assert not reaches(path)
    listener = Listener.bind(path)
    assert reaches(path)
    listener.close()


def test_listener_refuses_to_replace_a_live_socket(short_dir: Path) -> None:
    path = short_dir / "s"
    first = Listener.bind(path)
    with pytest.raises(RefusedError, match="a program listens there already") as refused:
        Listener.bind(path)
    assert refused.value.reason == "SOCKET_IN_USE"
    assert refused.value.hint
    assert reaches(path)
    assert os.listdir(short_dir) == ["s"]
    first.close()


def test_listener_refuses_to_replace_a_live_socket_of_another_kind(short_dir: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(short_dir / "s"))
        with pytest.raises(RefusedError, match="listens there already"):
            Listener.bind(short_dir / "s")


def test_listener_refuses_to_replace_a_live_socket_whose_queue_is_full(short_dir: Path) -> None:
    path = short_dir / "s"
    with (
        socket.socket(socket.AF_UNIX) as busy,
        socket.socket(socket.AF_UNIX) as first,
        socket.socket(socket.AF_UNIX) as second,
    ):
        busy.bind(str(path))
        busy.listen(0)
        for client in (first, second):
            client.settimeout(0)
            client.connect_ex(str(path))
        with pytest.raises(RefusedError, match="listens there already"):
            Listener.bind(path)


@pytest.mark.parametrize("what", ["file", "directory", "link", "dangling"])
def test_listener_refuses_to_replace_what_is_no_socket(short_dir: Path, what: str) -> None:
    path = short_dir / "s"
    if what == "file":
        path.write_text("precious")
    elif what == "directory":
        path.mkdir()
    else:
        path.symlink_to(short_dir if what == "link" else "nowhere")
    before = path.lstat().st_ino
    with pytest.raises(RefusedError, match="not a socket") as refused:
        Listener.bind(path)
    assert refused.value.reason == "SOCKET_PATH_TAKEN"
    assert path.lstat().st_ino == before


def test_listener_takes_the_longest_path_and_refuses_a_longer_one(short_dir: Path) -> None:
    room = 107 - len(str(short_dir)) - 1
    longest = short_dir / ("n" * room)
    listener = Listener.bind(longest)
    assert reaches(longest)
    listener.close()
    with pytest.raises(RefusedError, match=r"108 bytes, at most 107") as refused:
        Listener.bind(short_dir / ("n" * (room + 1)))
    assert refused.value.reason == "SOCKET_PATH_TOO_LONG"


def test_listener_in_a_missing_directory_says_so(short_dir: Path) -> None:
    with pytest.raises(RefusedError, match="No such file or directory") as refused:
        Listener.bind(short_dir / "missing" / "s")
    assert refused.value.hint == "create the directory first"


def test_listener_removes_its_name_only_while_it_is_its_own(short_dir: Path) -> None:
    path = short_dir / "s"
    first = Listener.bind(path)
    path.unlink()
    second = Listener.bind(path)
    first.close()
    assert reaches(path)
    second.close()
    first.close()
    assert os.listdir(short_dir) == []


def test_listener_adopts_a_passed_socket_and_leaves_its_name(short_dir: Path) -> None:
    path = short_dir / "s"
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
        made.listen()
        passed = os.dup(made.fileno())
    os.set_inheritable(passed, True)  # noqa: FBT003 - its signature
    listener = Listener.adopt(passed)
    assert not os.get_inheritable(passed)
    assert not listener.socket.getblocking()
    assert reaches(path)
    listener.close()
    assert path.exists()


@pytest.mark.parametrize("kind", ["closed", "file", "not listening", "datagram", "internet"])
def test_listener_refuses_to_adopt_what_is_no_listening_unix_socket(short_dir: Path, kind: str) -> None:
    made = {
        "file": lambda: os.open(short_dir, os.O_RDONLY),
        "not listening": lambda: socket.socket(socket.AF_UNIX).detach(),
        "datagram": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).detach(),
        "internet": lambda: socket.create_server(("127.0.0.1", 0)).detach(),
    }
    descriptor = made[kind]() if kind in made else 999
    with pytest.raises(RefusedError) as refused:
        Listener.adopt(descriptor)
    assert refused.value.reason == "SOCKET_NOT_PASSED"
    if kind in made:
        os.close(descriptor)
