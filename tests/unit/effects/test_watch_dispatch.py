"""Mailboxes gather, one thread tells."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from tests.unit.effects.watching import Told

from headgated.effects.watch.dispatch import LIMIT, Dispatch
from headgated.effects.watch.timers import Backoff, Timers, spread


class Gate(Told):
    """Is told nothing more until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.waiting = threading.Event()

    def change(self, root: str, paths: frozenset[bytes] | None) -> None:
        super().change(root, paths)
        self.waiting.set()
        self.open.wait(10)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def dispatch(gate: Gate) -> Iterator[Dispatch]:
    dispatch = Dispatch(gate.change)
    yield dispatch
    gate.open.set()
    dispatch.close(5)


def test_what_comes_meanwhile_is_gathered_by_root(gate: Gate, dispatch: Dispatch) -> None:
    one, two = dispatch.mailbox("one"), dispatch.mailbox("two")
    one.mark(b"first")
    assert gate.waiting.wait(5)
    for path in (b"a", b"b", b"a"):
        one.mark(path)
        two.mark(path)
    gate.open.set()
    assert gate.wait(lambda: len(gate.changes) == 3)
    assert gate.changes == [
        ("one", frozenset({b"first"})),
        ("one", frozenset({b"a", b"b"})),
        ("two", frozenset({b"a", b"b"})),
    ]


@pytest.mark.parametrize("extra", [0, 1])
def test_too_many_paths_are_everything(gate: Gate, dispatch: Dispatch, extra: int) -> None:
    box = dispatch.mailbox("one")
    box.mark(b"first")
    assert gate.waiting.wait(5)
    for number in range(LIMIT + extra):
        box.mark(b"%d" % number)
    gate.open.set()
    assert gate.wait(lambda: len(gate.changes) == 2)
    paths = gate.changes[1][1]
    assert paths is None if extra else paths is not None and len(paths) == LIMIT


def test_everything_includes_paths_before_and_after(gate: Gate, dispatch: Dispatch) -> None:
    box = dispatch.mailbox("one")
    box.mark(b"first")
    assert gate.waiting.wait(5)
    box.mark(b"before")
    box.mark_all()
    box.mark_all()
    box.mark(b"after")
    box.mark(b"")
    gate.open.set()
    box.mark_all()
    assert gate.wait(lambda: len(gate.changes) >= 2)
    assert {paths for _, paths in gate.changes[1:]} == {None}


def test_closed_mailbox_tells_nothing(gate: Gate, dispatch: Dispatch) -> None:
    one, two = dispatch.mailbox("one"), dispatch.mailbox("two")
    one.mark(b"first")
    assert gate.waiting.wait(5)
    one.mark(b"second")
    one.close()
    one.mark_all()
    gate.open.set()
    two.mark(b"last")
    assert gate.wait(lambda: len(gate.changes) == 2)
    assert gate.changes[1] == ("two", frozenset({b"last"}))


def test_timer_is_taken_once_when_it_is_due() -> None:
    now = [100.0]
    timers = Timers(lambda: now[0])
    assert timers.wait() > 0
    timers.set("probe", 2.0)
    assert (timers.take("probe"), timers.running("probe"), timers.wait()) == (False, True, 2.0)
    now[0] = 103.0
    assert (timers.wait(), timers.take("probe"), timers.take("probe")) == (0.0, True, False)
    timers.set("scan", 60.0)
    timers.hasten("scan", 5.0)
    timers.hasten("scan", 50.0)
    assert timers.wait() == 5.0
    timers.drop("scan")
    timers.drop("scan")
    assert not timers.running("scan")


def test_backoff_grows_to_its_cap_and_begins_anew() -> None:
    backoff = Backoff(1.0, 10.0, free=2)
    assert [backoff.next() for _ in range(8)] == [0.0, 0.0, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    backoff.reset()
    assert backoff.next() == 0.0
    assert [Backoff(1.0, 10.0).next() for _ in range(10_000)][-1] <= 10.0


def test_spread_stays_near() -> None:
    delays = [spread(60.0) for _ in range(100)]
    assert 54 <= min(delays) < max(delays) <= 66
