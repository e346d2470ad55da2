"""The kernel itself fails or kills at each call, as strace arranges it: nothing depends on our own list of acts."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
from tests.unit.effects.world import TOKEN, D, F, L, World, build, look, planned, reader

from headgated.core.errors import DeploymentFailedError
from headgated.core.steps import Step, parents
from headgated.effects.target import Target

pytestmark = [
    pytest.mark.torture,
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed"),
]

BEFORE: World = {
    b"f": F(b"old"),
    b"gone": F(b"gone"),
    b"d": D(),
    b"d/x": F(b"x"),
    b"m": D(0o700),
    b"l": L(b"f"),
}
AFTER: World = {
    b"f": F(b"new", 0o600),
    b"d": L(b"f"),
    b"m": D(0o755),
    b"l": L(b"m"),
    b"n": D(),
    b"n/y": F(b"y"),
    b"n/l": L(b"y"),
}


@pytest.mark.parametrize("fault", ["error=EIO", "error=ENOSPC", "signal=SIGKILL"])
@pytest.mark.parametrize(
    ("call", "stride"),
    [
        *(
            (call, 1)
            for call in ("renameat2", "unlinkat", "fsync", "mkdirat", "symlinkat", "fchmod", "write")
        ),
        *((call, 3) for call in ("openat", "openat2", "read", "newfstatat", "flistxattr", "readlinkat")),
    ],
)
def test_failing_call_leaves_all_or_nothing(swift: Path, call: str, stride: int, fault: str) -> None:
    root, model, marks = swift / "t", swift / "model", swift / "marks"
    build(model, BEFORE)
    plan = planned(Target(str(model)), BEFORE, AFTER)
    outcomes = []
    for when in range(2 if call == "read" else 1, 1000, stride):  # the first read waits for strace
        for directory in (root, marks):
            shutil.rmtree(directory, ignore_errors=True)
        build(root, BEFORE)
        for mark in ("committed", "applied"):
            (marks / mark).mkdir(parents=True)
        if not fires(call, f"{fault}:when={when}", swift / "log", partial(deployment, root, marks, plan)):
            break
        assert not (marks / "surprise").exists()
        target, committed, applied = (
            Target(str(root)),
            *(not (marks / m).exists() for m in ("committed", "applied")),
        )
        if committed:
            done = target.recover(plan)
        else:
            target.sweep(parents(plan), TOKEN)
            done = False
        assert done or not applied
        assert look(root) == (AFTER if done else BEFORE), when
        outcomes.append(done)
    assert outcomes, "the fault never fired"


def deployment(root: Path, marks: Path, plan: Sequence[Step]) -> None:
    try:
        target = Target(str(root))
        target.stage(plan, reader(AFTER))
        os.rmdir(marks / "committed")
        target.apply(plan)
        os.rmdir(marks / "applied")
        target.finish(plan)
    except DeploymentFailedError:
        pass
    except BaseException:
        os.mkdir(marks / "surprise")
        raise


def fires(call: str, fault: str, log: Path, work: Callable[[], None]) -> bool:
    """Do the work in a child that strace has been attached to; tell whether the fault was injected."""
    wait, go = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.read(wait, 1)
            work()
        finally:
            os._exit(0)
    # Threads are followed: a few files are synced side by side. Each of them has its own count.
    tracer = subprocess.Popen(
        [
            "strace",
            "-f",
            "-qq",
            "-o",
            log,
            "-e",
            f"trace={call}",
            "-e",
            f"inject={call}:{fault}",
            "-p",
            str(child),
        ]
    )
    deadline = time.monotonic() + 20
    while "TracerPid:\t0" in Path(f"/proc/{child}/status").read_text():
        assert tracer.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.write(go, b"x")
    os.waitpid(child, 0)
    tracer.wait()
    for fd in (wait, go):
        os.close(fd)
    said = log.read_text(errors="replace")
    return "INJECTED" in said or "killed by SIGKILL" in said
