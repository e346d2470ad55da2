"""Files staged without a name: nothing is left behind before the commit, all or nothing after it, and every sync is waited for."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.effects.faults import Fault, Faulty, in_child
from tests.unit.effects.world import TOKEN, D, F, L, World, build, changes, look, planned, reader

from headgated.core.errors import DeploymentFailedError, HeadgateError, TargetMovedError
from headgated.core.steps import Step
from headgated.effects import kernel
from headgated.effects.target import Target
from headgated.effects.target.unnamed import FEW

BEFORE: World = {b"f": F(b"old", 0o640), b"gone": F(b"gone"), b"d": D(), b"d/x": F(b"x"), b"m": D(0o700)}
AFTER: World = {b"f": F(b"new", 0o600), b"d": D(), b"d/x": F(b"x2"), b"d/new": F(b"y"), b"m": D(0o755)}
NO_FAULT = Fault()


@pytest.fixture
def root(swift: Path) -> Path:
    root = swift / "t"
    build(root, BEFORE)
    fd = os.open(root, os.O_RDONLY)
    try:
        if not kernel.syncs_unnamed(fd):
            pytest.skip("this file system does not sync files without a name")
    finally:
        os.close(fd)
    return root


def target(root: Path, fault: Fault = NO_FAULT) -> tuple[Target, Faulty]:
    acts = Faulty(fault=fault)
    return Target(str(root), acts=acts), acts


def anew(root: Path) -> None:
    for path in sorted(root.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    build(root, BEFORE)


def acts_of(root: Path, plan: tuple[Step, ...]) -> list[str]:
    one, acts = target(root)
    one.stage(plan, reader(AFTER), unnamed=True)
    assert look(root) == BEFORE, "staged, and nothing to be seen"
    one.apply(plan)
    assert one.finish(plan) == []
    assert look(root) == AFTER
    return acts.log


def test_few_plain_files_leave_nothing_and_others_may(root: Path) -> None:
    one = Target(str(root))
    assert one.prepare(changes(one, BEFORE, AFTER))
    assert not one.prepare(changes(one, BEFORE, {**BEFORE, b"l": L(b"f")}))
    assert not one.prepare(changes(one, BEFORE, {**BEFORE, b"n": D()}))
    many = {b"%d" % number: F() for number in range(FEW + 1)}
    assert not one.prepare(changes(one, BEFORE, {**BEFORE, **many}))


def test_every_failing_act_leaves_all_or_nothing(root: Path) -> None:
    plan = planned(Target(str(root)), BEFORE, AFTER)
    acts = acts_of(root, plan)
    assert {"create_unnamed", "give_name", "sync"} <= set(acts)
    for at in range(1, len(acts) + 1):
        anew(root)
        one, faulty = target(root, Fault(at, (errno.EIO, errno.ENOSPC, errno.EACCES)[at % 3]))
        try:
            one.stage(plan, reader(AFTER), unnamed=True)
            one.apply(plan)
        except HeadgateError as error:
            if error.reason == "UNDO_FAILED":
                assert Target(str(root)).recover(plan) is False
            assert look(root) == BEFORE, acts[at - 1]
        else:
            one.finish(plan)
            Target(str(root)).finish(plan)
            assert look(root) == AFTER, acts[at - 1]
        assert faulty.fired


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_act_leaves_nothing_before_the_commit_and_is_recovered_after_it(
    root: Path, when: str
) -> None:
    plan = planned(Target(str(root)), BEFORE, AFTER)
    acts = acts_of(root, plan)
    said = set()
    for at in range(1, len(acts) + 1):
        anew(root)
        killed, told = in_child(deployment(root, plan, Fault(at, done=when == "after")))
        assert killed
        if not told:
            assert look(root) == BEFORE, f"{acts[at - 1]} {at}: nothing is swept, and nothing is there"
            continue
        done = Target(str(root)).recover(plan)
        said.add((told, done))
        assert look(root) == (AFTER if done else BEFORE), f"{acts[at - 1]} {at}"
    assert said >= {(b"c", False), (b"ca", True)}


def deployment(root: Path, plan: tuple[Step, ...], fault: Fault) -> Callable[[Callable[[bytes], None]], None]:
    """Say `c` when it would be committed, `a` when it would be recorded as applied."""

    def work(say: Callable[[bytes], None]) -> None:
        one, _ = target(root, fault)
        one.stage(plan, reader(AFTER), unnamed=True)
        say(b"c")
        one.apply(plan)
        say(b"a")
        one.finish(plan)

    return work


def test_failed_sync_ends_it_before_anything_changes(root: Path) -> None:
    plan = planned(Target(str(root)), BEFORE, AFTER)
    one, acts = target(root)
    acts.fail("sync", errno.EIO)
    one.stage(plan, reader(AFTER), unnamed=True)
    with pytest.raises(DeploymentFailedError, match="cannot sync") as raised:
        one.apply(plan)
    assert raised.value.reason == "IO_ERROR"
    assert look(root) == BEFORE
    assert "rename" not in acts.log


def test_where_files_cannot_be_named_the_next_attempt_gives_them_names_from_the_start(root: Path) -> None:
    one, acts = target(root)
    todo = changes(one, BEFORE, AFTER)
    plan = planned(one, BEFORE, AFTER)
    acts.fail("give_name", errno.EPERM)
    assert one.prepare(todo)
    one.stage(plan, reader(AFTER), unnamed=True)
    with pytest.raises(TargetMovedError):
        one.apply(plan)
    assert look(root) == BEFORE
    assert not one.prepare(todo)


def test_sweeping_lets_go_of_what_was_staged(root: Path) -> None:
    plan = planned(Target(str(root)), BEFORE, AFTER)
    one, acts = target(root)
    descriptors = len(os.listdir("/proc/self/fd"))
    one.stage(plan, reader(AFTER), unnamed=True)
    one.sweep([b""], TOKEN)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert look(root) == BEFORE
    assert "give_name" not in acts.log
