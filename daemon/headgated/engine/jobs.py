"""Accepts orders and carries them out: a deployment, a rollback, a restore, each a record from PENDING to its end.

A deployment ends as SUCCESS or FAILED with its reason, saved and logged before an error is raised. What depends on success
(the undone deployments' mark, the hold, the lifted halt) is written before the record itself says SUCCESS, so that a crash
between the two is made right by doing it again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from headgated.core import lifecycle
from headgated.core.deployment import (
    ConfigDeployment,
    DeploymentKind,
    DeploymentStatus,
    RollbackInfo,
    SettingChange,
    Trigger,
)
from headgated.core.environment import DriftPolicy, Environment, Hold, SourceMark
from headgated.core.errors import (
    ConflictError,
    DeploymentFailedError,
    Fault,
    HeadgateError,
    InvalidRequestError,
    NotFoundError,
    RefusedError,
    TargetMovedError,
)
from headgated.core.hold import rejected
from headgated.core.orders import AdoptOrder, Caller, DeployOrder, Order, RestoreOrder, RollbackOrder
from headgated.core.plan import Change, Plan
from headgated.core.report import changes_of, version_of
from headgated.core.tree import Directory, Entry
from headgated.core.undo import check_reached, check_undoable, collected, standing_after
from headgated.effects.history import History
from headgated.engine.adoption import NOT_DRIFTED, asked_paths, plan_adoption, rejected_by, take_over
from headgated.engine.comparing import changed_settings
from headgated.engine.drift import DRIFTED, forget_changed, in_the_way, look_at_all, refusal
from headgated.engine.environments import Environments
from headgated.engine.execution import Work, execute
from headgated.engine.ledger import Ledger, failed, utc_now
from headgated.engine.planning import Allowed, Planned, Planning, UnsoundError, again_when_moved
from headgated.engine.runtime import Runtime
from headgated.engine.wanted import Wanted

log = logging.getLogger("headgated.deploy")

UNFINISHED = frozenset({"UNDO_FAILED", "STATE_NOT_WRITABLE"})
"""Reasons after which history may hold an intent that has to be brought to its end before anything else."""


@dataclass(slots=True)
class Job:
    """A deployment that was asked for and may not have begun."""

    record: ConfigDeployment
    order: Order
    cancelled: threading.Event = field(default_factory=threading.Event)


class Jobs:
    """Carries out orders, one at a time for each environment. Thread-safe.

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
        self._tell, self._recover = tell, recover

    def prepare(self, order: Order, caller: Caller) -> Job:
        """Accept an order: check what can be checked now, and give it an id and a record in PENDING.

        Raises:
            NotFoundError, InvalidRequestError, RefusedError, ConflictError: nothing was begun.
        """
        if isinstance(order, DeployOrder):
            name, kind = self._environments.get(order.environment).name, DeploymentKind.DEPLOY
            _check_names(order.config_files)
        elif isinstance(order, AdoptOrder):
            name, kind = self._environments.get(order.environment).name, DeploymentKind.ADOPT
            _check_names(order.paths, "paths")
        else:
            target = self._ledger.get(order.deployment_id)
            name = self._environments.get(target.environment).name
            kind = DeploymentKind.ROLLBACK if isinstance(order, RollbackOrder) else DeploymentKind.RESTORE
            self._to_undo(order, target)
        runtime = self._runtimes[name]
        _check_usable(runtime)
        _check_sequence(name, order.expected_sequence, runtime.sequence)
        self._check_drift(runtime, order)
        record = self._ledger.begin(
            name,
            kind,
            deployed_by=caller.user,
            trigger=Trigger.REQUEST,
            reason=order.reason,
            on_behalf_of=order.on_behalf_of,
            config_files=_named(order),
        )
        runtime.sequence = max(runtime.sequence, record.sequence)
        return Job(record, order)

    def run(self, job: Job, *, loose: bool = False) -> ConfigDeployment:
        """Carry out what `prepare` accepted; returns its finished record.

        Args:
            loose: absolute paths outside every source may be named.

        Raises:
            DeploymentFailedError: why not; saved, logged, and the target is as it was before.
        """
        runtime = self._runtimes[job.record.environment]
        with runtime.lock:
            record = self.start(runtime, job.record)
            try:
                _stop_if_cancelled(runtime, job)
                return again_when_moved(lambda: self._attempt(runtime, job, record, loose=loose))
            except Exception as error:
                raise self.fail(runtime, record, error) from error
            finally:
                self.stop(runtime)

    def start(self, runtime: Runtime, record: ConfigDeployment) -> ConfigDeployment:
        """Begin to work on a record."""
        record = lifecycle.start(record, utc_now())
        runtime.running = record
        self._ledger.update(record)
        self._tell(runtime.name)
        return record

    def stop(self, runtime: Runtime) -> None:
        """The environment works on nothing any more."""
        runtime.running = None
        self._tell(runtime.name)

    def fail(self, runtime: Runtime, record: ConfigDeployment, error: Exception) -> DeploymentFailedError:
        """Save and log that a deployment did not succeed; returns what to raise."""
        told = told_error(error)
        record = failed(record, told)
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
        job: Job | None = None,
        hold: Hold | None = None,
    ) -> ConfigDeployment:
        """Apply a plan for a record in progress; returns the record as SUCCESS, saved."""
        plan, managed = planned.plan, runtime.managed
        record = replace(record, config_version=version_of(plan.result), changes=changes_of(plan, managed))

        def progress(step: str, done: int, total: int) -> None:
            if step != "apply":
                _stop_if_cancelled(runtime, job)
            self._ledger.progress(record, step, done, total)

        work = Work(plan, planned.content, record, environment.config_path, managed)
        carry_out = take_over if record.kind == DeploymentKind.ADOPT else execute
        try:
            notes = carry_out(self._history, self._planning.target(runtime, environment), work, progress)
        except HeadgateError as error:
            runtime.needs_recovery = error.reason in UNFINISHED
            raise
        runtime.managed, runtime.current_id = plan.result, record.deployment_id
        forget_changed(runtime, plan)
        notes = (*record.changes.notes, *notes)
        record = replace(
            record, changes=replace(record.changes, settings_changed=self._settings(plan), notes=notes)
        )
        try:
            self._note_success(environment, planned.wanted, hold)
            done = self.succeed(record)
            self._history.applied(record.deployment_id)
        except (HeadgateError, OSError):
            # The target has changed and the intent stands: it has succeeded. What is missing is made up for before the next one.
            log.exception("cannot save that %s succeeded", record.deployment_id)
            runtime.needs_recovery = True
            return lifecycle.succeed(record, utc_now())
        return done

    def make_usable(self, runtime: Runtime) -> None:
        """Bring to its end what an earlier deployment could not, before anything else is begun.

        Raises:
            RefusedError: ENVIRONMENT_UNUSABLE.
            HeadgateError: it still cannot be brought to its end.
        """
        _check_usable(runtime)
        if runtime.needs_recovery:
            self._recover(runtime.name)
            runtime.needs_recovery = False
            head = self._history.head(runtime.name)
            if head is not None:
                runtime.managed, runtime.current_id = head.managed, head.deployment_id

    def succeed(self, record: ConfigDeployment) -> ConfigDeployment:
        """Finish the record of a deployment that was applied; marks what it undid first. May be repeated."""
        info = record.rollback_info
        if info is not None and info.undone:
            self._ledger.mark_undone(info.undone, record.deployment_id)
        done = lifecycle.succeed(record, utc_now())
        runtime = self._runtimes.get(record.environment)
        if runtime is not None:
            runtime.last, runtime.last_success_at, runtime.failure = done, done.finished_at, None
            runtime.synced_version = None
        self._ledger.finish(done)
        return done

    def succeed_interrupted(self, record: ConfigDeployment) -> None:
        """Finish a deployment that a crash cut off after it was applied, its hold included."""
        environment = self._environments.get(record.environment)
        undone = record.rollback_info.undone if record.rollback_info is not None else ()
        hold = self._hold(record, undone) if undone else None
        if record.kind == DeploymentKind.ADOPT:
            hold = _adoption_hold(environment, record, self._history.changes(record.deployment_id), None)
        self._note_success(environment, None, hold)
        self.succeed(record)

    def clear(self, name: str, caller: Caller) -> ConfigDeployment:
        """Remove from the target every file that was deployed there and that nobody changed since, as a deployment."""
        runtime, environment = self._runtimes[name], self._environments.get(name)
        with runtime.lock:
            self.make_usable(runtime)
            record = self._ledger.begin(
                name,
                DeploymentKind.DEPLOY,
                deployed_by=caller.user,
                trigger=Trigger.REQUEST,
                reason="the environment is deleted with its files",
            )
            record = self.start(runtime, record)
            try:
                planned = self._planning.plan_nothing(runtime, environment)
                return self.carry_out(runtime, environment, record, planned)
            except Exception as error:
                raise self.fail(runtime, record, error) from error
            finally:
                self.stop(runtime)

    def _attempt(
        self, runtime: Runtime, job: Job, record: ConfigDeployment, *, loose: bool
    ) -> ConfigDeployment:
        self.make_usable(runtime)
        environment = self._environments.get(runtime.name)
        order = job.order
        if isinstance(order, AdoptOrder):
            return self._adopt(runtime, environment, record, job)
        if isinstance(order, DeployOrder):
            self._refuse_drift(runtime, environment)
            planned = self._plan(runtime, environment, order, loose=loose)
            return self.carry_out(runtime, environment, record, planned, job=job)
        target = self._ledger.get(order.deployment_id)
        undone, to = self._to_undo(order, target)
        marked = tuple(other.deployment_id for other in undone if other.status == DeploymentStatus.SUCCESS)
        planned = self._planning.plan_undo(
            runtime, environment, [other.deployment_id for other in undone], to
        )
        record = replace(record, rollback_info=RollbackInfo(order.deployment_id, marked))
        hold = self._hold(record, [other.deployment_id for other in undone])
        return self.carry_out(runtime, environment, record, planned, job=job, hold=hold)

    def _plan(
        self, runtime: Runtime, environment: Environment, order: DeployOrder, *, loose: bool
    ) -> Planned:
        self._planning.look_anew(environment)
        verdict = self._planning.unsound(runtime, environment)
        if verdict is not None and not (order.allow_empty and verdict.reason == "SOURCE_EMPTY"):
            raise UnsoundError(verdict)
        if order.config_files:
            return self._planning.plan_files(runtime, environment, order.config_files, loose=loose)
        if not environment.sources:
            raise DeploymentFailedError(
                f"cannot deploy {environment.name}: it subscribes to no source, and no files were named",
                reason="NOTHING_TO_DEPLOY",
                hint=f"name files, or add a source: headgate env set {environment.name} --source DIR",
            )
        wanted = self._planning.read(runtime, environment)
        allowed = Allowed(empty=order.allow_empty, mass_removal=order.allow_mass_removal)
        return self._planning.plan_sources(runtime, environment, wanted, full=True, allowed=allowed)

    def _check_drift(self, runtime: Runtime, order: Order) -> None:
        """Refuse at once what drift, or that there is none, is in the way of; where a deployment runs, that is left for later."""
        if runtime.needs_recovery or not runtime.lock.acquire(blocking=False):
            return
        try:
            environment = self._environments.get(runtime.name)
            if isinstance(order, AdoptOrder):
                self._plan_adoption(runtime, environment, order)
            elif isinstance(order, DeployOrder):
                self._refuse_drift(runtime, environment)
        except DeploymentFailedError as error:
            if error.reason in (NOT_DRIFTED, DRIFTED):
                raise RefusedError(
                    error.message, reason=error.reason, hint=error.hint, paths=error.paths
                ) from error
        except TargetMovedError:
            pass  # It is tried again when it is carried out.
        finally:
            runtime.lock.release()

    def _refuse_drift(self, runtime: Runtime, environment: Environment) -> None:
        """Refuse to overwrite edits where the policy says so and nobody said that it may be done."""
        if environment.policies.drift == DriftPolicy.REFUSE:
            look_at_all(runtime, environment, self._planning)
            paths = in_the_way(runtime, environment)
            if paths:
                raise refusal(runtime.name, paths)

    def _plan_adoption(self, runtime: Runtime, environment: Environment, order: AdoptOrder) -> Plan:
        look_at_all(runtime, environment, self._planning)
        asked = asked_paths(order.paths, environment.config_path)
        return plan_adoption(runtime.name, runtime.managed, runtime.edits.known, asked)

    def _adopt(
        self, runtime: Runtime, environment: Environment, record: ConfigDeployment, job: Job
    ) -> ConfigDeployment:
        if not isinstance(job.order, AdoptOrder):
            raise TypeError("only an order to adopt can be adopted by")
        plan = self._plan_adoption(runtime, environment, job.order)
        wanted: Directory | None = None
        with suppress(HeadgateError):
            wanted = self._planning.read(runtime, environment).tree
        hold = _adoption_hold(environment, record, plan.changes, wanted)
        planned = Planned(plan, self._from_history)
        return self.carry_out(runtime, environment, record, planned, job=job, hold=hold)

    def _to_undo(
        self, order: RollbackOrder | RestoreOrder, target: ConfigDeployment
    ) -> tuple[list[ConfigDeployment], Directory]:
        """Return the deployments that an order undoes, newest first, and what is managed afterwards.

        Raises:
            RefusedError: it cannot be undone or returned to; HISTORY_COLLECTED, history no longer holds what it needs.
        """
        applied = [
            self._ledger.get(deployment_id)
            for sequence, deployment_id in self._history.applied_ids(target.environment, target.sequence)
            if sequence > target.sequence
        ]
        verb = "return to" if isinstance(order, RestoreOrder) else "roll back"
        check_reached(target, verb)
        before, after = self._managed(target, verb)
        if isinstance(order, RestoreOrder):
            return sorted(applied, key=lambda record: -record.sequence), after
        later = standing_after([target, *applied], target.sequence)
        check_undoable(target, later, include_later=order.include_later)
        return [*later, target], before

    def _managed(self, target: ConfigDeployment, verb: str) -> tuple[Directory, Directory]:
        """Return what was managed before and after a deployment.

        Raises:
            RefusedError: HISTORY_COLLECTED.
        """
        try:
            return self._history.managed(target.deployment_id)
        except NotFoundError as error:
            held = [deployment_id for _, deployment_id in self._history.applied_ids(target.environment, 0)]
            raise collected(target.deployment_id, held, verb) from error

    def _hold(self, record: ConfigDeployment, newest_first: Sequence[str]) -> Hold | None:
        refused = rejected(self._history.changes(deployment_id) for deployment_id in newest_first)
        return Hold(record.deployment_id, utc_now(), refused) if refused else None

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
            return changed_settings(plan, self._from_history, self._from_history)
        except HeadgateError:
            log.exception("cannot tell which settings changed")
            return ()

    def _from_history(self, _path: bytes, entry: Entry) -> Iterable[bytes]:
        return self._history.read(entry.digest)


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


def _check_usable(runtime: Runtime) -> None:
    if runtime.misfit:
        raise RefusedError(
            f"cannot deploy to {runtime.name}: {runtime.misfit}",
            reason="ENVIRONMENT_UNUSABLE",
            hint=f"mend it (headgate env set {runtime.name} ...), then try again",
        )


def _check_sequence(name: str, expected: int | None, actual: int) -> None:
    if expected is not None and expected != actual:
        raise ConflictError(
            f"cannot deploy to {name}: its newest deployment has sequence {actual}, not {expected}",
            reason="SEQUENCE_MISMATCH",
            hint=f"look at what happened meanwhile: headgate deployments --env {name}",
        )


def _adoption_hold(
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


def _named(order: Order) -> tuple[str, ...]:
    if isinstance(order, AdoptOrder):
        return order.paths
    return order.config_files if isinstance(order, DeployOrder) else ()


def _check_names(names: Sequence[str], field: str = "config_files") -> None:
    found = []
    for index, name in enumerate(names):
        parts = name.removeprefix("/").rstrip("/").split("/")
        if not name or "\0" in name or ".." in parts or "" in parts:
            found.append(Fault(f"{field}[{index}]", f"is not a path to a file ({name!r:.200})"))
    if found:
        raise InvalidRequestError("take the files named", found)


def _stop_if_cancelled(runtime: Runtime, job: Job | None) -> None:
    """End a deployment that has not changed anything, if somebody took it back or the daemon stops."""
    if job is not None and job.cancelled.is_set():
        raise DeploymentFailedError(
            f"cannot go on with {job.record.deployment_id}: it was cancelled before it changed anything",
            reason="CANCELLED",
        )
    if runtime.stopping.is_set():
        raise DeploymentFailedError(
            "cannot go on: the daemon stops; nothing was changed",
            reason="INTERRUPTED",
            hint="ask for it again when the daemon is back; auto-sync does so by itself",
        )
