from __future__ import annotations

import asyncio
import os
import pwd
import threading
import time

from tests.api.conftest import wait_until

from headgated.api.names import UserNames


class Directory:
    """A directory service: answers when it is told to, and counts."""

    def __init__(self, names: dict[int, str]) -> None:
        self.names, self.asked, self.open = names, 0, threading.Event()
        self.open.set()

    def __call__(self, uid: int) -> str:
        self.asked += 1
        self.open.wait(10)
        return self.names[uid]


async def test_names_of_real_users_come_from_the_system() -> None:
    names = UserNames()
    await names.learn(os.getuid())
    assert names.of(os.getuid()) == pwd.getpwuid(os.getuid()).pw_name


async def test_name_of_an_unknown_user_is_its_number() -> None:
    names = UserNames(Directory({}))
    assert names.of(1234) == "uid:1234"
    await names.learn(1234)
    assert names.of(1234) == "uid:1234"
    assert names.fresh(1234)


async def test_names_that_take_too_long_are_not_waited_for_twice() -> None:
    directory = Directory({7: "slow"})
    directory.open.clear()
    names = UserNames(directory, patience=0.05)
    started = time.monotonic()
    await names.learn(7)
    assert time.monotonic() - started < 2
    assert names.of(7) == "uid:7"
    assert names.fresh(7)
    directory.open.set()
    await wait_until(lambda: names.of(7) == "slow")


async def test_names_are_looked_up_once_for_all_who_wait() -> None:
    directory = Directory({7: "ann"})
    directory.open.clear()
    names = UserNames(directory)
    waiting = asyncio.gather(*(names.learn(7) for _ in range(20)))
    await asyncio.sleep(0)
    directory.open.set()
    await waiting
    assert (names.of(7), directory.asked) == ("ann", 1)


async def test_name_is_asked_for_again_after_a_while_and_the_old_one_serves_meanwhile() -> None:
    now = 0.0
    directory = Directory({7: "ann"})
    names = UserNames(directory, keep=10, clock=lambda: now)
    await names.learn(7)
    now = 11.0
    assert not names.fresh(7)
    assert names.of(7) == "ann"
    directory.names[7] = "beth"
    await names.learn(7)
    assert names.of(7) == "beth"
    assert names.fresh(7)
