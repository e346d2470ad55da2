"""Others look, swap and kill while we deploy (T3, T10)."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from tests.torture.scale import times
from tests.unit.effects.faults import Fault, Faulty, in_child, swapping
from tests.unit.effects.world import TOKEN, D, F, L, World, build, changes, deploy, look, planned, reader

from headgated.core.errors import DeploymentFailedError
from headgated.core.steps import Step, parents, steps
from headgated.effects.target import Target

ONE: World = {
    b"conf": F(b"1" * 9000),
    b"d": D(),
    b"d/x": F(b"x1" * 4000),
    b"link": L(b"conf"),
    b"turns": F(b"file"),
}
TWO: World = {
    b"conf": F(b"2" * 7000),
    b"d": D(),
    b"d/x": F(b"x2" * 5000),
    b"link": L(b"d/x"),
    b"turns": D(),
    b"turns/y": F(b"y"),
}


@contextmanager
def watching(root: Path, wholes: dict[bytes, set[bytes]]) -> Iterator[None]:
    """Have another process read these files all the time; it fails when it sees anything but one of the whole contents."""
    ready, go = os.pipe()
    reader = os.fork()
    if reader == 0:
        seen: set[bytes] = set()
        try:
            os.close(ready)
            for count in itertools.count():
                for path, contents in wholes.items():
                    content = Path(os.fsdecode(os.path.join(os.fsencode(root), path))).read_bytes()
                    assert content in contents
                    seen.add(content)
                if count == 0:
                    os.write(go, b"x")
        except BaseException as error:  # noqa: BLE001 - whatever it is, the parent must see it
            os.write(go, repr(error).encode()[:1000])
        finally:
            os._exit(1)
    os.close(go)
    assert os.read(ready, 1) == b"x"
    try:
        yield
    finally:
        ended, _ = os.waitpid(reader, os.WNOHANG)
        if not ended:
            os.kill(reader, signal.SIGKILL)
            os.waitpid(reader, 0)
        trouble = os.read(ready, 1000)
        os.close(ready)
        assert not trouble


@pytest.mark.parametrize("way", ["exchange", "links"])
def test_readers_see_the_whole_old_or_the_whole_new_content(swift: Path, way: str) -> None:
    root = swift / "t"
    build(root, ONE)
    target = Target(str(root), acts=Faulty(flagged=way == "exchange"))
    conf, inner = {b"1" * 9000, b"2" * 7000}, {b"x1" * 4000, b"x2" * 5000}
    wholes = {b"conf": conf, b"d/x": inner, b"link": conf | inner}
    with watching(root, wholes):
        for number in range(60):
            before, after = (ONE, TWO) if number % 2 == 0 else (TWO, ONE)
            if number % 3:
                deploy(target, before, after)
            else:
                plan = planned(target, before, after)
                target.stage(plan, reader(after))
                target.apply(plan)
                target.undo(plan)
                deploy(target, before, after)


@pytest.mark.parametrize("way", ["openat2", "walk"])
def test_swapped_symlink_never_leads_a_change_out(swift: Path, way: str) -> None:
    """Somebody swaps a directory and a symlink that leads out of the target, all the time."""
    root, outside = swift / "t", swift / "outside"
    build(root, {b"d": D(), b"d/x": F(b"old"), b"d/gone": F(b"gone"), b"evil": L(os.fsencode(outside))})
    build(outside, {b"x": F(b"precious"), b"gone": F(b"precious too")})
    before, outcomes = look(outside), set()
    deadline = time.monotonic() + 30
    with swapping(root, b"d", b"evil"):
        for number in itertools.count():
            target = Target(str(root), openat2=way == "openat2")
            token = f"{number:012x}"
            after: World = {
                b"d/x": F(b"new %d" % number),
                b"d/new%d" % number: F(b"new"),
                b"d/tree%d" % number: D(),
            }
            try:
                todo = changes(target, [b"d/x", b"d/gone"], after)
                plan = steps(todo, token)
                target.prepare(todo)
                target.stage(plan, reader(after))
                target.apply(plan)
                outcomes.add("applied")
                target.finish(plan)
            except DeploymentFailedError as error:
                outcomes.add(error.reason)
            assert look(outside) == before
            if number >= 300 and outcomes >= {"applied", "TARGET_MOVED"}:
                break
            assert time.monotonic() < deadline, outcomes
    assert outcomes <= {"applied", "TARGET_MOVED", "UNDO_FAILED"}


@pytest.mark.torture
@pytest.mark.parametrize("way", ["exchange", "links"])
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_it_is_all_or_nothing(swift: Path, seed: int, way: str) -> None:
    """A child deploys back and forth until it is killed; then it is recovered, and that is killed sometimes too."""
    chance = random.Random(seed)
    root, worlds, now = swift / "t", [ONE, TWO], 0
    build(root, ONE)
    plans = [model(swift / "one", ONE, TWO), model(swift / "two", TWO, ONE)]
    outcomes = set()
    for _ in range(times(20, 60)):
        said = killed_soon(partial(back_and_forth, root, plans, now, way), chance.uniform(0.001, 0.02))
        now = (now + said.count(b"f")) % 2
        last = said.rpartition(b"f")[2]
        target = Target(str(root))
        if last:
            for _ in range(chance.choice([0, 1, 2])):
                again = Target(
                    str(root), acts=Faulty(Fault(chance.randint(1, 12)), flagged=way == "exchange")
                )
                in_child(partial(recover, again, plans[now]))
            done = target.recover(plans[now])
            assert done or b"a" not in last
            now = (now + done) % 2
        else:
            target.sweep(parents(plans[now]), TOKEN)
        outcomes.add((last, worlds[now] is ONE))
        assert look(root) == worlds[now]
    assert len(outcomes) > 2


def recover(target: Target, plan: Sequence[Step], _say: Callable[[bytes], None]) -> None:
    target.recover(plan)


def back_and_forth(
    root: Path, plans: list[Sequence[Step]], start: int, way: str, say: Callable[[bytes], None]
) -> None:
    """Say `c` when a deployment would be committed, `a` when it would be recorded as applied, `f` when it is finished."""
    target = Target(str(root), acts=Faulty(flagged=way == "exchange"))
    for number in itertools.count(start):
        plan = plans[number % 2]
        target.stage(plan, reader(TWO if number % 2 == 0 else ONE))
        say(b"c")
        target.apply(plan)
        say(b"a")
        target.finish(plan)
        say(b"f")


def killed_soon(work: Callable[[Callable[[bytes], None]], None], after: float) -> bytes:
    """Run it in a child, kill that after so many seconds, and return what it said."""

    def kill_in_time(say: Callable[[bytes], None]) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, after)
        work(say)

    killed, said = in_child(kill_in_time)
    assert killed == signal.SIGALRM
    return said


def model(root: Path, before: World, after: World) -> Sequence[Step]:
    """Return the plan from one world to the other, as history would have kept it."""
    build(root, before)
    return planned(Target(str(root)), before, after)
