"""Collects history by itself: some time after the start, and at intervals. What keeps it from that is a problem that status tells."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from headgated.core.errors import HeadgateError
from headgated.engine.housekeeping import Housekeeping
from headgated.engine.views import Problem

log = logging.getLogger("headgated.history")

FIRST = 60.0
"""Seconds after the start at most; right then there is enough to do."""
REASON = "HISTORY_NOT_COLLECTED"


class Tidying:
    """Collects now and then. Lives on the loop.

    Args:
        housekeeping: what collects.
        run: runs a blocking function in a thread.
        interval: seconds.
        problems: where to say, and take back, why nothing is collected.
    """

    def __init__(
        self,
        housekeeping: Housekeeping,
        run: Callable[[Callable[[], Any]], Awaitable[Any]],
        interval: float,
        problems: list[Problem],
    ) -> None:
        self._housekeeping, self._run, self._interval = housekeeping, run, interval
        self._problems = problems
        self._told: Problem | None = None
        self._task: asyncio.Task[None] | None = None
        self._again = asyncio.Event()

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._collect_now_and_then())

    def every(self, interval: float) -> None:
        """Collect at other intervals, in seconds, from now on."""
        if interval != self._interval:
            self._interval = interval
            self._again.set()

    async def stop(self) -> None:
        """End; a collection under way ends soon."""
        self._housekeeping.stop()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _collect_now_and_then(self) -> None:
        await self._rest(FIRST)
        thorough = True  # until that has worked once: content that nobody refers to may be left from before
        while True:
            problem = await self._why_not(thorough=thorough)
            self._tell(problem)
            thorough = problem is not None
            await self._rest(self._interval)

    async def _rest(self, most: float) -> None:
        """Wait for an interval, at most `most` seconds; afresh whenever the interval is changed meanwhile."""
        while True:
            self._again.clear()
            try:
                await asyncio.wait_for(self._again.wait(), min(most, self._interval))
            except TimeoutError:
                return
            most = self._interval

    async def _why_not(self, *, thorough: bool) -> Problem | None:
        try:
            await self._run(partial(self._housekeeping.collect, only_if_any=not thorough))
        except HeadgateError as error:
            if error.reason == "STOPPING":
                return None
            hint = error.hint or "look for what else is damaged: headgate history verify"
            return Problem(REASON, f"history is not collected: {error.message}", hint)
        except Exception as error:
            log.exception("cannot collect history")
            return Problem(REASON, f"history is not collected: {type(error).__name__}", "the log tells more")
        return None

    def _tell(self, problem: Problem | None) -> None:
        if problem == self._told:
            return
        if self._told is not None:
            self._problems.remove(self._told)
        if problem is not None:
            log.error("%s", problem.message)
            self._problems.append(problem)
        self._told = problem
