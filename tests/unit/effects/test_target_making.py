"""Files that are made ahead are handed out in order; an error comes when it is its file's turn, and nothing stays open."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.effects.faults import DeadError, Fault, Faulty
from tests.unit.effects.world import TOKEN, F, World, build, look, planned, reader

from headgated.core.errors import DeploymentFailedError
from headgated.effects.target import Target
from headgated.effects.target.acts import Acts
from headgated.effects.target.making import Files

NAMES = [b"a", b"b", b"c"]


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("ahead", [False, True])
def test_files_come_in_order(directory: int, tmp_path: Path, *, ahead: bool) -> None:
    files = Files(Acts(), [(directory, name) for name in NAMES], ahead=ahead)
    for name in NAMES:
        descriptor = files.take()
        assert os.path.samestat(os.fstat(descriptor), os.stat(tmp_path / os.fsdecode(name)))
        os.close(descriptor)
    files.close()


@pytest.mark.parametrize("ahead", [False, True])
def test_error_comes_when_it_is_its_turn(directory: int, tmp_path: Path, *, ahead: bool) -> None:
    (tmp_path / "b").touch()
    before = open_files()
    files = Files(Acts(), [(directory, name) for name in NAMES], ahead=ahead)
    os.close(files.take())
    for _ in range(2):
        with pytest.raises(FileExistsError):
            files.take()
    files.close()
    assert not (tmp_path / "c").exists()
    assert open_files() == before


@pytest.mark.parametrize("ahead", [False, True])
def test_what_is_not_taken_is_closed(directory: int, *, ahead: bool) -> None:
    before = open_files()
    files = Files(Acts(), [(directory, name) for name in NAMES], ahead=ahead)
    os.close(files.take())
    files.close()
    assert open_files() == before


class OneAtATime(Acts):
    """Notices two files that are made at once."""

    def __init__(self) -> None:
        self._busy = threading.Lock()
        self.made: list[bytes] = []
        self.together = False

    def create(self, directory: int, name: bytes) -> int:
        self.together |= not self._busy.acquire(blocking=False)
        time.sleep(0.002)
        self.made.append(name)
        descriptor = super().create(directory, name)
        self._busy.release()
        return descriptor


def test_files_ahead_are_made_by_one_at_a_time(directory: int) -> None:
    acts, names = OneAtATime(), [b"%03d" % number for number in range(30)]
    first = Files(acts, [(directory, name) for name in names[:15]], ahead=True)
    second = Files(acts, [(directory, name) for name in names[15:]], ahead=True, after=first)
    for files in (first, second):
        files.close()
    assert acts.made == names
    assert not acts.together


MANY: World = {b"f%03d" % number: F(b"%d" % number) for number in range(100)}


@pytest.mark.parametrize("at", range(1, 300, 13))
def test_failed_staging_of_many_leaves_nothing(tmp_path: Path, at: int) -> None:
    """Whichever act fails, and however far ahead files were made by then."""
    target = Target(str(tmp_path), acts=Faulty(fault=Fault(at=at, code=5)))
    plan = planned(target, {}, MANY)
    before = open_files()
    with pytest.raises(DeploymentFailedError, match=r"cannot stage|cannot sync") as caught:
        target.stage(plan, reader(MANY))
    assert caught.value.reason == "IO_ERROR"
    assert look(tmp_path) == {}
    assert open_files() == before


def test_error_of_a_file_made_ahead_names_it(tmp_path: Path) -> None:
    acts = Faulty()
    target = Target(str(tmp_path), acts=acts)
    plan = planned(target, {}, MANY)
    token = plan[70].temp.rpartition(b"/")[2]  # type: ignore[union-attr]
    (tmp_path / os.fsdecode(token)).touch()
    with pytest.raises(DeploymentFailedError) as caught:
        target.stage(plan, reader(MANY))
    assert caught.value.paths == ("f070",)


@pytest.mark.parametrize("at", [1, 17, 50, 150, 299])
def test_what_a_kill_leaves_of_many_is_swept(tmp_path: Path, at: int) -> None:
    target = Target(str(tmp_path), acts=Faulty(fault=Fault(at=at, dead=True)))
    plan = planned(target, {}, MANY)
    with pytest.raises(DeadError):
        target.stage(plan, reader(MANY))
    Target(str(tmp_path)).sweep([b""], TOKEN)
    assert look(tmp_path) == {}


@pytest.mark.parametrize("at", [1, 10, 50, 99])
def test_what_a_kill_leaves_of_many_removals_is_removed_later(tmp_path: Path, at: int) -> None:
    build(tmp_path, MANY)
    acts = Faulty()
    target = Target(str(tmp_path), acts=acts)
    plan = planned(target, MANY, {})
    target.stage(plan, reader({}))
    target.apply(plan)
    acts.fault = Fault(len(acts.log) + at, dead=True)
    with pytest.raises(DeadError):
        target.finish(plan)
    assert Target(str(tmp_path)).recover(plan) is True
    assert look(tmp_path) == {}
