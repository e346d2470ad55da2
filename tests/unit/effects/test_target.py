"""The contract of a target: the same suite with and without what newer kernels and better file systems offer."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import tempfile
import threading
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from tests.unit.effects.faults import DeadError, Fault, Faulty
from tests.unit.effects.world import (
    TOKEN,
    D,
    F,
    L,
    Thing,
    World,
    build,
    changes,
    deploy,
    entry,
    look,
    planned,
    reader,
)

from headgated.core.errors import DeploymentFailedError, SourceMovedError, TargetMovedError
from headgated.core.plan import Change
from headgated.core.steps import Step, steps
from headgated.effects.target import Target
from headgated.effects.target.acts import Acts

FULL: World = {
    b"f": F(b"old"),
    b"g": F(b"same"),
    b"l": L(b"f"),
    b"d": D(),
    b"d/x": F(b"x"),
    b"d/e": D(0o700),
    b"d/e/y": F(b"y"),
}

CASES: dict[str, tuple[World, World]] = {
    "nothing": ({}, {}),
    "new file": ({}, {b"f": F(b"new")}),
    "empty file": ({}, {b"f": F()}),
    "new symlink": ({}, {b"l": L(b"nowhere")}),
    "new directory": ({}, {b"d": D(0o711)}),
    "new tree": ({}, {**FULL, b"d/e/deep": D(), b"d/e/deep/z": L(b"../y")}),
    "closed new directory": ({}, {b"d": D(0o500), b"d/x": F(b"x"), b"d/e": D(0o000), b"d/e/y": F(b"y")}),
    "changed file": (FULL, {**FULL, b"f": F(b"new")}),
    "changed mode": (FULL, {**FULL, b"f": F(b"old", 0o600)}),
    "changed symlink": (FULL, {**FULL, b"l": L(b"g")}),
    "changed directory": (FULL, {**FULL, b"d": D(0o750), b"d/e": D(0o755)}),
    "removed file": (FULL, {path: thing for path, thing in FULL.items() if path != b"f"}),
    "removed tree": (FULL, {path: thing for path, thing in FULL.items() if not path.startswith(b"d")}),
    "removed all": (FULL, {}),
    "file to symlink": (FULL, {**FULL, b"f": L(b"g")}),
    "symlink to file": (FULL, {**FULL, b"l": F(b"now a file")}),
    "file to directory": (FULL, {**FULL, b"f": D(), b"f/in": F(b"in")}),
    "symlink to directory": (FULL, {**FULL, b"l": D(), b"l/in": F(b"in")}),
    "directory to file": (
        FULL,
        {**{p: t for p, t in FULL.items() if not p.startswith(b"d")}, b"d": F(b"file")},
    ),
    "directory to symlink": (
        FULL,
        {**{p: t for p, t in FULL.items() if not p.startswith(b"d")}, b"d": L(b"f")},
    ),
    "empty directory to file": ({b"d": D()}, {b"d": F(b"file")}),
    "file to empty directory": ({b"d": F(b"file")}, {b"d": D()}),
    "moved file": (FULL, {**{p: t for p, t in FULL.items() if p != b"f"}, b"d/f": F(b"old")}),
    "swapped": (FULL, {**FULL, b"f": F(b"same"), b"g": F(b"old")}),
    "strange names": (
        {b"caf\xe9": F(b"1"), b"a\nb": F(b"2")},
        {b"caf\xe9": F(b"2"), b"a\nb": L(b"\xff"), b" ": F(b"3")},
    ),
    "name of a part": ({b"a": D(), b"a/x": F(b"1")}, {b"a": F(b"2"), b"a.b": F(b"3"), b"a-b": D()}),
    "large file": ({b"f": F(b"old")}, {b"f": F(os.urandom(3 << 20))}),
}
WAYS = {
    "newest": lambda root: Target(str(root)),
    "no openat2": lambda root: Target(str(root), openat2=False),
    "no exchange": lambda root: Target(str(root), acts=Faulty(flagged=False)),
    "neither": lambda root: Target(str(root), acts=Faulty(flagged=False), openat2=False),
}
Make = Callable[[Path], Target]


@pytest.fixture(params=["newest", "neither"])
def make(request: pytest.FixtureRequest) -> Make:
    return WAYS[request.param]


@pytest.fixture
def root(swift: Path) -> Path:
    return swift / "t"


@pytest.mark.parametrize("case", CASES)
def test_deploy_brings_what_is_wanted(root: Path, make: Make, case: str) -> None:
    before, after = CASES[case]
    build(root, before)
    deploy(make(root), before, after)
    assert look(root) == after


@pytest.mark.parametrize("case", CASES)
def test_undo_brings_back_what_was(root: Path, make: Make, case: str) -> None:
    before, after = CASES[case]
    build(root, before)
    target = make(root)
    plan = planned(target, before, after)
    target.stage(plan, reader(after))
    assert target.undo(plan) == []
    assert look(root) == before
    target.stage(plan, reader(after))
    target.apply(plan)
    assert target.undo(plan) == []
    assert look(root) == before
    target.stage(plan, reader(after))
    target.apply(plan)
    assert make(root).undo(plan) == []
    assert look(root) == before


@pytest.mark.parametrize("case", CASES)
def test_recover_finishes_what_was_applied(root: Path, make: Make, case: str) -> None:
    before, after = CASES[case]
    build(root, before)
    target = make(root)
    plan = planned(target, before, after)
    target.stage(plan, reader(after))
    target.apply(plan)
    for _ in range(2):
        assert make(root).recover(plan) is True
        assert look(root) == after


@pytest.mark.parametrize("case", CASES)
def test_recover_undoes_what_was_only_staged(root: Path, make: Make, case: str) -> None:
    before, after = CASES[case]
    build(root, before)
    target = make(root)
    plan = planned(target, before, after)
    target.stage(plan, reader(after))
    staged = [step for step in plan if hasattr(step, "wanted")]
    for _ in range(2):
        assert make(root).recover(plan) is (not plan)
        assert look(root) == before
    assert bool(staged) or not after or case.startswith("removed")


@pytest.mark.parametrize("case", CASES)
def test_recover_goes_on_with_finishing(root: Path, case: str) -> None:
    """Wherever that was cut off."""
    before, after = CASES[case]
    for at in itertools.count(1):
        shutil.rmtree(root, ignore_errors=True)
        build(root, before)
        acts = Faulty()
        target = Target(str(root), acts=acts)
        plan = planned(target, before, after)
        target.stage(plan, reader(after))
        target.apply(plan)
        acts.fault = Fault(len(acts.log) + at, dead=True)
        with suppress(DeadError):
            target.finish(plan)
        assert Target(str(root)).recover(plan) is True
        assert look(root) == after
        if not acts.fired:
            return


@pytest.mark.parametrize("case", CASES)
def test_finish_may_be_called_again(root: Path, make: Make, case: str) -> None:
    before, after = CASES[case]
    build(root, before)
    target = make(root)
    plan = deploy(target, before, after)
    assert target.finish(plan) == []
    assert make(root).finish(plan) == []
    assert look(root) == after


def test_until_finished_the_old_is_still_there(root: Path, make: Make) -> None:
    build(root, {b"f": F(b"old"), b"g": F(b"gone")})
    inodes = {(root / name).stat().st_ino for name in "fg"}
    target = make(root)
    plan = planned(target, [b"f", b"g"], {b"f": F(b"new")})
    target.stage(plan, reader({b"f": F(b"new")}))
    target.apply(plan)
    assert inodes < {os.lstat(root / name).st_ino for name in os.listdir(root)}


def test_other_files_are_not_touched(root: Path, make: Make) -> None:
    """Neither their inodes nor their times."""
    others: World = {b"other": F(b"other"), b"d": D(), b"d/other": F(b"o"), b"e": D(), b"e/other": L(b"x")}
    build(root, others)
    before = {path: os.lstat(root / os.fsdecode(path)) for path in others if not isinstance(others[path], D)}
    deploy(make(root), [], {b"f": F(b"new"), b"d/f": F(b"new"), b"n": D(), b"n/f": F(b"new")})
    for path, there in before.items():
        now = os.lstat(root / os.fsdecode(path))
        assert (now.st_ino, now.st_ctime_ns) == (there.st_ino, there.st_ctime_ns)


@pytest.mark.parametrize("content", [b"", b"ol", b"other", b"newer"])
def test_content_that_is_not_as_planned_is_not_deployed(root: Path, make: Make, content: bytes) -> None:
    build(root, FULL)
    target = make(root)
    plan = planned(target, FULL, {**FULL, b"f": F(b"new"), b"d/x": F(b"new")})
    with pytest.raises(SourceMovedError) as caught:
        target.stage(plan, lambda change: [content if change.path == b"f" else b"new"])
    assert caught.value.paths == ("f",)
    assert look(root) == FULL


def test_error_of_the_reader_comes_through_and_leaves_nothing(root: Path, make: Make) -> None:
    build(root, FULL)
    target = make(root)
    after = {**FULL, b"f": F(b"new"), b"n": D(), b"n/m": F(b"m")}
    plan = planned(target, FULL, after)
    error = SourceMovedError("cannot read: it moved")

    def read(change: Change) -> Sequence[bytes]:
        if change.path == b"n/m":
            raise error
        return [b"new"]

    with pytest.raises(SourceMovedError) as caught:
        target.stage(plan, read)
    assert caught.value is error
    assert look(root) == FULL


def test_progress_is_told_after_each_file(root: Path, make: Make) -> None:
    build(root, {})
    target = make(root)
    told: list[int] = []
    target.stage(planned(target, [], FULL), reader(FULL), told.append)
    assert told == [1, 2, 3, 4, 5]


def test_leftover_of_another_deployment_is_not_overwritten(root: Path, make: Make) -> None:
    build(root, FULL)
    target = make(root)
    after = {**FULL, b"f": F(b"new")}
    plan = planned(target, FULL, after)
    target.stage(plan, reader(after))
    with pytest.raises(TargetMovedError):
        make(root).stage(plan, reader({**after, b"f": F(b"new")}))


def test_apply_without_staging_changes_nothing(root: Path, make: Make) -> None:
    build(root, FULL)
    target = make(root)
    plan = planned(target, FULL, {**FULL, b"f": F(b"new"), b"d": D(0o700)})
    with pytest.raises(TargetMovedError):
        target.apply(plan)
    assert look(root) == FULL


def test_sweep_removes_the_tokens_temporaries_and_nothing_else(root: Path, make: Make) -> None:
    build(root, FULL)
    target = make(root)
    after: dict[bytes, Thing] = {
        **FULL,
        b"f": F(b"new"),
        b"d/x": F(b"new"),
        b"d/n": D(0o500),
        b"d/n/o": F(b"o"),
    }
    others: World = {
        b".headgate-kept-%s-1" % TOKEN.encode(): F(b"somebody's"),
        b".headgate-ffffffffffff-1": F(b"of another"),
        b".headgate-%s" % TOKEN.encode(): F(b"no temporary"),
    }
    for path, thing in others.items():
        build(root / "more", {path: thing})
        os.rename(root / "more" / os.fsdecode(path), root / os.fsdecode(path))
    (root / "more").rmdir()
    target.stage(planned(target, FULL, after), reader(after))
    outside = root.with_name("outside")
    build(outside, {b"f": F(b"precious")})
    (root / f".headgate-{TOKEN}-99").symlink_to(outside)
    for _ in range(2):
        make(root).sweep([b"", b"d", b"nothing", b"f"], TOKEN)
        assert look(root) == {**FULL, **others}
    assert look(outside) == {b"f": F(b"precious")}


def test_error_says_which_path_and_why(root: Path) -> None:
    build(root, FULL)
    acts = Faulty()
    target = Target(str(root), acts=acts)
    plan = planned(target, FULL, {**FULL, b"d/x": F(b"new")})
    acts.fail("write", 28)
    with pytest.raises(DeploymentFailedError) as caught:
        target.stage(plan, reader({b"d/x": F(b"new")}))
    assert caught.value.message == "cannot stage d/x: No space left on device (ENOSPC)"
    assert (caught.value.reason, caught.value.paths) == ("NO_SPACE", ("d/x",))
    assert caught.value.hint


def test_file_system_without_exchange_and_links_is_refused(root: Path) -> None:
    build(root, FULL)
    acts = Faulty(flagged=False)
    target = Target(str(root), acts=acts)
    after = {**FULL, b"f": F(b"new")}
    plan = planned(target, FULL, after)
    target.stage(plan, reader(after))
    acts.fail("link", 1)
    with pytest.raises(DeploymentFailedError) as caught:
        target.apply(plan)
    assert caught.value.reason == "EXCHANGE_UNSUPPORTED"
    assert look(root) == FULL


def test_many_directories_are_more_than_are_kept_open(swift: Path, make: Make) -> None:
    before: World = {b"d%03d" % n: D() for n in range(300)} | {b"d%03d/f" % n: F(b"old") for n in range(300)}
    after: World = {**before, **{b"d%03d/f" % n: F(b"new %d" % n) for n in range(300)}}
    root = swift / "t"
    build(root, before)
    target = make(root)
    plan = deploy(target, before, after)
    assert look(root) == after
    deploy(target, after, before, "f" * 12)
    assert look(root) == before
    target.stage(plan, reader(after))
    shutil.rmtree(root / "d299")
    with pytest.raises(TargetMovedError):
        target.apply(plan)
    assert look(root) == {path: thing for path, thing in before.items() if not path.startswith(b"d299")}


def test_deep_directories_are_no_trouble(root: Path, make: Make) -> None:
    path, after = b"", dict[bytes, Thing]()
    for _ in range(300):
        path = path + b"/d" if path else b"d"
        after[path] = D()
    after[path + b"/f"] = F(b"deep")
    build(root, {})
    target = make(root)
    deploy(target, [], after)
    assert target.observe([path + b"/f"]) != {path + b"/f": None}
    deploy(target, after, {b"d": F(b"flat")}, "f" * 12)
    assert look(root) == {b"d": F(b"flat")}


NAMES = st.sampled_from([b"a", b"b", b"a.b", b"\xff"])
THINGS: st.SearchStrategy[Thing] = st.one_of(
    st.builds(F, st.sampled_from([b"", b"1", b"2"]), st.sampled_from([0o600, 0o644])),
    st.builds(L, st.sampled_from([b"a", b"/x"])),
    st.builds(D, st.sampled_from([0o700, 0o755])),
)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A tree at most three deep."""
    world: dict[bytes, Thing] = {}
    ahead = [b""]
    while ahead:
        above = ahead.pop()
        for name in draw(st.sets(NAMES, max_size=3)):
            path = above + b"/" + name if above else name
            world[path] = draw(THINGS)
            if isinstance(world[path], D) and path.count(b"/") < 2:
                ahead.append(path)
    return world


@settings(max_examples=150, deadline=None)
@given(before=worlds(), after=worlds(), way=st.sampled_from(list(WAYS)))
def test_any_tree_becomes_any_other_and_back(before: World, after: World, way: str) -> None:
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        root = Path(directory).resolve() / "t"
        build(root, before)
        target = WAYS[way](root)
        plan: Sequence[Step] = planned(target, before, after)
        target.stage(plan, reader(after))
        target.apply(plan)
        target.undo(plan)
        assert look(root) == before
        target.stage(plan, reader(after))
        target.apply(plan)
        assert target.finish(plan) == []
        assert look(root) == after
        assert changes(target, before, after) == ()


def test_same_changes_give_the_same_steps(root: Path) -> None:
    """Recovery relies on it."""
    build(root, FULL)
    todo = changes(Target(str(root)), FULL, {b"f": D(), b"f/x": F(b"1"), b"n": F(b"2")})
    assert steps(todo, TOKEN) == steps(reversed(todo), TOKEN)
    assert steps(todo, TOKEN) != steps(todo, "f" * 12)
    assert entry(F(b"2")) in {change.wanted for change in todo}


class Waiting(Acts):
    """Removes nothing before two are to be removed at the same time; gives that up after a while."""

    def __init__(self) -> None:
        super().__init__()
        self.alone, self.two, self.alone_for_long = threading.Lock(), threading.Event(), False

    def unlink(self, directory: int, name: bytes) -> None:
        if self.alone.acquire(blocking=False):
            self.alone_for_long = self.alone_for_long or not self.two.wait(10)
            self.alone.release()
        else:
            self.two.set()
        super().unlink(directory, name)


def test_of_many_several_are_removed_at_once(root: Path) -> None:
    before: World = {b"d": D(), **{b"d/f%d" % number: F(b"old") for number in range(32)}}
    build(root, before)
    acts = Waiting()
    target = Target(str(root), acts=acts)
    plan = planned(target, before, {})
    target.stage(plan, reader({}))
    target.apply(plan)
    assert target.finish(plan) == []
    assert acts.two.is_set()
    assert look(root) == {}


def test_of_many_each_that_stays_is_noted(root: Path) -> None:
    before: World = {b"f%02d" % number: F(b"old") for number in range(40)}
    build(root, before)
    acts = Faulty()
    target = Target(str(root), acts=acts)
    plan = planned(target, before, {})
    target.stage(plan, reader({}))
    target.apply(plan)
    acts.fail("unlink", errno.EIO)
    notes = target.finish(plan)
    assert [note.split(":")[0] for note in notes] == [
        f"cannot remove what was replaced at f{number:02d}" for number in range(40)
    ]


@pytest.mark.parametrize(("thing", "most"), [(D(), 300), (F(b"x"), 700)])
def test_applying_holds_few_bytes_for_each_path(root: Path, thing: Thing, most: int) -> None:
    after = {b"%d" % number: thing for number in range(1000)}
    build(root, {})
    target = Target(str(root))
    plan = planned(target, {}, after)
    target.stage(plan, reader(after))
    tracemalloc.start()
    try:
        target.apply(plan)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(after) * most
