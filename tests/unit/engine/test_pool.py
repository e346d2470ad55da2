"""Threads that wait hold up nobody."""

from __future__ import annotations

import threading
from concurrent.futures import wait

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
