"""When a call is made again, and where a watch continues: without a daemon and without a clock."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.errors import ConflictError, RefusedError, TimedOutError, UnreachableError
from headgate.patience import Continuation, Pauses, Repeating


def gone(*, there: bool = False) -> UnreachableError:
    return UnreachableError("cannot", address="/x", there=there)


def test_pauses_grow_up_to_a_bound() -> None:
    pauses = Pauses()
    taken = [pauses.take() for _ in range(10)]
    assert taken == sorted(taken)
    assert taken[-1] == taken[-2] == 0.5
    pauses.reset()
    assert pauses.take() == taken[0]


def test_call_is_not_repeated_where_there_never_was_a_daemon() -> None:
    with pytest.raises(UnreachableError):
        Repeating(100.0, met=False).after(gone(), 0.0)


def test_call_is_repeated_where_the_daemon_was_there() -> None:
    assert Repeating(100.0, met=True).after(gone(), 0.0) > 0
    begun = Repeating(100.0, met=False)
    begun.after(gone(there=True), 0.0)
    begun.after(gone(), 0.1)


def test_call_is_not_repeated_beyond_its_deadline() -> None:
    with pytest.raises(UnreachableError):
        Repeating(100.0, met=True).after(gone(), 99.99)


@pytest.mark.parametrize("failure", [RefusedError("no"), TimedOutError("late"), ConflictError("other")])
def test_call_that_got_an_answer_is_not_repeated(failure: Any) -> None:
    with pytest.raises(type(failure)):
        Repeating(100.0, met=True).after(failure, 0.0)


def test_watch_continues_after_the_last_revision() -> None:
    watch = Continuation()
    watch.seen(5)
    watch.seen(7)
    assert watch.after(gone(there=True)) > 0
    assert watch.revision == 7
    watch.after(None)
    assert watch.revision == 7


def test_watch_begins_anew_where_the_revision_is_forgotten() -> None:
    watch = Continuation()
    watch.seen(5)
    watch.after(ConflictError("too old"))
    assert watch.revision == 0
    with pytest.raises(ConflictError):
        watch.after(ConflictError("again, although nothing was asked of it"))


def test_watch_waits_only_for_a_daemon_that_was_there() -> None:
    with pytest.raises(UnreachableError):
        Continuation().after(gone())
    watch = Continuation()
    watch.seen(1)
    for _ in range(50):
        watch.after(gone())


def test_watch_whose_stream_reached_its_own_end_goes_on_at_once() -> None:
    watch = Continuation()
    with pytest.raises(TimedOutError):
        watch.after(TimedOutError("never began"))
    watch.seen(1)
    assert watch.after(TimedOutError("an hour is over")) == 0.0


def test_watch_does_not_survive_a_refusal() -> None:
    watch = Continuation()
    watch.seen(1)
    with pytest.raises(RefusedError):
        watch.after(RefusedError("no"))
