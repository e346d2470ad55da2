"""Mailboxes gather, one thread tells."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator

import pytest
from tests.unit.effects.watching import Told

from headgated.effects.watch import dispatch as module
from headgated.effects.watch.dispatch import LIMIT, Dispatch, Mailbox
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


@pytest.fixture
def box(gate: Gate, dispatch: Dispatch, monkeypatch: pytest.MonkeyPatch) -> Mailbox:
    """A mailbox that is emptied at once, and waits for ever for those who write."""
    monkeypatch.setattr(module, "LONGEST_HOLD", 3600.0)
    gate.open.set()
    return dispatch.mailbox("one")


def told(gate: Gate) -> list[frozenset[bytes] | None]:
    return [paths for _, paths in gate.changes]


def test_nothing_is_told_while_somebody_writes_and_all_of_it_afterwards(gate: Gate, box: Mailbox) -> None:
    box.mark(b"written", 3600.0)
    box.mark(b"other")
    box.mark(b"too", 3600.0)
    box.mark(b"written", None)
    box.mark(b"written")
    assert not gate.wait(lambda: gate.changes, 0.05)
    box.mark(b"too")
    assert gate.wait(lambda: told(gate) == [frozenset({b"written", b"other", b"too"})])
    box.mark(b"third", None)
    assert gate.wait(lambda: told(gate)[1:] == [frozenset({b"third"})])


def test_who_is_expected_to_write_and_does_not_is_waited_for_a_while(gate: Gate, box: Mailbox) -> None:
    began = time.monotonic()
    box.mark(b"born", 0.1)
    box.mark(b"born", None)
    box.mark(b"other")
    assert gate.wait(lambda: told(gate) == [frozenset({b"born", b"other"})])
    assert time.monotonic() - began >= 0.1


def test_who_never_stops_is_told_all_the_same_counted_from_the_beginning(gate: Gate, box: Mailbox) -> None:
    began = time.monotonic()
    while not gate.changes:
        box.mark(b"log", 0.2)
        assert time.monotonic() - began < 10
    assert time.monotonic() - began >= 0.2


def test_many_who_take_turns_are_waited_for_so_long_in_all(
    gate: Gate, box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_HOLD", 0.2)
    began = time.monotonic()
    for number in itertools.count():
        box.mark(b"%d" % (number + 1), 3600.0)
        box.mark(b"%d" % number)
        if gate.changes:
            break
        assert time.monotonic() - began < 10
        time.sleep(0.001)
    assert time.monotonic() - began >= 0.2


def test_longer_wait_counts_from_the_beginning_of_the_shorter_one(gate: Gate, box: Mailbox) -> None:
    box.mark(b"file", 0.01)
    box.mark(b"file", 3600.0)
    assert not gate.wait(lambda: gate.changes, 0.1)
    box.mark(b"file")
    assert gate.wait(lambda: told(gate) == [frozenset({b"file"})])


def test_everything_is_told_when_nobody_writes_any_more(gate: Gate, box: Mailbox) -> None:
    box.mark(b"file", 3600.0)
    box.mark_all()
    box.mark(b"other", 3600.0)
    box.mark(b"file")
    assert not gate.wait(lambda: gate.changes, 0.05)
    box.mark(b"other")
    assert gate.wait(lambda: told(gate) == [None])


def test_too_many_who_write_are_everything_at_once(gate: Gate, box: Mailbox) -> None:
    for number in range(LIMIT + 1):
        box.mark(b"%d" % number, 3600.0)
    assert gate.wait(lambda: told(gate) == [None])


def test_each_mailbox_waits_for_itself(gate: Gate, dispatch: Dispatch, box: Mailbox) -> None:
    box.mark(b"file", 3600.0)
    boxes = [dispatch.mailbox(f"{number}") for number in range(5)]
    for number, one in enumerate(boxes):
        one.mark(b"file", 0.3 - number * 0.05)
    assert gate.wait(lambda: len(gate.changes) == 5)
    assert [root for root, _ in gate.changes] == ["4", "3", "2", "1", "0"]


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
