"""Threads that wait hold up nobody."""

from __future__ import annotations

import threading
import time
from concurrent.futures import wait

import pytest

from headgated.engine.pool import Pool


def test_who_waits_aside_leaves_its_place_to_others() -> None:
    pool, go = Pool(2, "test"), threading.Event()

    def waits() -> None:
        with pool.aside():
            go.wait(20)

    waiting = [pool.submit(waits) for _ in range(20)]
    try:
        assert pool.submit(lambda: 7).result(10) == 7
    finally:
        go.set()
        assert not wait(waiting, 10).not_done
        pool.shutdown()


def test_no_more_than_so_many_work_at_once() -> None:
    pool, together, most, lock = Pool(2, "test"), 0, 0, threading.Lock()
    turn = threading.Barrier(2)

    def work() -> None:
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        turn.wait(10)
        with lock:
            together -= 1

    for done in [pool.submit(work) for _ in range(20)]:
        done.result(20)
    assert most == 2
    pool.shutdown()


def test_what_comes_while_others_wait_is_done_whenever_it_comes() -> None:
    pool, go = Pool(2, "test"), threading.Event()

    def waits() -> None:
        with pool.aside():
            go.wait(60)

    waiting = []
    try:
        for _ in range(30):
            waiting.append(pool.submit(waits))
            assert pool.submit(lambda: 7).result(10) == 7  # a thread has just become free, or is about to
    finally:
        go.set()
        assert not wait(waiting, 10).not_done
        pool.shutdown()


def test_threads_that_are_too_many_after_a_wait_end_and_lose_nothing() -> None:
    pool, go = Pool(2, "surplus"), threading.Event()

    def waits() -> None:
        with pool.aside():
            go.wait(60)

    waiting = [pool.submit(waits) for _ in range(20)]
    assert pool.submit(lambda: 7).result(10) == 7
    go.set()
    assert not wait(waiting, 10).not_done
    for number in range(100):
        assert pool.submit(lambda given: given, number).result(10) == number
    end = time.monotonic() + 10
    while len([1 for thread in threading.enumerate() if thread.name.startswith("surplus")]) > 2:
        pool.submit(time.monotonic).result(10)
        assert time.monotonic() < end
    pool.shutdown()


def test_closed_pool_does_what_is_queued_and_takes_no_more() -> None:
    pool, go = Pool(1, "test"), threading.Event()
    first, queued = pool.submit(go.wait, 10), pool.submit(lambda: 7)
    closing = threading.Thread(target=pool.shutdown)
    closing.start()
    go.set()
    assert first.result(10)
    assert queued.result(10) == 7
    closing.join(10)
    assert not closing.is_alive()
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(lambda: 7)


def test_what_is_queued_is_cancelled_if_so_wished() -> None:
    pool, begun, go = Pool(1, "test"), threading.Event(), threading.Event()

    def holds_the_thread() -> bool:
        begun.set()
        return go.wait(10)

    first, queued = pool.submit(holds_the_thread), pool.submit(lambda: 7)
    assert begun.wait(10)
    pool.shutdown(wait=False, cancel_futures=True)
    assert queued.cancelled()
    go.set()
    assert first.result(10)
    pool.shutdown()


def test_error_reaches_who_asked_and_harms_no_thread() -> None:
    with Pool(1, "test") as pool:
        failing = pool.submit(lambda: 1 // 0)
        assert pool.submit(lambda: 7).result(10) == 7
        with pytest.raises(ZeroDivisionError):
            failing.result(10)
