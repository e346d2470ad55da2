"""Room for history is found out before a deployment begins: enough is asked for, and not much more (T11)."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.unit.effects.mounts import mounted
from tests.unit.effects.past import commit, deploy, intent, put

from headgated.core.errors import DeploymentFailedError
from headgated.core.intent import Intent
from headgated.core.tree import EMPTY
from headgated.effects.history import History
from headgated.effects.history.room import LITTLE, RESERVE

ROOM = 100 * 1024 * 1024
WANTED: dict[str, dict[bytes, bytes | None]] = {
    "one large": {b"large": bytes(range(256)) * 40_000},
    "a hundred": {b"d%d/f%d" % (n % 7, n): os.urandom(20_000) for n in range(100)},
    "a page and a bit": {b"f%d" % n: os.urandom(4100) for n in range(1000)},
    "two thousand little ones": {b"d%d/f%d" % (n % 30, n): b"%d" % n * 20 for n in range(2000)},
}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of some hundred megabytes on a disk."""
    with (tmp_path / "image").open("wb") as image:
        image.truncate(ROOM)
    if subprocess.run(["mkfs.ext4", "-q", "-F", tmp_path / "image"], check=False).returncode:
        pytest.skip("cannot make an ext4 file system here")
    (tmp_path / "disk").mkdir()
    with mounted(tmp_path / "disk", "-o", "loop", tmp_path / "image"):
        yield tmp_path / "disk"


def free(directory: Path) -> int:
    there = os.statvfs(directory)
    return there.f_bavail * there.f_frsize


def leave(directory: Path, room: int) -> None:
    """Leave so many bytes free."""
    with (directory / "filler").open("ab") as file:
        while free(directory) > room:
            os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), min(free(directory) - room, 2**20))


def planned(wanted: Mapping[bytes, bytes | None]) -> Intent:
    return intent("deploy_prod_1", EMPTY, wanted)


def need(history: History, wanted: Mapping[bytes, bytes | None]) -> int:
    plan = planned(wanted)
    (need,) = history.make_sure_of_room(plan.changes, plan.managed_after).values()
    return need


@pytest.mark.root
@pytest.mark.parametrize("kind", WANTED)
def test_what_is_asked_for_is_enough_and_not_much_more(disk: Path, kind: str) -> None:
    wanted = WANTED[kind]
    history = History(disk / "history.db")
    before = free(disk)
    asked = need(history, wanted)
    commit(history, "deploy_prod_1", EMPTY, wanted)
    history.applied("deploy_prod_1")
    in_log = before - free(disk)
    history._database.checkpoint()
    taken = before - free(disk)
    history.close()
    assert taken > in_log
    assert taken <= asked - RESERVE
    assert asked - RESERVE <= (12 if "little" in kind else 2) * taken


@pytest.mark.root
@pytest.mark.parametrize("kind", WANTED)
def test_where_there_is_just_enough_room_it_is_deployed(disk: Path, kind: str) -> None:
    history = History(disk / "history.db")
    leave(disk, need(history, WANTED[kind]))
    deploy(history, "deploy_prod_1", WANTED[kind])
    history._database.checkpoint()
    assert history.verify() == []
    history.close()


@pytest.mark.root
def test_too_little_room_is_told_with_where_how_much_and_how_much_there_is(disk: Path) -> None:
    wanted = WANTED["one large"]
    history = History(disk / "history.db")
    leave(disk, 9_000_000)
    plan, there = planned(wanted), free(disk)
    with pytest.raises(DeploymentFailedError) as caught:
        history.make_sure_of_room(plan.changes, plan.managed_after)
    error = caught.value
    assert (error.reason, error.paths) == ("NO_SPACE", (str(disk),))
    assert str(disk) in error.message
    told = re.search(r"needs (\d+) bytes .* and (\d+) are free", error.message)
    assert told is not None
    assert 20_480_000 < int(told[1]) < 22_000_000
    assert int(told[2]) == there
    history.close()


@pytest.mark.root
def test_what_history_has_needs_no_room(disk: Path) -> None:
    """Found out only where room is little."""
    wanted = WANTED["one large"]
    history = History(disk / "history.db")
    put(history, wanted[b"large"] or b"")
    history._database.checkpoint()
    leave(disk, 2_000_000)
    assert need(history, wanted) < 2_000_000
    history.close()


@pytest.mark.root
def test_log_that_is_written_over_needs_no_room(disk: Path) -> None:
    history = History(disk / "history.db")
    deploy(history, "deploy_prod_1", WANTED["one large"])
    history._database.checkpoint()
    wanted: dict[bytes, bytes | None] = {b"large": bytes(range(256))[::-1] * 40_000}
    leave(disk, need(history, wanted) * 6 // 10)
    assert need(history, wanted) < free(disk)
    deploy(history, "deploy_prod_2", wanted, sequence=2)
    history._database.checkpoint()
    assert history.verify() == []
    history.close()


def test_what_is_little_is_not_asked_about(tmp_path: Path) -> None:
    history = History(tmp_path / "history.db")
    plan = planned({b"f": bytes(LITTLE // 2)})
    assert history.make_sure_of_room(plan.changes, plan.managed_after) == {}
    plan = planned({b"f": bytes(LITTLE * 2)})
    assert list(history.make_sure_of_room(plan.changes, plan.managed_after)) == [tmp_path.stat().st_dev]
    history.close()
