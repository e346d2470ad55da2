"""Tells systemd that the daemon is well, and in a line what it does.

The sign of life is given by the loop, so a loop that hangs gives none; and it is given only while no worker has died and no
work is stuck (see `vigil`, which knows slow from stuck). What is stuck is logged with the place in the code, then systemd is
asked to end the service and start it anew: recovery makes right what was begun.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable

from headgated.core.errors import HeadgateError
from headgated.effects.systemd import notify
from headgated.engine.fleet import Fleet
from headgated.engine.views import EnvironmentView, SyncState
from headgated.engine.vigil import Finding

log = logging.getLogger("headgated")

IDLE_LOOK = 10.0
"""Seconds between looks where systemd does not wait for signs of life."""
STATUS_EVERY = 0.5
"""Seconds between two status lines at least."""
NAMED = 3
"""How many environments of a kind the status line names."""
_NOTABLE = (
    SyncState.DEPLOYING,
    SyncState.HALTED,
    SyncState.FAILING,
    SyncState.HELD,
    SyncState.PAUSED,
    SyncState.OUT_OF_SYNC,
)


class Heartbeat:
    """Beats from `start` to `stop`. Lives on the loop.

    Args:
        period: seconds within which systemd wants a sign of life; None: it does not wait for any.
        environments: how every environment stands.
    """

    def __init__(
        self, fleet: Fleet, environments: Callable[[], list[EnvironmentView]], period: float | None
    ) -> None:
        self._fleet, self._environments = fleet, environments
        self._every = IDLE_LOOK if period is None else period / 4
        self._watched = period is not None
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._told = ""

    def start(self) -> None:
        """Begin to beat; the first beat comes at once."""
        self._news.set()
        self._task = asyncio.create_task(self._beat_on(), name="heartbeat")

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def touch(self) -> None:
        """Something has changed: the status line may be another."""
        self._news.set()

    def status(self) -> str:
        """Return what the daemon does, in one line."""
        return describe(self._environments(), self._fleet.vigil.waiting())

    async def _beat_on(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if loop.time() >= due:
                due = loop.time() + self._every
                self._look()
            self._news.clear()
            self._tell()
            await asyncio.sleep(min(STATUS_EVERY, self._every))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._news.wait()

    def _look(self) -> None:
        """Give a sign of life, or none."""
        sick = [*self._fleet.dead(), *self._fleet.vigil.look()]
        if not sick:
            notify("WATCHDOG=1")
            return
        for finding in sick:
            log.critical(
                "%s is stuck for %d s%s%s",
                finding.what,
                finding.seconds,
                "; the service is ended to be started anew" if self._watched else "",
                f"\n{finding.trace}" if finding.trace else "",
            )
        if self._watched:
            notify("STATUS=stuck: " + "; ".join(finding.what for finding in sick)[:500], "WATCHDOG=trigger")

    def _tell(self) -> None:
        try:
            line = self.status()
        except HeadgateError:
            return  # An environment was deleted meanwhile: the next line is right.
        if line != self._told:
            self._told = line
            notify(f"STATUS={line}")


def describe(environments: Iterable[EnvironmentView], waiting: Iterable[Finding] = ()) -> str:
    """Return in one line how environments stand: how many there are, and which need somebody's eye."""
    by_state: dict[SyncState, list[str]] = {}
    for view in environments:
        by_state.setdefault(view.sync.state, []).append(view.environment.name)
    counts = Counter({state: len(names) for state, names in by_state.items()})
    total = counts.total()
    parts = [_count(state, by_state[state]) for state in _NOTABLE if counts[state]]
    if counts[SyncState.SYNCED]:
        parts.append(f"{counts[SyncState.SYNCED]} in step")
    line = f"{total} environment{'' if total == 1 else 's'}" + (": " if parts else "") + ", ".join(parts)
    slow = [f"{finding.what} waits since {finding.seconds:.0f} s" for finding in waiting][:NAMED]
    return "; ".join([line, *slow])


def _count(state: SyncState, names: list[str]) -> str:
    shown = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
    return f"{len(names)} {str(state.value).replace('_', ' ')} ({shown})"
