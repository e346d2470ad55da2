"""Which calls are running, how many may, and how they end.

Promises that watchers leave room for other calls, that one user's watchers leave room for another's, and that nothing runs
any more once `finish` has returned, unless it was given too little time. A call that changes something is carried by a task
of its own: the client may go away, the change goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from headgated.core.errors import HeadgateError, LimitError, UnavailableError

T = TypeVar("T")

Who = int | str | None
"""A user as calls are counted: a uid, or the name in a certificate."""

_log = logging.getLogger(__name__)
STREAM_GRACE = 0.5
"""Seconds in which a stream that was told to end must have ended; a client that does not read gets no more."""


@dataclass(frozen=True, slots=True)
class CallLimits:
    """How much runs at once; a user is a uid, or over the network the name in a certificate."""

    answers: int = 1000
    answers_per_user: int = 500
    streams: int = 2000
    streams_per_user: int = 1200


class Calls:
    """The calls that are running. Lives on one asyncio loop."""

    def __init__(self, limits: CallLimits | None = None) -> None:
        self._limits = limits or CallLimits()
        self._answers: set[asyncio.Task[Any]] = set()
        self._streams: set[asyncio.Task[Any]] = set()
        self._changes: set[asyncio.Task[Any]] = set()
        self._watchers: Counter[Who] = Counter()
        self._askers: Counter[Who] = Counter()
        self._finishing = False

    def limit(self, limits: CallLimits) -> None:
        """Go by other limits from now on; what runs goes on."""
        self._limits = limits

    @contextmanager
    def answer(self, user: Who) -> Iterator[None]:
        """Count the present task as a call that is being answered.

        Raises:
            LimitError: too many are, or too many of this user's.
            UnavailableError: the daemon stops.
        """
        self._refuse_when_finishing()
        if len(self._answers) >= self._limits.answers or self._askers[user] >= self._limits.answers_per_user:
            raise _too_many("calls", "TOO_MANY_CALLS")
        task = _present()
        self._answers.add(task)
        self._askers[user] += 1
        try:
            yield
        finally:
            self._answers.discard(task)
            self._askers[user] -= 1
            if not self._askers[user]:
                del self._askers[user]

    @contextmanager
    def stream(self, user: Who) -> Iterator[None]:
        """Count the present task as a stream to a user.

        Raises:
            LimitError: there are too many, or too many of this user's.
            UnavailableError: the daemon stops.
        """
        self._refuse_when_finishing()
        if (
            len(self._streams) >= self._limits.streams
            or self._watchers[user] >= self._limits.streams_per_user
        ):
            raise _too_many("streams", "TOO_MANY_STREAMS")
        task = _present()
        self._streams.add(task)
        self._watchers[user] += 1
        try:
            yield
        finally:
            self._streams.discard(task)
            self._watchers[user] -= 1
            if not self._watchers[user]:
                del self._watchers[user]

    async def change(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` to its end, also when whoever waits for it is cancelled."""
        task = asyncio.create_task(work)
        self._changes.add(task)
        task.add_done_callback(self._changed)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_tell_log)
            raise

    async def finish(self, grace: float) -> None:
        """Refuse new calls and wait for those that run: streams for a moment, the others for at most `grace` seconds."""
        self._finishing = True
        await asyncio.gather(
            _ended(self._streams, min(grace, STREAM_GRACE), cancel=True),
            _ended(self._answers | self._changes, grace, cancel=False),
        )

    def _refuse_when_finishing(self) -> None:
        if self._finishing:
            raise UnavailableError("the daemon stops", reason="STOPPING", hint="try again in a moment")

    def _changed(self, task: asyncio.Task[Any]) -> None:
        self._changes.discard(task)


async def _ended(tasks: set[asyncio.Task[Any]], grace: float, *, cancel: bool) -> None:
    if not tasks:
        return
    _, left = await asyncio.wait(tuple(tasks), timeout=grace)
    if left and not cancel:
        _log.warning("%d calls have not ended within %s s", len(left), grace)
        return
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=STREAM_GRACE)


def _present() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("cannot count a call outside a task")
    return task


def _tell_log(task: asyncio.Task[Any]) -> None:
    """Log what became of a change that nobody waits for any more; an error would be lost otherwise."""
    if task.cancelled():
        return
    error = task.exception()
    if isinstance(error, HeadgateError):
        _log.info("a call whose client went away: %s", error)
    elif error is not None:
        _log.error("a call whose client went away failed", exc_info=error)


def _too_many(what: str, reason: str) -> LimitError:
    return LimitError(
        f"cannot answer: too many {what} are open", reason=reason, hint="end some, or try again in a moment"
    )
