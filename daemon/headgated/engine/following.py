"""What follows a deployment that was applied: reloads, then health; and the way back by itself where they fail.

A deployment with something to follow is on disk as applied before the first of it runs, so whatever is cut off goes on where it stood: a
reload is never dropped, only given up after its limit. What a deployment from the sources broke is taken back by a rollback of its
own, with a hold that keeps auto-sync from bringing it again. What a person ordered to undo is not taken back by itself:
there is nowhere better to go.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from threading import Event
from typing import TypeVar

from headgated.core.commands import Commands, Probe, Reload
from headgated.core.deployment import (
    ConfigDeployment,
    DeploymentKind,
    RollbackInfo,
    StepResult,
    Trigger,
)
from headgated.core.environment import Environment, Policies
from headgated.core.errors import DeploymentFailedError, HeadgateError, UnavailableError
from headgated.core.globs import globs
from headgated.core.plan import Change
from headgated.core.tree import Directory, Kind
from headgated.effects.history import History
from headgated.effects.rehearsal import list_of_changes, make_passable, write_changes
from headgated.engine.checking import values_of
from headgated.engine.deploying import Deploying, hold_of, told_error
from headgated.engine.ledger import Ledger, failed
from headgated.engine.means import Means
from headgated.engine.planning import Planning, again_when_moved
from headgated.engine.runtime import Runtime, Spoiled

T = TypeVar("T")

log = logging.getLogger("headgated.deploy")

BY = "auto-rollback"
"""Who is said to have asked for what Headgate takes back by itself."""
ENOUGH_FOR_A_LOOK = 5.0
"""Seconds that a look at a service may take although its deadline comes first: a busy machine is not an ill service."""
FIRST_PAUSE = 1.0
"""Seconds until a reload that failed is tried again; doubles each time."""
LONGEST_PAUSE = 30.0
"""Seconds."""
LONGEST_RETRY = 300.0
"""Seconds until what could not be taken back is tried again at the latest."""
_POLL = 0.1


class SavedError(DeploymentFailedError):
    """It was applied, and what followed failed. Its record says so already, on disk."""


class TakenBackError(SavedError):
    """It was taken back again because it did not work; the rollback's record is saved as well."""


class _StoppedError(Exception):
    """The daemon stops; what is left is resumed at the next start."""


@dataclass(frozen=True, slots=True)
class _Due:
    """What follows one deployment."""

    reloads: tuple[Reload, ...]
    probes: tuple[Probe, ...]


class Following:
    """Follows deployments up, one at a time for each environment: whoever calls holds its lock.

    Args:
        means: what commands are run with, and services asked.
        deploying: carries out what takes a deployment back.
    """

    def __init__(
        self,
        means: Means,
        planning: Planning,
        history: History,
        ledger: Ledger,
        deploying: Deploying,
    ) -> None:
        self._commands, self._runner, self._prober = means.commands, means.runner, means.prober
        self._directory = means.directory
        self.aside: Callable[[], AbstractContextManager[None]] = nullcontext
        """Entered while a thread only waits; for whoever has few threads."""
        self._planning, self._history, self._ledger, self._deploying = planning, history, ledger, deploying

    def is_due(self, policies: Policies, changes: Sequence[Change]) -> bool:
        """Tell whether anything follows a deployment that changed this."""
        if not policies.reloads and not policies.health:
            return False
        try:
            due = self._due(self._commands(), policies, changes)
        except DeploymentFailedError:
            return True  # Following it up says why that cannot be done.
        return bool(due.reloads or due.probes)

    def follow(
        self,
        runtime: Runtime,
        environment: Environment,
        record: ConfigDeployment,
        changes: Sequence[Change],
        cancelled: Event | None = None,
    ) -> ConfigDeployment:
        """Do what follows an applied deployment, whose record says so on disk; returns the record, finished.

        Where the daemon stops meanwhile the record is returned as it is, in progress, to be followed up at the next start.

        Raises:
            TakenBackError: RELOAD_FAILED, HEALTH_FAILED, CANCELLED; the target is as it was before.
            SavedError: the same, of what is not taken back.
        """
        runtime.following = record
        runtime.cancelled = cancelled = cancelled or Event()
        self._deploying.tell(runtime.name)
        try:
            with self.aside():
                self._run(runtime, environment, record, changes, cancelled)
        except _StoppedError:
            return record
        except Exception as error:
            told = told_error(error)
            runtime.following = None
            if record.kind != DeploymentKind.DEPLOY:
                self._deploying.fail(runtime, record, told)
                raise SavedError(
                    told.message, reason=told.reason, hint=told.hint, paths=told.paths
                ) from error
            raise self.take_back(runtime, environment, record, told) from error
        finally:
            runtime.cancelled = None
        return self._succeed(runtime, replace(record, steps=runtime.steps))

    def _succeed(self, runtime: Runtime, record: ConfigDeployment) -> ConfigDeployment:
        """Finish it; where that cannot be written it is well all the same, and is written as soon as it can be."""
        runtime.following = None
        try:
            return self._deploying.succeed(record)
        except HeadgateError:
            log.exception("cannot save that %s succeeded", record.deployment_id)
            done = runtime.last
            if done is not None and done.deployment_id == record.deployment_id:
                return done  # The ledger has it, and saves it.
            runtime.following = (
                record  # What it undid could not be marked: done once more before anything else.
            )
            return record

    def resume(self, runtime: Runtime, environment: Environment) -> None:
        """Go on with what follows a deployment where it was cut off; nothing where there is none."""
        record = runtime.following
        if record is None:
            return
        log.info("%s was applied before the daemon stopped; what follows it goes on", record.deployment_id)
        running, steps = runtime.running, runtime.steps
        runtime.running, runtime.steps = record, record.steps
        try:
            self.follow(runtime, environment, record, self._history.changes(record.deployment_id))
        except SavedError:
            pass  # And logged.
        finally:
            runtime.running, runtime.steps = running, steps
            self._deploying.tell(runtime.name)

    def take_back(
        self,
        runtime: Runtime,
        environment: Environment,
        record: ConfigDeployment,
        why: DeploymentFailedError,
    ) -> TakenBackError:
        """Undo an applied deployment by itself, as a rollback with a record of its own; returns what to raise.

        Its own record ends first: as FAILED, or, where it had succeeded (nobody confirmed it), as what the rollback makes of it.
        Until the target has its former state again, `runtime.spoiled` says so; a restart finds that out by itself.
        """
        told = TakenBackError(
            f"{why.message}; what it changed is taken back", reason=why.reason, hint=why.hint, paths=why.paths
        )
        if not record.status.finished:
            self._deploying.fail(runtime, record, told)
            record = runtime.last or record
        runtime.spoiled = Spoiled(record, why) if runtime.spoiled is None else runtime.spoiled
        undo: ConfigDeployment | None = None
        name = record.deployment_id
        try:
            undo = self._begin(runtime, record, why)
            before, _ = self._history.managed(name)
            begun = undo
            again_when_moved(lambda: self._undo(runtime, environment, begun, name, before))
        except Exception as error:  # noqa: BLE001 - recorded; the environment is not worth less for it
            failure = self._undo_failed(runtime, undo, error)
            told = TakenBackError(
                f"{why.message}; taking it back failed as well: {failure.message}",
                reason=why.reason,
                hint=failure.hint or why.hint,
                paths=failure.paths,
            )
        return told

    def take_back_again(self, runtime: Runtime, environment: Environment) -> None:
        """Take back what could not be, or was cut off, if it is time for that; nothing where there is none."""
        spoiled = runtime.spoiled
        if spoiled is None or spoiled.wait() > 0:
            return
        running, steps = runtime.running, runtime.steps
        try:
            self.take_back(runtime, environment, spoiled.record, spoiled.why)
        finally:
            runtime.running, runtime.steps = running, steps
            self._deploying.tell(runtime.name)

    def _undo_failed(
        self, runtime: Runtime, undo: ConfigDeployment | None, error: Exception
    ) -> DeploymentFailedError:
        """Note that taking back failed: a record of its own the first time, a count on that record while it fails the same way."""
        spoiled = runtime.spoiled
        if spoiled is None and isinstance(error, SavedError):
            return error  # It was taken back, and what it was restored to is not well.
        if spoiled is None:
            return self._deploying.fail(runtime, undo, error) if undo is not None else told_error(error)
        told, before = told_error(error), spoiled.failed
        same = before is not None and before.error is not None and before.error.message == told.message
        attempts = spoiled.attempts + 1
        pause = min(LONGEST_RETRY, FIRST_PAUSE * 2 ** min(attempts - 1, 16))
        kept = before
        if undo is None:
            log.error("cannot take back %s: %s", spoiled.record.deployment_id, told.message)
        elif same and before is not None:
            self._ledger.forget(failed(undo, told))
            with suppress(UnavailableError):
                kept = self._ledger.repeat_failure(before, attempts)
        else:
            self._deploying.fail(runtime, undo, told)
            kept = runtime.last
        runtime.spoiled = replace(spoiled, failed=kept, attempts=attempts, due=time.monotonic() + pause)
        return told

    def _undo(
        self, runtime: Runtime, environment: Environment, undo: ConfigDeployment, name: str, before: Directory
    ) -> ConfigDeployment:
        changes = [self._history.changes(name)]
        planned = self._planning.plan_undo(runtime, environment, changes, before)
        return self._deploying.carry_out(
            runtime,
            environment,
            undo,
            planned,
            hold=hold_of(undo, changes),
        )

    def _begin(
        self, runtime: Runtime, undone: ConfigDeployment, why: DeploymentFailedError
    ) -> ConfigDeployment:
        record = self._ledger.begin(
            runtime.name,
            DeploymentKind.ROLLBACK,
            deployed_by=BY,
            trigger=Trigger.AUTO_ROLLBACK,
            reason=f"{undone.deployment_id}: {why.reason}",
        )
        runtime.sequence = max(runtime.sequence, record.sequence)
        info = RollbackInfo(undone.deployment_id, (undone.deployment_id,))
        return self._deploying.start(runtime, replace(record, rollback_info=info))

    def _due(self, commands: Commands, policies: Policies, changes: Sequence[Change]) -> _Due:
        if not changes:
            return _Due((), ())
        reloads = [_defined(commands.reload(name), "reload", name) for name in policies.reloads]
        probes = [_defined(commands.health.get(name), "health probe", name) for name in policies.health]
        return _Due(tuple(one for one in reloads if _concerns(one, changes)), tuple(probes))

    def _run(
        self,
        runtime: Runtime,
        environment: Environment,
        record: ConfigDeployment,
        changes: Sequence[Change],
        cancelled: Event | None,
    ) -> None:
        changed = list_of_changes(self._directory, record.deployment_id)
        with suppress(OSError):  # Without it a command that asks for it finds no file, and says so.
            make_passable(self._directory)
            write_changes(changed, changes)
        try:
            values = {**values_of(environment, record), "changed": str(changed)}
            # The commands once: they may be others while this goes on.
            course = _Course(self._commands(), values, runtime, record, cancelled)
            due = self._due(course.commands, environment.policies, changes)
            done = {(step.step, step.name) for step in runtime.steps if step.ok}
            for number, reload in enumerate(due.reloads):
                self._ledger.progress(record, "reload", number, len(due.reloads))
                if ("reload", reload.name) not in done:
                    self._reload(reload, course)
            for number, probe in enumerate(due.probes):
                self._ledger.progress(record, "health", number, len(due.probes))
                self._await_health(probe, course)
        finally:
            with suppress(OSError):  # It is swept at the next start.
                changed.unlink(missing_ok=True)

    def _reload(self, reload: Reload, course: _Course) -> None:
        """Run a reload until it succeeds.

        Raises:
            DeploymentFailedError: RELOAD_FAILED, it did not within its limit.
        """
        command = course.commands.commands[reload.command]
        began, attempts, pause = time.monotonic(), 0, FIRST_PAUSE
        while True:
            attempts += 1
            ran = self._runner.run(command, course.values, course)
            if not ran.ok:
                course.check()
            self._note(
                course,
                StepResult(
                    "reload",
                    reload.name,
                    ok=ran.ok,
                    message=ran.why,
                    output=ran.output,
                    seconds=ran.seconds,
                    attempts=attempts,
                ),
            )
            if ran.ok:
                course.check()
                return
            log.warning("%s: the reload %s failed: %s", course.record.deployment_id, reload.name, ran.why)
            if time.monotonic() + pause - began > reload.give_up_after:
                raise DeploymentFailedError(
                    f"cannot make it take effect: the reload {reload.name} failed {attempts} time(s): {ran.why}",
                    reason="RELOAD_FAILED",
                    hint="its output is in the record (headgate show); run the command by hand to see why",
                )
            course.wait(pause)
            pause = min(LONGEST_PAUSE, pause * 2)

    def _await_health(self, probe: Probe, course: _Course) -> None:
        """Look until it is well often enough in a row.

        Raises:
            DeploymentFailedError: HEALTH_FAILED, it was not by the deadline.
        """
        began, attempts, row = time.monotonic(), 0, 0
        while True:
            attempts += 1
            left = max(probe.deadline - (time.monotonic() - began), ENOUGH_FOR_A_LOOK)
            why, output = self._prober.look(probe, course.commands, course.values, left, course)
            course.check()
            row = 0 if why else row + 1
            seconds = time.monotonic() - began
            ok = row >= probe.successes
            self._note(
                course,
                StepResult(
                    "health",
                    probe.name,
                    ok=ok,
                    message=why or ("" if ok else f"well {row} of {probe.successes} times in a row"),
                    output=output,
                    seconds=seconds,
                    attempts=attempts,
                ),
            )
            if ok:
                return
            if seconds + probe.interval > probe.deadline:
                raise DeploymentFailedError(
                    f"it is not well: the health probe {probe.name} says after {seconds:.1f} s: "
                    + (why or f"well only {row} of {probe.successes} times in a row"),
                    reason="HEALTH_FAILED",
                    hint="look at what the service says of it, mend the source, and the next change is deployed",
                )
            course.wait(probe.interval)

    def _note(self, course: _Course, result: StepResult) -> None:
        """Keep the newest result of a step, and tell watchers; one that succeeded is put on disk, so that it is not done again."""
        runtime, record = course.runtime, course.record
        result = self._deploying.told(runtime, result)
        others = [one for one in runtime.steps if (one.step, one.name) != (result.step, result.name)]
        runtime.steps = (*others, result)
        runtime.following = replace(record, steps=runtime.steps)
        self._ledger.update(runtime.following)
        if result.ok:
            with suppress(HeadgateError):  # At worst it is done once more after a restart.
                self._ledger.keep(runtime.following)
        self._deploying.tell(runtime.name)


@dataclass(frozen=True, slots=True)
class _Course:
    """A deployment that is followed up: with what, and whether to go on."""

    commands: Commands
    values: dict[str, str]
    """For the commands' placeholders."""
    runtime: Runtime
    record: ConfigDeployment
    cancelled: Event | None

    def is_set(self) -> bool:
        """Tell whether a command is to end now."""
        return self.runtime.stopping.is_set() or (self.cancelled is not None and self.cancelled.is_set())

    def check(self) -> None:
        if self.cancelled is not None and self.cancelled.is_set():
            raise DeploymentFailedError(f"{self.record.deployment_id} was cancelled", reason="CANCELLED")
        if self.runtime.stopping.is_set():
            raise _StoppedError

    def wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.check()
            self.runtime.stopping.wait(min(left, _POLL))
        self.check()


def _defined(found: T | None, what: str, name: str) -> T:
    if found is None:
        raise DeploymentFailedError(
            f"nothing is defined for the {what} {name} any more",
            reason="COMMAND_UNDEFINED",
            hint="define it in the daemon's configuration, or take it off the environment",
        )
    return found


def _concerns(reload: Reload, changes: Sequence[Change]) -> bool:
    if not reload.files:
        return True
    rules = globs(reload.files)
    return any(rules.covers(change.path) for change in changes if not _is_directory(change))


def _is_directory(change: Change) -> bool:
    return all(entry is None or entry.kind == Kind.DIRECTORY for entry in (change.expected, change.wanted))
