"""All or nothing, whatever call fails (T10, T11)."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.torture.scale import times
from tests.unit.effects.faults import DeadError, Fault, Faulty, in_child
from tests.unit.effects.world import TOKEN, D, F, L, World, build, deploy, look, planned, reader

from headgated.core.errors import HeadgateError
from headgated.core.steps import Step, parents
from headgated.effects.target import Target

BEFORE: World = {
    b"app.conf": F(b"old", 0o640),
    b"link": L(b"app.conf"),
    b"gone": F(b"to be removed"),
    b"was-dir": D(),
    b"was-dir/sub": D(0o700),
    b"was-dir/sub/x": F(b"x"),
    b"was-dir/y": F(b"y"),
    b"was-file": F(b"was a file"),
    b"empties": D(),
    b"empties/last": F(b"last"),
    b"closes": D(0o755),
    b"opens": D(0o700),
    b"opens/in": F(b"in"),
}
AFTER: World = {
    b"app.conf": F(b"new content", 0o600),
    b"link": L(b"elsewhere"),
    b"was-dir": F(b"a file now"),
    b"was-file": D(),
    b"was-file/new": F(b"new"),
    b"closes": D(0o700),
    b"opens": D(0o755),
    b"opens/in": F(b"in!"),
    b"fresh": F(b"fresh"),
    b"tree": D(),
    b"tree/deep": D(0o750),
    b"tree/deep/leaf": F(b"leaf"),
    b"tree/deep/link": L(b"leaf"),
}
WAYS = pytest.mark.parametrize("way", ["exchange", "links"])
NO_FAULT = Fault()


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> tuple[Step, ...]:
    root = tmp_path_factory.mktemp("plan")
    build(root, BEFORE)
    return planned(Target(str(root)), BEFORE, AFTER)


@pytest.fixture
def root(swift: Path) -> Path:
    return swift / "t"


def fresh(root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    build(root, BEFORE)


def target(root: Path, fault: Fault = NO_FAULT, *, way: str = "exchange") -> tuple[Target, Faulty]:
    acts = Faulty(fault=fault, flagged=way == "exchange")
    return Target(str(root), acts=acts, openat2=way == "exchange"), acts


def count(root: Path, plan: tuple[Step, ...], *, way: str, undo: bool = False) -> list[str]:
    """Return the acts of a deployment in which nothing fails."""
    fresh(root)
    one, acts = target(root, way=way)
    one.stage(plan, reader(AFTER))
    one.apply(plan)
    if undo:
        del acts.log[:]
        one.undo(plan)
    else:
        assert one.finish(plan) == []
    return acts.log


def faults(acts: list[str], codes: list[int]) -> Iterator[Fault]:
    for at in range(1, len(acts) + 1):
        yield Fault(at, codes[at % len(codes)])
        yield Fault(at, codes[at % len(codes)], done=True)


def cut_off(work: Callable[[], object]) -> bool:
    """Do it until its acts are dead; tell whether they were."""
    try:
        work()
    except DeadError:
        return True
    return False


@WAYS
def test_every_failing_act_leaves_all_or_nothing(root: Path, plan: tuple[Step, ...], way: str) -> None:
    acts = count(root, plan, way=way)
    assert look(root) == AFTER
    for fault in faults(acts, [errno.EIO, errno.ENOSPC, errno.EACCES]):
        fresh(root)
        one, faulty = target(root, fault, way=way)
        context = f"{fault} at {acts[fault.at - 1]}"
        try:
            one.stage(plan, reader(AFTER))
            one.apply(plan)
        except HeadgateError as error:
            if error.reason == "UNDO_FAILED":
                assert Target(str(root)).recover(plan) is False, context
            # A temporary that could not be closed out, for example a file that was made although the call failed.
            Target(str(root)).sweep(parents(plan), TOKEN)
            assert look(root) == BEFORE, context
        else:
            one.finish(plan)
            Target(str(root)).finish(plan)
            assert look(root) == AFTER, context
        assert faulty.fired, context


@WAYS
def test_every_verb_that_goes_on_failing_is_repaired_when_it_works_again(
    root: Path, plan: tuple[Step, ...], way: str
) -> None:
    acts = count(root, plan, way=way)
    for at in range(1, len(acts) + 1):
        fresh(root)
        one, _ = target(root, Fault(at, errno.EIO, persistent=True), way=way)
        committed = applied = False
        try:
            one.stage(plan, reader(AFTER))
            committed = True
            one.apply(plan)
            applied = True
        except HeadgateError as error:
            undone = error.reason != "UNDO_FAILED"
        else:
            one.finish(plan)
            undone = False
        again = Target(str(root))
        if not committed:
            again.sweep(parents(plan), TOKEN)
        elif not undone:
            assert again.recover(plan) is applied
        assert look(root) == (AFTER if applied else BEFORE), f"{acts[at - 1]} from {at}"


@WAYS
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_act_is_recovered(root: Path, plan: tuple[Step, ...], way: str, when: str) -> None:
    acts = count(root, plan, way=way)
    outcomes = set()
    for at in range(1, len(acts) + 1):
        fresh(root)
        killed, said = in_child(deployment(root, plan, Fault(at, done=when == "after"), way=way))
        assert killed, "the fault did not fire"
        outcomes.add((said, repaired(root, plan, said, f"{acts[at - 1]} {at}")))
    assert outcomes == {(b"", False), (b"c", False), (b"c", True), (b"ca", True)}


@WAYS
def test_killed_while_undoing_is_recovered(root: Path, plan: tuple[Step, ...], way: str) -> None:
    acts = count(root, plan, way=way, undo=True)
    assert look(root) == BEFORE
    for at, done in itertools.product(range(1, len(acts) + 1), (False, True)):
        fresh(root)
        one = Target(str(root))
        one.stage(plan, reader(AFTER))
        one.apply(plan)
        one, _ = target(root, Fault(at, done=done, dead=True), way=way)
        assert cut_off(partial(one.undo, plan))
        if (at + done) % 2:
            assert Target(str(root)).undo(plan) == []
            assert look(root) == BEFORE
        else:
            repaired(root, plan, b"c", f"{acts[at - 1]} {at}")


@pytest.mark.torture
@WAYS
def test_killed_while_recovering_is_recovered(root: Path, plan: tuple[Step, ...], way: str) -> None:
    """Every second point of deploying after the commit (every fourth as a rule), and there every second point of recovering."""
    acts = count(root, plan, way=way)
    tried, stride = 0, times(4, 2)
    for at in range(1, len(acts) + 1, stride):
        for second in range(1 + at // stride % 2, len(acts), 2):
            fresh(root)
            said: list[bytes] = []
            work = deployment(root, plan, Fault(at, dead=True), way=way)
            assert cut_off(partial(work, said.append))
            if not said:
                break
            one, _ = target(root, Fault(second, dead=True), way=way)
            if not cut_off(partial(one.recover, plan)):
                break
            repaired(root, plan, b"".join(said), f"{acts[at - 1]} {at}, then {second}")
            tried += 1
    assert tried > 50


def deployment(
    root: Path, plan: tuple[Step, ...], fault: Fault, *, way: str
) -> Callable[[Callable[[bytes], None]], None]:
    """Say `c` when it would be committed, `a` when it would be recorded as applied."""

    def work(say: Callable[[bytes], None]) -> None:
        one, _ = target(root, fault, way=way)
        one.stage(plan, reader(AFTER))
        say(b"c")
        one.apply(plan)
        say(b"a")
        one.finish(plan)

    return work


def repaired(root: Path, plan: tuple[Step, ...], said: bytes, context: str) -> bool:
    """Do what the engine does at its start; return whether the deployment is in force. Once more changes nothing."""
    one = Target(str(root))
    if not said:
        one.sweep(parents(plan), TOKEN)
        done = False
    else:
        notes: list[str] = []
        done = one.recover(plan, notes)
        assert notes == [], context
        if b"a" in said:
            assert done, context
    assert look(root) == (AFTER if done else BEFORE), context
    if said:
        assert Target(str(root)).recover(plan) is done, context
        assert look(root) == (AFTER if done else BEFORE), context
    return done


def test_deploy_there_and_back_leaves_nothing(root: Path) -> None:
    fresh(root)
    one = Target(str(root))
    deploy(one, BEFORE, AFTER)
    assert look(root) == AFTER
    deploy(one, AFTER, BEFORE)
    assert look(root) == BEFORE
    assert os.listdir(root)
