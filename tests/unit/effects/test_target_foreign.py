"""What somebody else writes is never lost, whenever he writes it (T4, T5, T6)."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from headgated.core.errors import DeploymentFailedError, TargetMovedError
from headgated.core.steps import Step
from headgated.effects.target import Target
from tests.unit.effects.faults import DeadError, Fault, Faulty
from tests.unit.effects.world import D, F, L, Thing, World, build, changes, look, planned, reader

BEFORE: World = {
    b"app.conf": F(b"old", 0o640),
    b"link": L(b"app.conf"),
    b"gone": F(b"to be removed"),
    b"was-dir": D(),
    b"was-dir/x": F(b"x"),
    b"was-file": F(b"was a file"),
    b"empties": D(),
    b"empties/last": F(b"last"),
    b"opens": D(0o700),
    b"opens/in": F(b"in"),
}
AFTER: World = {
    b"app.conf": F(b"new content", 0o600),
    b"link": L(b"elsewhere"),
    b"was-dir": F(b"a file now"),
    b"was-file": D(),
    b"was-file/new": F(b"new"),
    b"opens": D(0o755),
    b"opens/in": F(b"in!"),
    b"fresh": F(b"fresh"),
    b"tree": D(),
    b"tree/deep": D(0o750),
    b"tree/deep/leaf": F(b"leaf"),
}
MINE = b"somebody's own words"


@pytest.fixture
def root(swift: Path) -> Path:
    build(swift / "t", BEFORE)
    return swift / "t"


def top(path: bytes) -> bytes:
    return path.split(b"/")[0]


def without(world: World, *paths: bytes) -> dict[bytes, Thing]:
    return {path: thing for path, thing in world.items() if top(path) not in {top(other) for other in paths}}


def kept(root: Path) -> dict[bytes, Thing]:
    return {path: thing for path, thing in look(root).items() if b".headgate-kept-" in path}


def temporaries(root: Path) -> list[bytes]:
    return [path for path in look(root) if b".headgate-" in path and b".headgate-kept-" not in path]


class Intruder:
    """Changes things at a target as an administrator would, and remembers what he wrote."""

    def __init__(self, root: Path, chance: random.Random) -> None:
        self.root, self.chance = os.fsencode(root), chance
        self.touched: set[bytes] = set()
        self.written: dict[bytes, bytes] = {}

    def act(self) -> None:
        path = self.chance.choice(sorted(BEFORE.keys() | AFTER.keys()))
        at = os.path.join(self.root, path)
        acts = [self.replace, self.remove, self.make_directory, self.write_in_place, self.add_beside]
        parents = os.path.join(self.root, os.path.dirname(path))
        if not os.path.isdir(parents) or os.path.islink(parents):
            return
        self.chance.choice(acts)(at)
        self.touched.add(top(path))

    def _write(self, at: bytes) -> None:
        words = b"%s %d" % (MINE, self.chance.getrandbits(64))
        with open(at, "wb") as file:
            file.write(words)
        self.written[at] = words

    def _forget(self, at: bytes) -> None:
        for other in [other for other in self.written if other == at or other.startswith(at + b"/")]:
            del self.written[other]

    def remove(self, at: bytes) -> None:
        self._forget(at)
        if os.path.isdir(at) and not os.path.islink(at):
            shutil.rmtree(at)
        elif os.path.lexists(at):
            os.unlink(at)

    def replace(self, at: bytes) -> None:
        """As an editor does."""
        self.remove(at)
        self._write(at + b".mine")
        os.rename(at + b".mine", at)
        self.written[at] = self.written.pop(at + b".mine")

    def write_in_place(self, at: bytes) -> None:
        if os.path.islink(at) or os.path.isdir(at):
            self.remove(at)
        self._write(at)

    def make_directory(self, at: bytes) -> None:
        self.remove(at)
        os.mkdir(at)
        self._write(at + b"/inside")

    def add_beside(self, at: bytes) -> None:
        if os.path.isdir(at) and not os.path.islink(at):
            self._write(at + b"/more")

    def check(self) -> None:
        """Whatever he wrote last at each place is still somewhere."""
        there = {thing.content for thing in look(Path(os.fsdecode(self.root))).values() if isinstance(thing, F)}
        lost = {at: words for at, words in self.written.items() if words not in there}
        assert not lost


@pytest.mark.parametrize("way", ["exchange", "links"])
@pytest.mark.parametrize("seed", range(8))
def test_nothing_is_lost_around_a_crash(swift: Path, seed: int, way: str) -> None:
    """Somebody changes things before we apply, or after we crashed, or both; then it is recovered."""
    outcomes = set()
    for number in range(40):
        chance = random.Random(f"{seed} {number}")
        root = swift / str(number)
        build(root, BEFORE)
        intruder = Intruder(root, chance)
        plan = planned(Target(str(root)), BEFORE, AFTER)
        acts = Faulty(flagged=way == "exchange")
        target = Target(str(root), acts=acts)
        target.stage(plan, reader(AFTER))
        for _ in range(chance.choice([0, 0, 1, 2])):
            intruder.act()
        acts.fault = Fault(len(acts.log) + chance.randint(1, 45 if way == "exchange" else 120), done=chance.random() < 0.5, dead=True)
        try:
            target.apply(plan)
            target.finish(plan)
            outcomes.add("applied")
            continue
        except TargetMovedError:
            outcomes.add("moved")
        except DeadError:
            for _ in range(chance.choice([0, 1, 3])):
                intruder.act()
            recover(root, plan, intruder, outcomes)
        intruder.check()
        notes = len(kept(root)) and "kept"
        outcomes.add(notes)
        assert temporaries(root) == []
    assert {"forward", "back"} <= outcomes


def recover(root: Path, plan: tuple[Step, ...], intruder: Intruder, outcomes: set[object]) -> None:
    notes: list[str] = []
    forward = Target(str(root)).recover(plan, notes)
    outcomes.add("forward" if forward else "back")
    there = without(look(root), *intruder.touched)
    there = {path: thing for path, thing in there.items() if b".headgate-kept-" not in path}
    assert there == without(AFTER if forward else BEFORE, *intruder.touched)
    assert sum("kept as" in note for note in notes) >= len({path for path in kept(root) if path.count(b"/") == 0})
    before = look(root)
    Target(str(root)).recover(plan)
    assert look(root) == before


EDITS: dict[str, tuple[bytes, Callable[[Path], object]]] = {
    "replaced": (b"app.conf", lambda path: path.unlink() or path.write_bytes(MINE)),
    "written in place": (b"app.conf", lambda path: path.write_bytes(MINE)),
    "same size and time": (b"app.conf", lambda path: rewrite_with_old_times(path, b"OLD")),
    "mode": (b"app.conf", lambda path: path.chmod(0o666)),
    "made a directory": (b"app.conf", lambda path: path.unlink() or path.mkdir()),
    "link": (b"link", lambda path: path.unlink() or path.symlink_to("mine")),
    "removed file": (b"gone", lambda path: path.write_bytes(MINE)),
    "in the way of a new file": (b"fresh", lambda path: path.write_bytes(MINE)),
    "in the way of a new directory": (b"tree", lambda path: path.mkdir()),
    "into a directory that goes": (b"was-dir", lambda path: (path / "mine").write_bytes(MINE)),
    "inside a directory that goes": (b"was-dir", lambda path: (path / "x").write_bytes(MINE)),
    "out of a directory that goes": (b"was-dir", lambda path: (path / "x").unlink()),
    "directory mode": (b"opens", lambda path: path.chmod(0o711)),
    "file that becomes a directory": (b"was-file", lambda path: path.write_bytes(MINE)),
    "missing": (b"app.conf", lambda path: path.unlink()),
    "directory gone": (b"opens", lambda path: shutil.rmtree(path)),
    "a fifo": (b"app.conf", lambda path: path.unlink() or os.mkfifo(path)),
}


def rewrite_with_old_times(path: Path, content: bytes) -> None:
    there = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(there.st_atime_ns, there.st_mtime_ns))


@pytest.mark.parametrize("way", ["exchange", "links"])
@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("when", ["before staging", "before applying"])
def test_edit_after_planning_stops_the_deployment(root: Path, edit: str, when: str, way: str) -> None:
    path, change = EDITS[edit]
    target = Target(str(root), acts=Faulty(flagged=way == "exchange"))
    plan = planned(target, BEFORE, AFTER)
    if when == "before applying":
        target.stage(plan, reader(AFTER))
    change(root / os.fsdecode(path))
    if edit == "a fifo":
        (root / os.fsdecode(path)).unlink()
        edited = look(root)
        os.mkfifo(root / os.fsdecode(path))
    else:
        edited = look(root)
    edited = {path: thing for path, thing in edited.items() if not path.startswith(b".headgate-") and b"/.h" not in path}
    with pytest.raises(TargetMovedError) as caught:
        if when == "before staging":
            target.stage(plan, reader(AFTER))
        target.apply(plan)
    assert os.fsdecode(path) in caught.value.paths[0]
    if edit == "a fifo":
        (root / os.fsdecode(path)).unlink()
    assert look(root) == edited


@pytest.mark.parametrize("way", ["exchange", "links"])
def test_writer_that_kept_the_old_file_open_does_not_lose_his_words(root: Path, way: str) -> None:
    """He writes to the replaced file after it was replaced, before it is removed."""
    target = Target(str(root), acts=Faulty(flagged=way == "exchange"))
    plan = planned(target, BEFORE, AFTER)
    target.stage(plan, reader(AFTER))
    with (root / "app.conf").open("r+b") as file:
        target.apply(plan)
        file.write(MINE)
    notes = target.finish(plan)
    assert [thing for thing in kept(root).values()] == [F(MINE, 0o640)]
    assert len(notes) == 1
    assert "app.conf" in notes[0]
    assert all(os.fsdecode(path) in notes[0] for path in kept(root))
    assert {path: thing for path, thing in look(root).items() if path not in kept(root)} == AFTER


def test_file_put_into_a_replaced_directory_is_kept(root: Path) -> None:
    target = Target(str(root))
    plan = planned(target, BEFORE, AFTER)
    target.stage(plan, reader(AFTER))
    inside = os.open(root / "was-dir", os.O_RDONLY)
    target.apply(plan)
    os.close(os.open("mine", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=inside))
    os.close(inside)
    notes = target.finish(plan)
    assert len(notes) == 1
    assert {os.path.basename(path): thing for path, thing in kept(root).items() if isinstance(thing, F)} == {
        b"mine": F(b"", 0o600)
    }


def test_directory_with_foreign_content_stays_and_is_noted(root: Path) -> None:
    (root / "empties" / "foreign").write_bytes(MINE)
    target = Target(str(root))
    plan = planned(target, BEFORE, AFTER)
    target.stage(plan, reader(AFTER))
    target.apply(plan)
    notes = target.finish(plan)
    assert notes == ["empties stays: it holds files that are not ours"]
    assert look(root) == {**AFTER, b"empties": D(), b"empties/foreign": F(MINE)}


def test_file_put_into_a_new_directory_stays_when_it_is_undone(root: Path) -> None:
    target = Target(str(root))
    plan = planned(target, BEFORE, AFTER)
    target.stage(plan, reader(AFTER))
    target.apply(plan)
    (root / "tree" / "deep" / "mine").write_bytes(MINE)
    (root / "was-file" / "mine").write_bytes(MINE)
    notes = target.undo(plan)
    there = look(root)
    assert {path: there[path] for path in BEFORE} == BEFORE
    assert there[b"tree/deep/mine"] == F(MINE)
    assert b"tree/deep/leaf" not in there
    assert [os.path.basename(path) for path, thing in kept(root).items() if isinstance(thing, F)] == [b"mine"]
    assert len(notes) == 2
    assert temporaries(root) == []


def test_undo_is_refused_when_it_was_finished(root: Path) -> None:
    target = Target(str(root))
    plan = planned(target, BEFORE, AFTER)
    target.stage(plan, reader(AFTER))
    target.apply(plan)
    target.finish(plan)
    with pytest.raises(DeploymentFailedError) as caught:
        target.undo(plan)
    assert caught.value.reason == "CANNOT_UNDO"
    assert look(root) == AFTER


def test_target_that_is_not_mounted_is_not_recovered(root: Path) -> None:
    target = Target(str(root))
    plan = planned(target, BEFORE, AFTER)
    target.stage(plan, reader(AFTER))
    target.apply(plan)
    away = root.with_name("away")
    root.rename(away)
    with pytest.raises(DeploymentFailedError) as caught:
        target.recover(plan)
    assert caught.value.reason == "TARGET_MISSING"
    root.mkdir()
    with pytest.raises(DeploymentFailedError) as caught:
        target.recover(plan)
    assert caught.value.reason == "TARGET_EMPTY"
    root.rmdir()
    away.rename(root)
    assert target.recover(plan) is True
    assert look(root) == AFTER
    assert changes(target, AFTER, AFTER) == ()
