"""Work that is stuck is found; work that takes long is not mistaken for it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headgated.engine.vigil import Finding, Vigil

PATIENCE = 0.4


@pytest.fixture
def vigil() -> Vigil:
    return Vigil(PATIENCE)


@pytest.fixture
def run(vigil: Vigil) -> Iterator[Callable[[Callable[[], object], str], threading.Thread]]:
    """Runs work in a thread of its own."""
    threads: list[threading.Thread] = []

    def start(work: Callable[[], object], what: str) -> threading.Thread:
        thread = threading.Thread(target=vigil.watched(work, what), daemon=True)
        threads.append(thread)
        thread.start()
        return thread

    yield start
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def watch(vigil: Vigil, seconds: float) -> list[Finding]:
    """Look as the heartbeat does; return what was found at any look."""
    found: list[Finding] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end and not found:
        found = vigil.look()
        time.sleep(PATIENCE / 4)
    return found


Run = Callable[[Callable[[], object], str], threading.Thread]


def test_work_that_waits_for_a_lock_nobody_gives_back_is_stuck(vigil: Vigil, run: Run) -> None:
    lock = threading.Lock()
    lock.acquire()
    run(lock.acquire, "web")
    found = watch(vigil, 5)
    lock.release()
    assert [finding.what for finding in found] == ["web"]
    assert found[0].seconds > PATIENCE
    assert "in run" in found[0].trace


def test_two_that_wait_for_each_other_are_both_stuck(vigil: Vigil, run: Run) -> None:
    one, two = threading.Lock(), threading.Lock()
    one.acquire()
    two.acquire()
    run(one.acquire, "first")
    run(two.acquire, "second")
    found: set[str] = set()
    end = time.monotonic() + 5
    while len(found) < 2 and time.monotonic() < end:
        found |= {finding.what for finding in watch(vigil, PATIENCE)}
    one.release()
    two.release()
    assert found == {"first", "second"}


def test_work_that_waits_for_the_kernel_is_slow_and_not_stuck(vigil: Vigil, run: Run) -> None:
    reader, writer = os.pipe()
    run(lambda: os.read(reader, 1), "slow disk")
    assert watch(vigil, PATIENCE * 5) == []
    assert [finding.what for finding in vigil.waiting()] == ["slow disk"]
    os.write(writer, b"x")
    os.close(writer)
    os.close(reader)


def test_work_that_waits_for_slow_work_is_not_stuck(vigil: Vigil, run: Run) -> None:
    """A plan that is asked for waits for the lock while a deployment waits for its disk."""
    lock, begun = threading.Lock(), threading.Event()
    reader, writer = os.pipe()

    def deploy() -> None:
        with lock:
            begun.set()
            os.read(reader, 1)

    def plan() -> None:
        with lock:
            pass

    run(deploy, "deployment")
    begun.wait(5)
    run(plan, "plan")
    assert watch(vigil, PATIENCE * 5) == []
    os.write(writer, b"x")
    os.close(writer)
    os.close(reader)


def test_work_that_gets_on_elsewhere_does_not_hide_stuck_work(vigil: Vigil, run: Run) -> None:
    """What began after the lock was wanted cannot be what holds it."""
    lock, over = threading.Lock(), threading.Event()
    lock.acquire()
    run(lock.acquire, "stuck")

    def keep_busy() -> None:
        while not over.is_set():
            with vigil.over("short"):
                time.sleep(0.01)

    busy = threading.Thread(target=keep_busy)
    busy.start()
    found = watch(vigil, 5)
    over.set()
    busy.join()
    lock.release()
    assert [finding.what for finding in found] == ["stuck"]


def test_work_that_computes_and_reads_gets_on(vigil: Vigil, run: Run, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 100)
    over = threading.Event()

    def scan() -> None:
        while not over.is_set():
            (tmp_path / "f").read_bytes()

    run(scan, "scan")
    assert watch(vigil, PATIENCE * 5) == []
    assert vigil.waiting() == []
    over.set()


def test_work_that_goes_round_in_circles_is_stuck(run: Run, vigil: Vigil) -> None:
    if not os.path.exists("/proc/self/task/1/io") and not os.path.exists(f"/proc/self/task/{os.getpid()}/io"):
        pytest.skip("this kernel does not count what threads read")
    vigil.patience = 0.05
    over = threading.Event()

    def circle() -> None:
        while not over.is_set():
            pass

    run(circle, "circle")
    found = watch(vigil, 20)
    over.set()
    assert [finding.what for finding in found] == ["circle"]


def test_work_that_has_ended_is_forgotten(vigil: Vigil, run: Run) -> None:
    def fail() -> None:
        raise ValueError("no good")

    run(lambda: None, "done").join()
    with pytest.raises(ValueError, match="no good"):
        vigil.watched(fail, "failed")()
    assert watch(vigil, PATIENCE * 2) == []
    assert vigil.waiting() == []
