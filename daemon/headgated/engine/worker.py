"""One worker for each environment: everything that happens to an environment happens here, one thing after the other.

Orders run in the order in which they were asked for, before auto-sync. A file event, a retry that is due, a finished order and a
resume all end in the same place: "look, and make this environment right". An environment that fails or hangs holds up
no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from headgated.core.errors import DeploymentFailedError
from headgated.core.settle import Settle
from headgated.effects.logs import about
from headgated.effects.scan import ScanEndedError, git_busy
from headgated.engine.deploying import interrupted
from headgated.engine.jobs import Job, Jobs
from headgated.engine.runtime import Runtime
from headgated.engine.syncing import Syncing, SyncOutcome

log = logging.getLogger("headgated.sync")

T = TypeVar("T")
GIT_POLL = 0.05
"""Seconds between looks at a git checkout in progress."""
AFTER_SURPRISE = 30.0
"""Seconds until a look that failed in a way nobody foresaw is made again."""


class RunBlocking(Protocol):
    """Runs a blocking function away from the loop."""

    def __call__(self, function: Callable[..., T], /, *args: object) -> Awaitable[T]:
        """Return the function's result when it is done."""
        ...


class Worker:
    """Works for one environment. Lives on the loop; but for those that say so its methods are called there.

    Args:
        sources: the environment's source directories, looked up anew each time (for git checkouts in progress).
        git_wait: seconds that a git checkout is waited for at most.
    """

    def __init__(
        self,
        runtime: Runtime,
        jobs: Jobs,
        syncing: Syncing,
        run_blocking: RunBlocking,
        settle: Settle,
        sources: Callable[[], tuple[str, ...]],
        git_wait: float,
    ) -> None:
        self._runtime, self._jobs, self._syncing, self._run_blocking = runtime, jobs, syncing, run_blocking
        self._settle, self._sources, self._git_wait = settle, sources, git_wait
        self._queue: deque[Job] = deque()
        self._wake = asyncio.Event()
        self._look_at: float | None = time.monotonic()
        self._git_since: float | None = None
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn = threading.Lock()
        self._taken = self._awaited = False
        """Somebody works right now; the loop waits for the end of that."""

    def start(self) -> None:
        """Begin to work; the first look is made at once."""
        self._runtime.stopping.clear()
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._work(), name=f"worker {self._runtime.name}")

    async def stop(self) -> None:
        """End what runs, or let it end where it changes the target already; orders that have not begun are recorded as not carried out."""
        self._stopping = True
        self._runtime.stopping.set()
        self._wake.set()
        if self._task is not None:
            await self._task
        while self._queue:
            self._refuse(self._queue.popleft())

    @property
    def death(self) -> str:
        """Why it works no longer although nobody stopped it; empty where it does."""
        if self._task is None or not self._task.done() or self._stopping:
            return ""
        error = None if self._task.cancelled() else self._task.exception()
        return "it has ended" if error is None else "".join(traceback.format_exception(error)).rstrip()

    def changed(self) -> None:
        """A source may have changed."""
        self._settle.changed(time.monotonic())
        self._wake.set()

    def take_turn(self) -> bool:
        """Reserve the next look for `look_at_once`, if nothing goes on and changes need not settle. Callable from any thread."""
        with self._turn:
            free = not (self._taken or self._stopping or self._queue) and self._settle.at_once
            self._taken = self._taken or free
            return free

    def look_at_once(self) -> None:
        """Look, in this thread: the way from a change to the target that wakes nobody else. Once for each `take_turn`."""
        with about(environment=self._runtime.name):
            outcome = self._look_here()
        again = outcome.again_in is not None
        if (self.end_turn() or again) and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # The loop is closed: the daemon stops.
                self._loop.call_soon_threadsafe(self._looked, outcome)

    def take_turn_for(self, job: Job) -> bool:
        """Reserve the turn for `carry_out_at_once`, if nothing goes on and no order waits. Callable from any thread."""
        with self._turn:
            free = not (self._taken or self._stopping or self._queue)
            if free:
                self._taken, self._current = True, job  # From now on it can be cancelled.
            return free

    def carry_out_at_once(self, job: Job) -> None:
        """Carry an order out, in this thread, instead of queueing it. Once for each `take_turn_for`."""
        with about(environment=self._runtime.name):
            self._carry_out(job)
        self.end_turn()
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # The loop is closed: the daemon stops.
                self._loop.call_soon_threadsafe(self.nudge)

    def nudge(self) -> None:
        """Look soon, whether anything changed or not."""
        self._look_at = time.monotonic()
        self._wake.set()

    def settle_by(self, settle: Settle) -> None:
        """Settle by other times from now on."""
        if self._settle.due() is not None:
            settle.changed(time.monotonic())
        self._settle = settle

    def wait_for_git(self, seconds: float) -> None:
        """Wait for a git checkout for so long at most, from now on."""
        self._git_wait = seconds

    def submit(self, job: Job) -> None:
        """Queue an order."""
        self._queue.append(job)
        self._wake.set()

    def withdraw(self, deployment_id: str) -> Job | None:
        """Take an order that waits for its turn out of the queue; whoever does so records it."""
        for job in self._queue:
            if job.record.deployment_id == deployment_id:
                self._queue.remove(job)
                return job
        return None

    def cancel(self, deployment_id: str) -> bool:
        """Take the order back that is carried out, and that has not changed anything yet; tell whether it is this one."""
        job = self._current
        if job is None or job.record.deployment_id != deployment_id:
            return False
        job.cancelled.set()
        return True

    _current: Job | None = None

    async def _work(self) -> None:
        with about(environment=self._runtime.name):
            await self._work_on()

    async def _work_on(self) -> None:
        while not self._stopping:
            self._wake.clear()
            due = self._due()
            ready = self._queue or (due is not None and due <= time.monotonic())
            if ready and self._begin_turn():
                try:
                    if self._queue:
                        await self._run_blocking(self._carry_out, self._queue.popleft())
                        self.nudge()
                    else:
                        await self._look()
                finally:
                    self.end_turn()
                continue
            pause = None if ready or due is None else due - time.monotonic()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause)
        while (
            not self._begin_turn()
        ):  # Whoever looks at once ends it here, or where it changes the target already.
            self._wake.clear()
            await self._wake.wait()

    def _begin_turn(self) -> bool:
        with self._turn:
            free, self._taken = not self._taken, True
            self._awaited = not free
            return free

    def end_turn(self) -> bool:
        """Let others work; tell whether the loop waits for that. Callable from any thread."""
        with self._turn:
            awaited, self._taken, self._awaited = self._awaited, False, False
            return awaited

    def _due(self) -> float | None:
        times = [at for at in (self._settle.due(), self._look_at) if at is not None]
        return min(times, default=None)

    def _carry_out(self, job: Job) -> None:
        """Carry an order out, in whatever thread has the turn."""
        self._current = job
        try:
            with about(deployment_id=job.record.deployment_id):
                self._jobs.run(job)
        except DeploymentFailedError:
            pass  # Saved, logged and told already.
        except Exception:
            log.exception("%s ended in a way nobody foresaw", job.record.deployment_id)
        finally:
            self._current = None

    async def _look(self) -> None:
        self._settle.acted()
        self._look_at = None
        self._looked(await self._run_blocking(self._look_here))

    def _look_here(self) -> SyncOutcome:
        """Look, in whatever thread has the turn."""
        try:
            if self._waits_for_git():
                return SyncOutcome(GIT_POLL)
            return self._syncing.sync(self._runtime)
        except ScanEndedError:
            return SyncOutcome()  # The daemon stops.
        except Exception:
            log.exception("cannot look at %s; trying again in %d s", self._runtime.name, AFTER_SURPRISE)
            return SyncOutcome(AFTER_SURPRISE)

    def _looked(self, outcome: SyncOutcome) -> None:
        if outcome.again_in is not None:
            self._look_in(outcome.again_in)
        self._wake.set()

    def _waits_for_git(self) -> bool:
        """Tell whether a git checkout is in progress in a source and should still be waited for."""
        if not any(git_busy(root) for root in self._sources()):
            self._git_since = None
            return False
        now = time.monotonic()
        if self._git_since is None:
            self._git_since = now
        return now - self._git_since <= self._git_wait

    def _look_in(self, seconds: float) -> None:
        at = time.monotonic() + seconds
        self._look_at = at if self._look_at is None else min(at, self._look_at)

    def _refuse(self, job: Job) -> None:
        self._jobs.refuse(job, interrupted(self._runtime, "cannot begin"))
