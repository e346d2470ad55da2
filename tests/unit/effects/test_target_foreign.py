"""What somebody else writes is never lost, whenever he writes it (T4, T5, T6)."""

from __future__ import annotations

import itertools
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.torture.scale import times
from tests.unit.effects.faults import DeadError, Fault, Faulty
from tests.unit.effects.world import (
    D,
    F,
    L,
    Thing,
    World,
    build,
    changes,
    look,
    planned,
    reader,
    wait_until_old,
)

from headgated.core.errors import DeploymentFailedError, TargetMovedError
from headgated.core.steps import Step
from headgated.effects.target import Target

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
        there = {
            thing.content for thing in look(Path(os.fsdecode(self.root))).values() if isinstance(thing, F)
        }
        lost = {at: words for at, words in self.written.items() if words not in there}
        assert not lost


@pytest.mark.torture
@pytest.mark.parametrize("way", ["exchange", "links"])
@pytest.mark.parametrize("seed", range(8))
def test_nothing_is_lost_around_a_crash(swift: Path, seed: int, way: str) -> None:
    """Somebody changes things before we apply, or after we crashed, or both; then it is recovered."""
    outcomes: set[str] = set()
    for number in range(times(20, 40)):
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
        before = without_ours(root)
        acts.fault = Fault(
            len(acts.log) + chance.randint(1, 45 if way == "exchange" else 120),
            done=chance.random() < 0.5,
            dead=True,
        )
        try:
            target.apply(plan)
            target.finish(plan)
            outcomes.add("applied")
            continue
        except TargetMovedError:
            outcomes.add("moved")
        except DeadError:
            edits = chance.choice([0, 1, 3])
            for _ in range(edits):
                intruder.act()
            forward = recover(root, plan, intruder, outcomes)
            # Whether we gave a directory its mode, or he did, nobody can tell any more.
            unclear = {b"opens"} & intruder.touched
            assert edits or forward or without(look(root), *unclear) == without(before, *unclear)
        intruder.check()
        assert temporaries(root) == []
    assert "back" in outcomes


def recover(root: Path, plan: tuple[Step, ...], intruder: Intruder, outcomes: set[str]) -> bool:
    notes: list[str] = []
    forward = Target(str(root)).recover(plan, notes)
    outcomes.add("forward" if forward else "back")
    there = without(look(root), *intruder.touched)
    there = {path: thing for path, thing in there.items() if b".headgate-kept-" not in path}
    assert there == without(AFTER if forward else BEFORE, *intruder.touched)
    assert sum("kept as" in note for note in notes) >= len(
        {path for path in kept(root) if path.count(b"/") == 0}
    )
    before = look(root)
    Target(str(root)).recover(plan)
    assert look(root) == before
    return forward


def instead(make: Callable[[Path], object]) -> Callable[[Path], object]:
    """Make something else where a file is."""

    def change(path: Path) -> None:
        path.unlink()
        make(path)

    return change


def rewrite_with_old_times(path: Path, content: bytes) -> None:
    there = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(there.st_atime_ns, there.st_mtime_ns))


EDITS: dict[str, tuple[bytes, Callable[[Path], object]]] = {
    "replaced": (b"app.conf", instead(lambda path: path.write_bytes(MINE))),
    "written in place": (b"app.conf", lambda path: path.write_bytes(MINE)),
    "same size and time": (b"app.conf", lambda path: rewrite_with_old_times(path, b"OLD")),
    "mode": (b"app.conf", lambda path: path.chmod(0o666)),
    "made a directory": (b"app.conf", instead(Path.mkdir)),
    "link": (b"link", instead(lambda path: path.symlink_to("mine"))),
    "removed file": (b"gone", lambda path: path.write_bytes(MINE)),
    "in the way of a new file": (b"fresh", lambda path: path.write_bytes(MINE)),
    "in the way of a new directory": (b"tree", Path.mkdir),
    "into a directory that goes": (b"was-dir", lambda path: (path / "mine").write_bytes(MINE)),
    "inside a directory that goes": (b"was-dir", lambda path: (path / "x").write_bytes(MINE)),
    "out of a directory that goes": (b"was-dir", lambda path: (path / "x").unlink()),
    "directory mode": (b"opens", lambda path: path.chmod(0o711)),
    "file that becomes a directory": (b"was-file", lambda path: path.write_bytes(MINE)),
    "missing": (b"app.conf", Path.unlink),
    "directory gone": (b"opens", shutil.rmtree),
    "a fifo": (b"app.conf", instead(os.mkfifo)),
}


@pytest.mark.parametrize("way", ["exchange", "links"])
@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("when", ["before staging", "before applying"])
def test_edit_after_planning_stops_the_deployment(root: Path, edit: str, when: str, way: str) -> None:
    path, change = EDITS[edit]
    target = Target(str(root), acts=Faulty(flagged=way == "exchange"))
    if edit == "same size and time":
        wait_until_old(root / "app.conf")
    plan = planned(target, BEFORE, AFTER)
    if when == "before applying":
        target.stage(plan, reader(AFTER))
    change(root / os.fsdecode(path))
    edited = without_ours(root)
    with pytest.raises(TargetMovedError) as caught:
        stage_and_apply(target, plan, staged=when == "before applying")
    assert os.fsdecode(path) in caught.value.paths[0]
    assert without_ours(root) == edited
    assert not any(b".headgate-" in path for path in look(root))


def make_full_directory(path: Path) -> None:
    path.mkdir()
    (path / "mine").write_bytes(MINE)


MADE: dict[str, tuple[bytes, Callable[[Path], object]]] = {
    "empty directory where ours comes": (b"was-file", instead(Path.mkdir)),
    "full directory where ours comes": (b"was-file", instead(make_full_directory)),
}


@pytest.mark.torture
@pytest.mark.parametrize("way", ["exchange", "links"])
@pytest.mark.parametrize("edit", sorted({*EDITS, *MADE} - {"directory mode"}))
def test_edit_before_applying_is_there_after_a_crash(swift: Path, edit: str, way: str) -> None:
    """We die at any act of applying or undoing (every third as a rule, other ones for each edit); he finds all as he left it.

    A directory's mode is not among it: it says nothing of whether he changed it before or after.
    """
    path, change = {**EDITS, **MADE}[edit]
    stride = times(3, 1)
    for at in itertools.count(1 + len(edit + way) % stride, stride):
        root = swift / str(at)
        build(root, BEFORE)
        acts = Faulty(flagged=way == "exchange")
        target = Target(str(root), acts=acts)
        plan = planned(target, BEFORE, AFTER)
        target.stage(plan, reader(AFTER))
        change(root / os.fsdecode(path))
        edited = without_ours(root)
        acts.fault = Fault(len(acts.log) + at, done=at % 2 == 0, dead=True)
        with suppress(DeadError, TargetMovedError):
            target.apply(plan)
        assert Target(str(root)).recover(plan) is False
        assert look(root) == edited, f"{acts.log[-1]} {at}"
        if not acts.fired:
            return


def stage_and_apply(target: Target, plan: tuple[Step, ...], *, staged: bool) -> None:
    if not staged:
        target.stage(plan, reader(AFTER))
    target.apply(plan)


def without_ours(root: Path) -> dict[bytes, Thing]:
    return {path: thing for path, thing in look(root).items() if b".headgate-" not in path}


def write_as_an_editor(path: Path) -> None:
    beside = path.with_name("beside")
    beside.write_bytes(MINE)
    try:
        beside.replace(path)
    except OSError:
        beside.unlink()
        raise


def write_in_place(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    path.write_bytes(MINE)


@pytest.mark.parametrize("write", [write_as_an_editor, write_in_place])
@pytest.mark.parametrize("path", sorted({*BEFORE, *AFTER, b"tree/mine", b"was-file/mine", b"was-dir/mine"}))
def test_write_between_any_two_acts_is_not_lost(
    swift: Path, path: bytes, write: Callable[[Path], None]
) -> None:
    """At each moment: the deployment stops and leaves all as it was, or it is done, and he came before or after."""
    for at in moments(swift / "staging"):
        root = swift / str(at)
        build(root, BEFORE)
        acts, written = Faulty(), list[bool]()
        target = Target(str(root), acts=acts)
        plan = planned(target, BEFORE, AFTER)

        def meanwhile(root: Path = root, written: list[bool] = written) -> None:
            with suppress(OSError):  # there is no such directory, or it is one
                write(root / os.fsdecode(path))
                written.append(True)

        acts.fault = Fault(at, meanwhile=meanwhile)
        expected = AFTER if deploys(target, plan) else BEFORE
        if not acts.fired:
            return
        there = look(root)
        context = f"{acts.log[at - 1]} {at}"
        others = {other: thing for other, thing in there.items() if b"kept-" not in other}
        assert without(others, path) == without(expected, path), context
        assert temporaries(root) == [], context
        if written:
            assert MINE in {thing.content for thing in there.values() if isinstance(thing, F)}, context


@pytest.mark.parametrize("write", [write_as_an_editor, write_in_place])
@pytest.mark.parametrize(
    "path", [b"app.conf", b"gone", b"fresh", b"was-dir", b"tree/deep/leaf", b"was-file/new"]
)
def test_write_between_any_two_acts_of_undoing_is_not_lost(
    swift: Path, path: bytes, write: Callable[[Path], None]
) -> None:
    for at in itertools.count(1):
        root = swift / str(at)
        build(root, BEFORE)
        acts, written = Faulty(), list[bool]()
        plan = planned(Target(str(root)), BEFORE, AFTER)
        target = Target(str(root), acts=acts)
        target.stage(plan, reader(AFTER))
        target.apply(plan)

        def meanwhile(root: Path = root, written: list[bool] = written) -> None:
            with suppress(OSError):
                write(root / os.fsdecode(path))
                written.append(True)

        acts.fault = Fault(len(acts.log) + at, meanwhile=meanwhile)
        target.undo(plan)
        if not acts.fired:
            return
        there = look(root)
        others = {other: thing for other, thing in there.items() if b"kept-" not in other}
        assert without(others, path) == without(BEFORE, path), at
        assert temporaries(root) == [], at
        if written:
            assert MINE in {thing.content for thing in there.values() if isinstance(thing, F)}, at
        if written and path == b"app.conf":
            assert (root / "app.conf").read_bytes() == MINE, at


def moments(root: Path) -> Iterator[int]:
    """Yield some acts of staging and every later one."""
    build(root, BEFORE)
    acts = Faulty()
    target = Target(str(root), acts=acts)
    target.stage(planned(target, BEFORE, AFTER), reader(AFTER))
    yield from range(1, len(acts.log), 8)
    yield from itertools.count(len(acts.log))


def deploys(target: Target, plan: tuple[Step, ...]) -> bool:
    try:
        target.stage(plan, reader(AFTER))
        target.apply(plan)
    except TargetMovedError:
        return False
    target.finish(plan)
    return True


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
    assert list(kept(root).values()) == [F(MINE, 0o640)]
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
