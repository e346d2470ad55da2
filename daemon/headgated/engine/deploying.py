"""Carries out one planned deployment and writes down how it ended.

A deployment ends as SUCCESS or FAILED with its reason, saved and logged before an error is raised. What depends on success
(the undone deployments' mark, the hold, the lifted halt) is written before the record itself says SUCCESS, so that a crash
between the two is made right by doing it again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

from headgated.core import lifecycle
from headgated.core.deployment import (
    ENVIRONMENT_DELETED,
    ConfigDeployment,
    DeploymentKind,
    SettingChange,
    StepResult,
    Trigger,
)
from headgated.core.environment import Environment, Hold, Policies, SourceMark, Strategy
from headgated.core.errors import (
    DeploymentFailedError,
    HeadgateError,
    RefusedError,
)
from headgated.core.hold import rejected
from headgated.core.masking import SecretNames
from headgated.core.plan import Change, Plan
from headgated.core.report import changes_of, version_of
from headgated.core.tree import Directory, Entry
from headgated.effects.durable import at_once
from headgated.effects.history import History
from headgated.effects.known_secrets import hide
from headgated.effects.memory import give_back
from headgated.engine.adoption import rejected_by, take_over
from headgated.engine.checking import Checking, Subject, values_of
from headgated.engine.comparing import changed_settings
from headgated.engine.content import from_history
from headgated.engine.drift import forget_changed
from headgated.engine.environments import Environments
from headgated.engine.execution import Progress, Work, execute
from headgated.engine.ledger import Ledger, failed, utc_now
from headgated.engine.leftovers import Leftovers
from headgated.engine.planning import Planned, Planning
from headgated.engine.runtime import Runtime, Spoiled
from headgated.engine.wanted import Wanted

log = logging.getLogger("headgated.deploy")

FEW = 32
"""Of no more changes than these no progress is told by auto-sync: they are done before anybody could look."""
NOT_SHOWN = "(not shown: it may hold secrets that have changed since and are not known any more)"
UNFINISHED = frozenset({"UNDO_FAILED", "STATE_NOT_WRITABLE", "AUDIT_NOT_WRITABLE"})
"""Reasons after which history may hold an intent that has to be brought to its end before anything else."""


class FollowUp(Protocol):
    """Does what follows a deployment that was applied; see `following`."""

    def is_due(self, policies: Policies, changes: Sequence[Change]) -> bool:
        """Tell whether anything follows."""

    def follow(
        self,
        runtime: Runtime,
        environment: Environment,
        record: ConfigDeployment,
        changes: Sequence[Change],
        cancelled: threading.Event | None = None,
    ) -> ConfigDeployment:
        """Do it; returns the finished record."""

    def resume(self, runtime: Runtime, environment: Environment) -> None:
        """Go on where it was cut off."""

    def take_back_again(self, runtime: Runtime, environment: Environment) -> None:
        """Take back what could not be, if it is time for that."""

    def take_back(
        self,
        runtime: Runtime,
        environment: Environment,
        record: ConfigDeployment,
        why: DeploymentFailedError,
    ) -> DeploymentFailedError:
        """Undo an applied deployment by itself."""


class Deploying:
    """Turns a plan and a record into a changed target and a finished record. Whoever calls holds the environment's lock.

    Args:
        runtimes: each environment's working state, by name.
        tell: told of each environment whose state may have changed.
        recover: brings to its end what was cut off in one environment.
    """

    def __init__(
        self,
        environments: Environments,
        runtimes: Mapping[str, Runtime],
        planning: Planning,
        history: History,
        ledger: Ledger,
        tell: Callable[[str], None],
        recover: Callable[[str], None],
    ) -> None:
        self._environments, self._runtimes = environments, runtimes
        self._planning, self._history, self._ledger = planning, history, ledger
        self.tell, self._recover = tell, recover
        self._checking: Checking
        self._following: FollowUp
        self._masking: Callable[[], SecretNames]
        self._leftovers: Leftovers

    def equip(
        self,
        checking: Checking,
        following: FollowUp,
        masking: Callable[[], SecretNames],
        leftovers: Leftovers,
    ) -> None:
        """Give it what checks, follows up, hides and tidies up. Apart from the rest, because what follows up needs this object."""
        self._checking, self._following, self._masking = checking, following, masking
        self._leftovers = leftovers

    def start(self, runtime: Runtime, record: ConfigDeployment, *, quietly: bool = False) -> ConfigDeployment:
        """Begin to work on a record; that somebody asked for it is told at once, unless quietly.

        One that another overtook gets a new sequence: sequences tell in which order deployments came to the target, and whatever
        is undone is undone by them.
        """
        if record.sequence < runtime.begun:
            record = self._ledger.renumber(record)
            runtime.sequence = max(runtime.sequence, record.sequence)
        runtime.begun = record.sequence
        record = lifecycle.start(record, utc_now())
        runtime.running, runtime.steps = record, ()
        self._ledger.update(record)
        if record.trigger == Trigger.REQUEST and not quietly:
            self.tell(runtime.name)
        return record

    def stop(self, runtime: Runtime) -> None:
        """The environment works on nothing any more."""
        runtime.running = None
        self.tell(runtime.name)

    def fail(self, runtime: Runtime, record: ConfigDeployment, error: Exception) -> DeploymentFailedError:
        """Save and log that a deployment did not succeed; returns what to raise."""
        told = told_error(error)
        record = failed(replace(record, steps=runtime.steps), told)
        runtime.last = record
        try:
            self._ledger.finish(record)
        except HeadgateError:
            log.exception("cannot save that %s failed: %s", record.deployment_id, told.message)
        return told

    def carry_out(
        self,
        runtime: Runtime,
        environment: Environment,
        record: ConfigDeployment,
        planned: Planned,
        *,
        cancelled: threading.Event | None = None,
        hold: Hold | None = None,
        recorded: Callable[[], object] = at_once,
    ) -> ConfigDeployment:
        """Apply a plan for a record in progress; returns the record as SUCCESS, saved.

        Args:
            recorded: waits until it is on disk who asked for this.
        """
        plan, managed = planned.plan, runtime.managed
        record = replace(record, config_version=version_of(plan.result), changes=changes_of(plan, managed))

        def progress(step: str, done: int, total: int) -> None:
            if step != "apply":
                stop_if_cancelled(runtime, cancelled)
            if step == "check" or total > FEW or record.trigger == Trigger.REQUEST:
                self._ledger.progress(record, step, done, total)

        def check() -> ConfigDeployment:
            progress("check", 0, len(environment.policies.checks))
            self._check(runtime, environment, record, planned, cancelled)
            return replace(record, steps=runtime.steps)

        if planned.wanted is not None:
            self._refuse_undefined(environment)
        whole = environment.policies.strategy == Strategy.ATOMIC
        work = Work(
            plan,
            planned.content,
            record,
            environment.config_path,
            managed,
            open=planned.sealing.open,
            kept=planned.kept,
            modes=planned.modes,
            whole=whole,
            recorded=recorded,
        )
        checks = planned.wanted is not None and environment.policies.checks
        notes = self._perform(runtime, environment, work, progress, check if checks else None)
        untidy = bool(notes)
        runtime.managed, runtime.current_id, runtime.spoiled = plan.result, record.deployment_id, None
        runtime.paths_changed += len(plan.changes)
        forget_changed(runtime, plan)
        notes = (*record.changes.notes, *notes)
        record = replace(
            record,
            changes=replace(record.changes, settings_changed=self._settings(plan), notes=notes),
            steps=runtime.steps,
        )
        follows = record.kind != DeploymentKind.ADOPT and self._following.is_due(
            environment.policies, plan.changes
        )
        try:
            self._note_success(environment, planned.wanted, hold)
            record = self._mark_applied(runtime, record) if follows else self.succeed(record)
            self._history.applied(record.deployment_id, untidy=untidy)
        except (HeadgateError, OSError):
            # The target has changed and the intent stands: it was applied. What is missing is made up for before the next one.
            log.exception("cannot save that %s was applied", record.deployment_id)
            runtime.needs_recovery = True
            return record if follows or record.status.finished else lifecycle.succeed(record, utc_now())
        if follows:
            return self._following.follow(runtime, environment, record, plan.changes, cancelled)
        return record

    def share(self, runtime: Runtime, tree: Directory) -> None:
        """Have a tree stand for what is deployed, which is equal: after a start there are two of them in memory, and one is enough."""
        if tree is not runtime.managed:
            runtime.managed = tree
            self._history.share(runtime.name, tree)

    def free_memory(self) -> None:
        """Give back to the system what deployments took of memory and do not need any more."""
        self._history.free_memory()
        give_back()

    def look_for_leftovers(self, runtime: Runtime, environment: Environment) -> None:
        """Once after each start, see to what earlier deployments or a power cut left at the target."""
        self._leftovers.look(runtime.name, environment.config_path, runtime.managed)

    def _perform(
        self,
        runtime: Runtime,
        environment: Environment,
        work: Work,
        progress: Progress,
        check: Callable[[], ConfigDeployment] | None,
    ) -> tuple[str, ...]:
        """Do what is to be done at the target, after what earlier deployments left there; returns notes on what this one leaves."""
        target = self._planning.target(runtime, environment)
        self.look_for_leftovers(runtime, environment)
        self._leftovers.tidy(runtime.name)
        try:
            if work.record.kind == DeploymentKind.ADOPT:
                return take_over(self._history, target, work, progress)
            notes = execute(self._history, target, work, progress, check)
        except HeadgateError as error:
            runtime.needs_recovery = error.reason in UNFINISHED
            self._leftovers.note(runtime.name)
            raise
        if notes:
            self._leftovers.note(runtime.name)
        return notes

    def told(self, runtime: Runtime, result: StepResult) -> StepResult:
        """Return what a check, reload or probe said, without secrets; nothing of its output where it may hold some that are not known."""
        result = replace(result, message=hide(result.message), output=hide(result.output))
        if result.output and self._planning.secrecy.has_unknown(
            runtime, self._environments.get(runtime.name)
        ):
            return replace(result, output=NOT_SHOWN)
        return result

    def _check(
        self,
        runtime: Runtime,
        environment: Environment,
        record: ConfigDeployment,
        planned: Planned,
        cancelled: threading.Event | None,
    ) -> None:
        """Run the environment's checks on what is staged."""
        runtime.steps = ()  # It may be done once more, where the target moved.

        def note(result: StepResult) -> None:
            runtime.steps = (*runtime.steps, self.told(runtime, result))
            self._ledger.update(replace(record, steps=runtime.steps))

        history, target = self._history, self._planning.target(runtime, environment)

        def content(path: bytes, entry: Entry) -> Iterable[bytes]:
            if entry.seal:
                return (planned.sealing.open(b"".join(history.read(entry.digest))),)
            # What the target had before it was first deployed to is in no history.
            return history.read(entry.digest) if history.has(entry.digest) else target.read(path, entry)

        subject = Subject(
            environment.config_path,
            planned.plan,
            content,
            values_of(environment, record),
        )
        self._checking.run(environment.policies.checks, subject, note, _Ended(runtime.stopping, cancelled))
        stop_if_cancelled(runtime, cancelled)

    def _refuse_undefined(self, environment: Environment) -> None:
        """Refuse to deploy what would then lack a check or a reload: its definition has left the daemon's configuration."""
        missing = self._checking.missing(environment.policies)
        if missing:
            raise DeploymentFailedError(
                f"cannot deploy {environment.name}: "
                + "; ".join(f"{fault.field}: {fault.message}" for fault in missing),
                reason="COMMAND_UNDEFINED",
                hint="define it in the daemon's configuration, or take it off the environment (headgate env set)",
            )

    def _mark_applied(self, runtime: Runtime, record: ConfigDeployment) -> ConfigDeployment:
        """Put on disk that a deployment was applied and is still to be followed up, with what it undid."""
        info = record.rollback_info
        if info is not None and info.undone:
            self._ledger.mark_undone(info.undone, record.deployment_id)
        record = replace(record, applied_at=record.applied_at or utc_now())
        self._ledger.keep(record)
        runtime.following = record
        runtime.unconfirmed = None  # It is undone, or this came after it.
        return record

    def to_follow(self, record: ConfigDeployment) -> None:
        """Take up at start what was applied before the daemon stopped, to be followed up before anything else."""
        runtime = self._runtimes.get(record.environment)
        if runtime is None:
            self._ledger.finish(failed(record, _deleted(record.deployment_id)))
            return
        runtime.following = record
        self._ledger.update(record)

    def make_usable(self, runtime: Runtime) -> None:
        """Bring to its end what an earlier deployment could not, before anything else is begun.

        Raises:
            RefusedError: ENVIRONMENT_UNUSABLE.
            HeadgateError: it still cannot be brought to its end.
        """
        check_usable(runtime)
        if runtime.needs_recovery:
            self._recover(runtime.name)
            runtime.needs_recovery = False
            head = self._history.head(runtime.name)
            if head is not None:
                runtime.managed, runtime.current_id = head.managed, head.deployment_id
                if runtime.spoiled is not None and runtime.spoiled.record.deployment_id != runtime.current_id:
                    runtime.spoiled = None
        if runtime.following is not None:
            self._following.resume(runtime, self._environments.get(runtime.name))
        if runtime.spoiled is not None:
            self._following.take_back_again(runtime, self._environments.get(runtime.name))

    def ready(self, runtime: Runtime, record: ConfigDeployment) -> ConfigDeployment:
        """Bring to its end what comes before a deployment that has begun; returns its record, which may have a later sequence then.

        Raises:
            RefusedError, HeadgateError: as `make_usable`.
        """
        self.make_usable(runtime)
        if (
            record.sequence < runtime.begun
        ):  # Something was taken back meanwhile, and that came to the target first.
            record = self._ledger.renumber(record)
            runtime.sequence = max(runtime.sequence, record.sequence)
            runtime.begun = record.sequence
            runtime.running = record
            self._ledger.update(record)
        return record

    def to_take_back(self, runtime: Runtime, record: ConfigDeployment) -> None:
        """Take up at start what failed after it was applied and is still what the target has: its way back was cut off, or failed."""
        error = record.error
        if error is not None:
            why = DeploymentFailedError(error.message, reason=error.reason, hint=error.hint)
            runtime.spoiled = Spoiled(record, why)

    def give_up(self, runtime: Runtime) -> None:
        """End what is followed up or to be taken back, because its environment is deleted."""
        record, runtime.following, runtime.spoiled, runtime.unconfirmed = runtime.following, None, None, None
        if record is not None:
            self.fail(runtime, record, _deleted(record.deployment_id))

    def succeed(self, record: ConfigDeployment) -> ConfigDeployment:
        """Finish the record of a deployment that was applied; marks what it undid first. May be repeated."""
        info = record.rollback_info
        if info is not None and info.undone:
            self._ledger.mark_undone(info.undone, record.deployment_id)
        done = lifecycle.succeed(record, utc_now())
        if done.confirm_within and done.changes.total:
            done = replace(done, confirm_by=utc_now() + timedelta(seconds=done.confirm_within))
        runtime = self._runtimes.get(record.environment)
        if runtime is not None:
            runtime.unconfirmed = done if done.awaits_confirmation else None
            runtime.last, runtime.last_success_at, runtime.failure = done, done.finished_at, None
            runtime.synced_version = None
        self._ledger.finish(done)
        return done

    def succeed_interrupted(self, record: ConfigDeployment) -> None:
        """Finish a deployment that a crash cut off after it was applied, its hold included."""
        environment = self._environments.get(record.environment)
        undone = record.rollback_info.undone if record.rollback_info is not None else ()
        hold = hold_of(record, map(self._history.changes, undone)) if undone else None
        if record.kind == DeploymentKind.ADOPT:
            hold = adoption_hold(environment, record, self._history.changes(record.deployment_id), None)
        self._note_success(environment, None, hold)
        changes = self._history.changes(record.deployment_id)
        if record.kind != DeploymentKind.ADOPT and self._following.is_due(environment.policies, changes):
            self._mark_applied(self._runtimes[record.environment], record)
            self._ledger.update(record)
        else:
            self.succeed(record)

    def expire(self, runtime: Runtime, environment: Environment, record: ConfigDeployment) -> None:
        """Take back a deployment that nobody confirmed in time."""
        why = DeploymentFailedError(
            f"nobody confirmed {record.deployment_id} within {record.confirm_within:g} s",
            reason="NOT_CONFIRMED",
            hint="deploy it again, and confirm it: headgate confirm DEPLOYMENT_ID",
        )
        log.warning("%s", why.message)
        try:
            self._following.take_back(runtime, environment, record, why)
        finally:
            self.stop(runtime)

    def _note_success(self, environment: Environment, wanted: Wanted | None, hold: Hold | None) -> None:
        """Save what a success means for the environment: a new or lifted hold, no halt, what the sources were."""
        marks = dict(environment.marks)
        for path, now in (wanted.snapshots if wanted is not None else {}).items():
            if now.identity is not None:
                marks[path] = SourceMark(*now.identity, is_mount=now.is_mount, had_files=now.tree.files > 0)
        halt = None if wanted is not None else environment.halt
        self._environments.note(replace(environment, hold=hold, halt=halt, marks=marks))

    def _settings(self, plan: Plan) -> tuple[SettingChange, ...]:
        """Return the settings that changed in modified structured files, from history."""
        try:
            content = from_history(self._history)
            return changed_settings(plan, content, content, self._masking())
        except HeadgateError:
            log.exception("cannot tell which settings changed")
            return ()


@dataclass(frozen=True, slots=True)
class _Ended:
    """Whether a check is to end: the deployment is cancelled, its environment goes, or the daemon stops."""

    stopping: threading.Event
    cancelled: threading.Event | None

    def is_set(self) -> bool:
        return self.stopping.is_set() or (self.cancelled is not None and self.cancelled.is_set())


def _deleted(deployment_id: str) -> DeploymentFailedError:
    return DeploymentFailedError(
        f"{deployment_id} was applied, but its environment was deleted before all reloads and health probes were done",
        reason=ENVIRONMENT_DELETED,
        hint="look at what its target holds; the target stays as it is",
    )


def told_error(error: Exception) -> DeploymentFailedError:
    """Return an error as a deployment's failure. What nobody foresaw is logged whole and told in short."""
    if isinstance(error, DeploymentFailedError):
        return error
    if isinstance(error, HeadgateError):
        return DeploymentFailedError(error.message, reason=error.reason, hint=error.hint, paths=error.paths)
    log.error("a deployment failed in a way nobody foresaw", exc_info=error)
    return DeploymentFailedError(
        f"cannot deploy: {type(error).__name__} (the log tells more)",
        reason="INTERNAL",
        hint="please report it",
    )


def check_usable(runtime: Runtime) -> None:
    """Refuse an environment that must not be deployed at all.

    Raises:
        RefusedError: ENVIRONMENT_UNUSABLE.
    """
    if runtime.misfit:
        raise RefusedError(
            f"cannot deploy to {runtime.name}: {runtime.misfit}",
            reason="ENVIRONMENT_UNUSABLE",
            hint=f"mend it (headgate env set {runtime.name} ...), then try again",
        )


def cancelled_error() -> DeploymentFailedError:
    """Return what ends a deployment that somebody took back."""
    return DeploymentFailedError(
        "cannot go on: it was cancelled before it changed anything", reason="CANCELLED"
    )


def stop_if_cancelled(runtime: Runtime, cancelled: threading.Event | None) -> None:
    """End a deployment that has not changed anything, if somebody took it back, its environment goes or the daemon stops."""
    if cancelled is not None and cancelled.is_set():
        raise cancelled_error()
    if runtime.stopping.is_set():
        raise interrupted(runtime, "cannot go on")


def interrupted(runtime: Runtime, cannot: str) -> DeploymentFailedError:
    """Return what ends a deployment that has not changed anything where its environment goes or the daemon stops."""
    if runtime.leaving:
        return DeploymentFailedError(
            f"{cannot}: the environment is being deleted; nothing was changed", reason="INTERRUPTED"
        )
    return DeploymentFailedError(
        f"{cannot}: the daemon stops; nothing was changed",
        reason="INTERRUPTED",
        hint="ask for it again when the daemon is back; auto-sync does so by itself",
    )


def hold_of(record: ConfigDeployment, newest_first: Iterable[Sequence[Change]]) -> Hold | None:
    """Return the hold that undoing these changes places; None where there are none."""
    refused = rejected(newest_first)
    return Hold(record.deployment_id, utc_now(), refused) if refused else None


def adoption_hold(
    environment: Environment,
    record: ConfigDeployment,
    changes: Sequence[Change],
    wanted: Directory | None,
) -> Hold | None:
    """Return the hold that keeps auto-sync from overwriting what is adopted; an earlier one goes on in it."""
    if not environment.sources:
        return environment.hold
    before = environment.hold.rejected if environment.hold is not None else {}
    refused = rejected_by(changes, wanted, before)
    return environment.hold if refused == before else Hold(record.deployment_id, utc_now(), refused)
