"""Accepts orders and finds out what they mean: a deployment, a rollback, a restore, an adoption.

What can be refused is refused at once, before anything has an id; the rest is planned when its turn comes and carried out by
`deploying`. What comes to the disk, in this order:

    the line of the audit log, beside it the bytes of the record -> the request's id -> the record's name (-> the answer to who asked)
    beside all that: planning, staging, the intent (COMMIT, see `execution`)
            -> when both are there, the change at the target

So an order may be carried out while it is recorded (`accept`, then `run` beside `record`). Where it cannot be put on disk nothing has
changed, and there never was such a deployment.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace

from headgated.core import lifecycle
from headgated.core.deployment import (
    ConfigDeployment,
    DeploymentKind,
    RollbackInfo,
    Trigger,
)
from headgated.core.environment import DriftPolicy, Environment, Hold
from headgated.core.errors import (
    ConflictError,
    DeploymentFailedError,
    HeadgateError,
    InvalidRequestError,
    NotFoundError,
    RefusedError,
    TargetMovedError,
)
from headgated.core.orders import (
    AdoptOrder,
    Caller,
    DeployOrder,
    Order,
    RestoreOrder,
    RollbackOrder,
    file_faults,
)
from headgated.core.tree import Directory
from headgated.core.undo import check_reached, check_undoable, collected, standing_after
from headgated.effects.durable import at_once
from headgated.effects.history import History
from headgated.engine.adoption import NOT_DRIFTED, asked_paths, plan_adoption
from headgated.engine.content import from_history
from headgated.engine.deploying import (
    Deploying,
    adoption_hold,
    cancelled_error,
    check_usable,
    hold_of,
    stop_if_cancelled,
    told_error,
)
from headgated.engine.drift import DRIFTED, in_the_way, look_at_all, refusal
from headgated.engine.environments import Environments
from headgated.engine.following import SavedError
from headgated.engine.ledger import Ledger, failed, utc_now
from headgated.engine.planning import Allowed, Planned, Planning, UnsoundError, again_when_moved
from headgated.engine.runtime import Runtime

log = logging.getLogger("headgated.deploy")


@dataclass(slots=True)
class Job:
    """A deployment that was asked for and may not have begun."""

    record: ConfigDeployment
    order: Order
    cancelled: threading.Event = field(default_factory=threading.Event)
    recorded: Future[None] = field(default_factory=Future)
    """Whether it is on disk: done when it is, or when it cannot be put there."""


class Jobs:
    """Carries out orders, one at a time for each environment. Thread-safe.

    Args:
        runtimes: each environment's working state, by name.
        deploying: carries out what was planned.
    """

    def __init__(
        self,
        environments: Environments,
        runtimes: Mapping[str, Runtime],
        planning: Planning,
        history: History,
        ledger: Ledger,
        deploying: Deploying,
    ) -> None:
        self._environments, self._runtimes = environments, runtimes
        self._planning, self._history, self._ledger = planning, history, ledger
        self._deploying = deploying

    def prepare(self, order: Order, caller: Caller) -> Job:
        """Accept an order and put it on disk.

        Raises:
            NotFoundError, InvalidRequestError, RefusedError, ConflictError, UnavailableError: nothing was begun.
        """
        job = self.accept(order, caller)
        try:
            self.record(job)
        except BaseException:
            self.discard(job)
            raise
        return job

    def accept(self, order: Order, caller: Caller) -> Job:
        """Accept an order: check what can be checked now, and give it an id. Nothing is on disk yet.

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
        check_usable(runtime)
        _check_sequence(name, order.expected_sequence, runtime.sequence)
        self._check_drift(runtime, order)
        if runtime.unconfirmed is not None and isinstance(order, DeployOrder | AdoptOrder):
            raise _unconfirmed(RefusedError, name, runtime.unconfirmed.deployment_id)
        record = self._ledger.begin(
            name,
            kind,
            deployed_by=caller.user,
            trigger=Trigger.REQUEST,
            reason=order.reason,
            on_behalf_of=order.on_behalf_of,
            config_files=_named(order),
        )
        if isinstance(order, DeployOrder) and order.confirm_within:
            record = replace(record, confirm_within=order.confirm_within)
            self._ledger.update(record)
        return Job(record, order)

    def record(self, job: Job, after: Callable[[], object] = at_once) -> None:
        """Put what was accepted on disk, in PENDING.

        Args:
            job: what was accepted; it may run already.
            after: waits for what has to be on disk before the record is seen.

        Raises:
            UnavailableError: STATE_NOT_WRITABLE; to be discarded, unless it runs already. Whatever else `after` raises.
        """
        runtime = self._runtimes[job.record.environment]
        try:
            self._ledger.create(job.record, after)
        except BaseException as error:
            job.recorded.set_exception(error)
            raise
        runtime.sequence = max(runtime.sequence, job.record.sequence)
        job.recorded.set_result(None)
        running = runtime.running
        if running is not None and running.deployment_id == job.record.deployment_id:
            self._deploying.tell(runtime.name)

    def discard(self, job: Job) -> None:
        """Forget what was accepted, could not be put on disk, and does not run."""
        self._ledger.discard(job.record)

    def run(self, job: Job, *, loose: bool = False) -> ConfigDeployment:
        """Carry out what `prepare` accepted; returns its finished record.

        Args:
            loose: absolute paths outside every source may be named.

        Raises:
            DeploymentFailedError: why not; saved, logged, and the target is as it was before.
        """
        runtime = self._runtimes[job.record.environment]
        with runtime.lock:
            record = self._deploying.start(runtime, job.record, quietly=not job.recorded.done())
            try:
                stop_if_cancelled(runtime, job.cancelled)
                return again_when_moved(lambda: self._attempt(runtime, job, record, loose=loose))
            except SavedError:
                raise  # Saved, with the rollback that took it back.
            except Exception as error:
                if job.recorded.exception() is not None:
                    self._ledger.discard(record)
                    raise told_error(error) from error
                raise self._deploying.fail(runtime, record, error) from error
            finally:
                self._deploying.stop(runtime)

    def refuse(self, job: Job, error: DeploymentFailedError) -> None:
        """Record that what `prepare` accepted is not carried out."""
        self._deploying.fail(self._runtimes[job.record.environment], job.record, error)

    def withdraw(self, job: Job) -> None:
        """Record that what `prepare` accepted was cancelled before its turn came, whatever else runs there.

        Raises:
            UnavailableError: it is not on disk; as `Ledger.finish`.
        """
        self._ledger.finish(failed(job.record, cancelled_error()))

    def confirm(self, deployment_id: str, caller: Caller) -> ConfigDeployment:
        """Keep a deployment that would be taken back otherwise; may be repeated.

        Raises:
            NotFoundError: there is no such deployment.
            RefusedError: NOT_AWAITING_CONFIRMATION.
        """
        runtime = self._runtimes[self._environments.get(self._ledger.get(deployment_id).environment).name]
        with runtime.lock:
            record = self._ledger.get(deployment_id)
            confirmed = lifecycle.confirm(record, caller.user, utc_now())
            if confirmed is not record:
                self._ledger.amend(confirmed)
                log.info("%s confirmed %s", caller.user, deployment_id)
            runtime.unconfirmed = None
            if runtime.spoiled is not None and runtime.spoiled.record.deployment_id == deployment_id:
                runtime.spoiled = None  # It could not be taken back so far, and need not be any more.
            if runtime.last is not None and runtime.last.deployment_id == deployment_id:
                runtime.last = confirmed
        return confirmed

    def clear(self, name: str, caller: Caller) -> ConfigDeployment:
        """Remove from the target every file that was deployed there and that nobody changed since, as a deployment."""
        runtime, environment = self._runtimes[name], self._environments.get(name)
        with runtime.lock:
            self._deploying.give_up(runtime)
            self._deploying.make_usable(runtime)
            record = self._ledger.begin(
                name,
                DeploymentKind.DEPLOY,
                deployed_by=caller.user,
                trigger=Trigger.REQUEST,
                reason="the environment is deleted with its files",
            )
            self._ledger.create(record)
            record = self._deploying.start(runtime, record)
            try:
                planned = self._planning.plan_nothing(runtime, environment)
                return self._deploying.carry_out(runtime, environment, record, planned)
            except Exception as error:
                raise self._deploying.fail(runtime, record, error) from error
            finally:
                self._deploying.stop(runtime)

    def _attempt(
        self, runtime: Runtime, job: Job, record: ConfigDeployment, *, loose: bool
    ) -> ConfigDeployment:
        record = self._deploying.ready(runtime, record)
        environment = self._environments.get(runtime.name)
        order = job.order
        if runtime.unconfirmed is not None and isinstance(order, DeployOrder | AdoptOrder):
            raise _unconfirmed(DeploymentFailedError, runtime.name, runtime.unconfirmed.deployment_id)
        hold: Hold | None = None
        if isinstance(order, AdoptOrder):
            planned = self._plan_adoption(runtime, environment, order)
            hold = self._hold_of_adoption(runtime, environment, record, planned)
        elif isinstance(order, DeployOrder):
            self._refuse_drift(runtime, environment)
            planned = self._plan(runtime, environment, order, loose=loose)
        else:
            undone, to = self._to_undo(order, self._ledger.get(order.deployment_id))
            names = tuple(other.deployment_id for other in undone)
            changes = [self._history.changes(name) for name in names]
            planned = self._planning.plan_undo(runtime, environment, changes, to)
            record = replace(record, rollback_info=RollbackInfo(order.deployment_id, names))
            hold = hold_of(record, changes)
        return self._deploying.carry_out(
            runtime,
            environment,
            record,
            planned,
            cancelled=job.cancelled,
            hold=hold,
            recorded=job.recorded.result,
        )

    def _plan(
        self, runtime: Runtime, environment: Environment, order: DeployOrder, *, loose: bool
    ) -> Planned:
        self._planning.look_anew(environment)
        verdict = self._planning.unsound(runtime, environment, self._planning.look(environment))
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

    def _plan_adoption(self, runtime: Runtime, environment: Environment, order: AdoptOrder) -> Planned:
        look_at_all(runtime, environment, self._planning)
        asked = asked_paths(order.paths, environment.config_path)
        found, kept = self._planning.conceal(runtime, environment, runtime.edits.known)
        plan = plan_adoption(runtime.name, runtime.managed, found, asked)
        return Planned(plan, from_history(self._history), kept=kept)

    def _hold_of_adoption(
        self, runtime: Runtime, environment: Environment, record: ConfigDeployment, planned: Planned
    ) -> Hold | None:
        wanted: Directory | None = None
        with suppress(HeadgateError):
            wanted = self._planning.read(runtime, environment).tree
        return adoption_hold(environment, record, planned.plan.changes, wanted)

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
        # All that was applied since, also what cancelled itself out: a rollback of a rollback brought something back.
        undone = sorted([*applied, target], key=lambda record: -record.sequence)
        return undone, before

    def _managed(self, target: ConfigDeployment, verb: str) -> tuple[Directory, Directory]:
        """Return what was managed before and after a deployment.

        Raises:
            RefusedError: HISTORY_COLLECTED.
        """
        try:
            like = self._runtimes[target.environment].managed
            return self._history.managed(target.deployment_id, like)
        except NotFoundError as error:
            held = [deployment_id for _, deployment_id in self._history.applied_ids(target.environment, 0)]
            raise collected(target.deployment_id, held, verb) from error


def _unconfirmed(
    kind: type[RefusedError | DeploymentFailedError], name: str, deployment_id: str
) -> RefusedError | DeploymentFailedError:
    return kind(
        f"cannot deploy to {name}: {deployment_id} waits to be confirmed",
        reason="AWAITS_CONFIRMATION",
        hint=f"keep it: headgate confirm {deployment_id}; or undo it: headgate rollback {deployment_id}",
    )


def _check_sequence(name: str, expected: int | None, actual: int) -> None:
    if expected is not None and expected != actual:
        raise ConflictError(
            f"cannot deploy to {name}: its newest deployment has sequence {actual}, not {expected}",
            reason="SEQUENCE_MISMATCH",
            hint=f"look at what happened meanwhile: headgate deployments --env {name}",
        )


def _named(order: Order) -> tuple[str, ...]:
    if isinstance(order, AdoptOrder):
        return order.paths
    return order.config_files if isinstance(order, DeployOrder) else ()


def _check_names(names: Sequence[str], field: str = "config_files") -> None:
    if found := file_faults(field, names):
        raise InvalidRequestError("take the files named", found)
