"""All workers, and the way from a file event to the ones that it concerns.

Watcher threads only note what is dirty and ring the loop; the loop tells the workers of each subscriber; blocking work runs in
a pool of threads of its own, so that an environment that hangs on a dead file system holds up only itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from headgated.core.environment import Environment
from headgated.core.errors import NotFoundError
from headgated.core.settle import Settle
from headgated.effects.logs import about, topic
from headgated.effects.watch import Watcher
from headgated.engine.deployer import ConfigurationDeployer
from headgated.engine.drift import Drift
from headgated.engine.jobs import Job
from headgated.engine.pool import Pool
from headgated.engine.syncing import Syncing
from headgated.engine.vigil import Finding, Vigil
from headgated.engine.worker import Worker

log = logging.getLogger("headgated.sync")

T = TypeVar("T")
THREADS = 64
GATHER = 0.25
"""Seconds in which more events from a target are waited for before it is looked at."""
LONGEST_STOP = 45.0
"""Seconds that work under way has to end at stop; less than systemd waits (TimeoutStopSec=)."""
LOOK_EVERY = 1.0
"""Seconds between looks at a target at least."""


class Fleet:
    """Runs one worker for each environment. Lives on the loop.

    Args:
        vigil: told of all blocking work, so that what is stuck is found.
    """

    def __init__(
        self,
        deployer: ConfigurationDeployer,
        watcher: Watcher,
        syncing: Syncing,
        tell: Callable[[str], None],
        vigil: Vigil | None = None,
    ) -> None:
        self.vigil = vigil if vigil is not None else Vigil()
        self._deployer, self._watcher, self._syncing = deployer, watcher, syncing
        self._pool = Pool(THREADS, "deploy")
        deployer.following.aside = self._pool.aside
        self._workers: dict[str, Worker] = {}
        self._hashing: asyncio.Task[None] | None = None
        self._drift = Drift(deployer.environments, deployer.planning, tell)
        self._edited: set[str] = set()
        self._looking: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Begin to work for every environment."""
        for environment in self._deployer.list_environments():
            self.enlist(environment)
        self._hashing = asyncio.create_task(self._distrust_now_and_then())

    async def stop(self, within: float = LONGEST_STOP) -> bool:
        """End every worker after what it does now; tell whether all ended within so many seconds.

        One that did not hangs, on a file system that does not answer. Its thread may go on at any time, so the caller has to end
        the process at once and must not release the state directory before; the next start makes right what was begun.
        """
        end = time.monotonic() + within
        if self._hashing is not None:
            self._hashing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._hashing
        for looking in self._looking.values():
            looking.cancel()
        await asyncio.gather(*self._looking.values(), return_exceptions=True)
        stops = {asyncio.create_task(worker.stop()): name for name, worker in self._workers.items()}
        hanging = (await asyncio.wait(stops, timeout=within))[1] if stops else set()
        rest = asyncio.create_task(asyncio.to_thread(self._pool.shutdown))
        _, late = await asyncio.wait({rest}, timeout=max(1.0, end - time.monotonic()))
        if late:
            names = ", ".join(sorted(stops[task] for task in hanging)) or "a request"
            log.critical(
                "cannot end the work for %s within %d s: a file system does not answer", names, within
            )
            return False
        await asyncio.gather(*stops, return_exceptions=True)
        return True

    async def run(self, function: Callable[..., T], /, *args: object) -> T:
        """Run a blocking function in the pool, watched over; what it logs is about what the caller's lines are about."""
        name = getattr(function, "__name__", "work")
        watched = self.vigil.watched(function, f"{name} for {topic('environment') or 'the API'}")
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._pool, context.run, watched, *args)

    def dead(self) -> list[Finding]:
        """Return the workers that have ended although nobody stopped them."""
        return [
            Finding(f"the worker for {name}", 0.0, worker.death)
            for name, worker in self._workers.items()
            if worker.death
        ]

    def enlist(self, environment: Environment) -> None:
        """Begin to work for an environment, or by its new settle times."""
        worker = self._workers.get(environment.name)
        if worker is not None:
            worker.settle_by(self._settle(environment))
            worker.nudge()
            return
        name = environment.name
        worker = Worker(
            self._deployer.runtime(name),
            self._deployer.jobs,
            self._syncing,
            self.run,
            self._settle(environment),
            lambda: self._deployer.get_environment_config(name).sources,
            self._deployer.settings.watch.git_wait,
        )
        self._workers[name] = worker
        worker.start()
        self.target_changed(name)

    def settle_anew(self) -> None:
        """Go by the deployer's present settings: settle times, and how long git is waited for."""
        for name, worker in self._workers.items():
            worker.wait_for_git(self._deployer.settings.watch.git_wait)
            with contextlib.suppress(NotFoundError):  # It is being deleted.
                worker.settle_by(self._settle(self._deployer.get_environment_config(name)))
            worker.nudge()
        if self._hashing is not None:
            self._hashing.cancel()
            self._hashing = asyncio.create_task(self._distrust_now_and_then())

    async def dismiss(self, name: str) -> None:
        """End the work for an environment that is being deleted."""
        worker = self._workers.pop(name, None)
        if worker is not None:
            runtime = self._deployer.runtime(name)
            runtime.leaving = True
            await worker.stop()
            runtime.leaving = False
            runtime.stopping.clear()

    def submit(self, job: Job) -> None:
        """Queue an order with its environment's worker."""
        self._workers[job.record.environment].submit(job)

    def begin(self, job: Job) -> bool:
        """Have an order carried out now, if its environment does nothing else; tell whether it is. Callable from any thread."""
        name = job.record.environment
        worker = self._workers.get(name)
        if worker is None or not worker.take_turn_for(job):
            return False
        try:
            self._pool.submit(self.vigil.watched(worker.carry_out_at_once, f"order for {name}"), job)
        except RuntimeError:  # The pool is closed: the daemon stops.
            worker.end_turn()
            return False
        return True

    def withdraw(self, environment: str, deployment_id: str) -> Job | None:
        """Take an order that waits for its turn out of the queue; whoever does so records it."""
        worker = self._workers.get(environment)
        return None if worker is None else worker.withdraw(deployment_id)

    def cancel(self, environment: str, deployment_id: str) -> bool:
        """Take back an order that is carried out and has not changed anything; tell whether there was one."""
        worker = self._workers.get(environment)
        if worker is not None and worker.cancel(deployment_id):
            return True
        try:
            runtime = self._deployer.runtime(environment)
        except NotFoundError:
            return False
        # Nobody's order: auto-sync's, or one that a restart resumed.
        record, cancelled = runtime.following or runtime.running, runtime.cancelled
        if record is None or cancelled is None or record.deployment_id != deployment_id:
            return False
        cancelled.set()
        return True

    def nudge(self, name: str) -> None:
        """Make an environment's worker look soon."""
        if name in self._workers:
            self._workers[name].nudge()

    def changed(self, root: str) -> None:
        """Tell each subscriber of a source that it may have changed."""
        self.changed_for(self._deployer.sources.subscribers(root))

    def changed_for(self, names: Iterable[str]) -> None:
        """Tell environments that a source of theirs may have changed."""
        for name in names:
            if name in self._workers:
                self._workers[name].changed()

    def changed_at_once(self, root: str) -> list[str]:
        """Have the subscribers of a source look that do nothing else now and need not let it settle; return the others.

        Callable from any thread.
        """
        others = []
        for name in self._deployer.sources.subscribers(root):
            worker = self._workers.get(name)
            if worker is None or not worker.take_turn():
                others.append(name)
                continue
            try:
                self._pool.submit(self.vigil.watched(worker.look_at_once, f"sync for {name}"))
            except RuntimeError:  # The pool is closed: the daemon stops.
                worker.end_turn()
        return others

    def target_changed(self, name: str) -> None:
        """Have a target looked at, beside whatever its worker does: soon, and at most about once a second."""
        if name not in self._workers:
            return
        self._edited.add(name)
        if name not in self._looking:
            self._looking[name] = asyncio.create_task(self._look_at(name), name=f"drift {name}")

    async def _look_at(self, name: str) -> None:
        with about(environment=name):
            await self._look_for_drift(name)

    async def _look_for_drift(self, name: str) -> None:
        try:
            while name in self._edited and name in self._workers:
                await asyncio.sleep(GATHER)
                if self._deployer.runtime(name).following is not None:
                    continue  # It holds the environment, for minutes perhaps: no thread has to wait for that.
                self._edited.discard(name)
                was = self._deployer.runtime(name).drifted_count
                if await self.run(self._drift.look, self._deployer.runtime(name)) or was:
                    self.nudge(name)
                if self._deployer.runtime(name).following is not None:
                    self._edited.add(name)
                await asyncio.sleep(LOOK_EVERY - GATHER)
        except NotFoundError:
            pass  # It is deleted.
        except Exception:
            log.exception("cannot look for drift in %s", name)
        finally:
            del self._looking[name]

    def _settle(self, environment: Environment) -> Settle:
        policies, defaults = environment.policies, self._deployer.settings.settle
        quiet = defaults.quiet if policies.settle_quiet is None else policies.settle_quiet
        latest = defaults.latest if policies.settle_latest is None else policies.settle_latest
        return Settle(quiet, max(quiet, latest))

    async def _distrust_now_and_then(self) -> None:
        """Have every content hashed again at long intervals, in case a change left size and times as they were."""
        while True:
            await asyncio.sleep(self._deployer.settings.watch.full_hash_interval)
            began = time.monotonic()
            for root in self._deployer.sources.all():
                source = self._deployer.sources.get(root)
                if source is not None:
                    source.distrust()
                    self.changed(root)
            log.debug("every source is to be hashed again (%.3f s)", time.monotonic() - began)
