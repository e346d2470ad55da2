"""The deployments of the daemon in memory: accepted at once, carried out one after the other, undone from their own history."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration

from headgate.errors import (
    ConflictError,
    Fault,
    HeadgateError,
    InvalidRequestError,
    NotFoundError,
    RefusedError,
    refuse,
)
from headgate.testing import checks
from headgate.testing.environments import Environments, Place
from headgate.testing.feed import Feed
from headgate.testing.trees import Step, Tree, drifted, removes_most, step_back, step_to, unified, version
from headgate.v1 import deployment_pb2 as dp, environment_pb2 as ep

Order = dp.DeployRequest | dp.RollbackRequest | dp.RestoreRequest | dp.AdoptDriftRequest
_KINDS: Mapping[type, tuple[dp.DeploymentKind.ValueType, str]] = {
    dp.DeployRequest: (dp.DEPLOYMENT_KIND_DEPLOY, "deploy"),
    dp.RollbackRequest: (dp.DEPLOYMENT_KIND_ROLLBACK, "rollback"),
    dp.RestoreRequest: (dp.DEPLOYMENT_KIND_RESTORE, "rollback"),
    dp.AdoptDriftRequest: (dp.DEPLOYMENT_KIND_ADOPT, "deploy"),
}
REACHED = (dp.DEPLOYMENT_STATUS_SUCCESS, dp.DEPLOYMENT_STATUS_ROLLED_BACK)
_LONGEST_CONFIRMATION = 7 * 86400
"""Seconds."""
FINISHED = (*REACHED, dp.DEPLOYMENT_STATUS_FAILED)


@dataclass(slots=True)
class Applied:
    """What history has of a deployment that reached its target."""

    step: Step
    before: Tree
    """What was managed before."""


class Deployments:
    """Every deployment. Guarded by the lock of whoever owns it."""

    def __init__(self, environments: Environments, feed: Feed, user: str) -> None:
        self._environments, self._feed, self._user = environments, feed, user
        self.records: dict[str, dp.ConfigDeployment] = {}
        self.applied: dict[str, Applied] = {}
        self.orders: dict[str, Order | None] = {}
        self.failures: list[HeadgateError] = []
        """What the next deployments fail with."""

    def find(self, deployment_id: str) -> dp.ConfigDeployment:
        """Return one."""
        refuse("find the deployment", checks.identified("deployment_id", deployment_id))
        if deployment_id not in self.records:
            raise NotFoundError(
                f"there is no deployment {deployment_id}",
                reason="DEPLOYMENT_NOT_FOUND",
                hint="see which there are: headgate deployments",
            )
        return self.records[deployment_id]

    def newest_first(self, environment: str = "") -> list[dp.ConfigDeployment]:
        """Return those of one environment, or of all."""
        return [each for each in reversed(self.records.values()) if environment in ("", each.environment)]

    def accept(self, order: Order) -> str:
        """Check what can be checked now, and make a record in PENDING."""
        refuse("deploy", checks.repeatable(order.request_id))
        if isinstance(order, dp.RollbackRequest | dp.RestoreRequest):
            target = self.find(order.deployment_id)
            place = self._environments.find(target.environment)
            self._undone(order, target)
        else:
            place = self._environments.find(order.environment)
            _check_names(order)
            self._check_confirmed(place.message.name)
        if isinstance(order, dp.DeployRequest) and order.HasField("confirm_within"):
            _check_span(order.confirm_within)
        if order.HasField("expected_sequence") and order.expected_sequence != place.sequence:
            raise ConflictError(
                f"cannot deploy to {place.message.name}: its newest deployment has sequence {place.sequence}, "
                f"not {order.expected_sequence}",
                reason="SEQUENCE_MISMATCH",
                hint=f"look at what happened meanwhile: headgate deployments --env {place.message.name}",
            )
        if isinstance(order, dp.AdoptDriftRequest):
            self._adopted(place, order)
        return self.begin(place, order).deployment_id

    def begin(self, place: Place, order: Order | None) -> dp.ConfigDeployment:
        """Make a record in PENDING; without an order it is auto-sync's."""
        kind, word = _KINDS[type(order)] if order is not None else _KINDS[dp.DeployRequest]
        place.sequence += 1
        record = dp.ConfigDeployment(
            deployment_id=self._free_id(f"{word}_{place.message.name}_{int(time.time())}"),
            environment=place.message.name,
            kind=kind,
            status=dp.DEPLOYMENT_STATUS_PENDING,
            sequence=place.sequence,
            deployed_by=self._user if order is not None else "auto-sync",
            trigger=dp.DEPLOYMENT_TRIGGER_REQUEST if order is not None else dp.DEPLOYMENT_TRIGGER_AUTO_SYNC,
        )
        if order is not None:
            record.reason, record.on_behalf_of = order.reason, order.on_behalf_of
        if isinstance(order, dp.DeployRequest):
            record.config_files.extend(order.config_files)
            if order.HasField("confirm_within"):
                record.confirm_within.CopyFrom(order.confirm_within)
        record.deployed_at.GetCurrentTime()
        self.records[record.deployment_id], self.orders[record.deployment_id] = record, order
        self._tell(record)
        return record

    def carry_out(self, record: dp.ConfigDeployment) -> None:
        """Do what was accepted; whatever is wrong with it ends in the record."""
        place = self._environments.find(record.environment)
        place.running = True
        record.status = dp.DEPLOYMENT_STATUS_IN_PROGRESS
        record.started_at.GetCurrentTime()
        self._tell(record)
        try:
            if self.failures:
                raise self.failures.pop(0)
            self._apply(place, record, self._step(place, record))
        except HeadgateError as error:
            self.fail(record, error)
            if self.orders[record.deployment_id] is None:
                place.failed = (error.reason, self._environments.wanted(place))
        finally:
            place.running = False
            self._environments.told(place)

    def fail(self, record: dp.ConfigDeployment, error: HeadgateError) -> None:
        """End a deployment that changed nothing."""
        record.status = dp.DEPLOYMENT_STATUS_FAILED
        record.error.CopyFrom(
            dp.DeploymentError(reason=error.reason, message=error.message, hint=error.hint, paths=error.paths)
        )
        self._end(record)

    def cancel(self, deployment_id: str) -> str:
        """Take one back that waits."""
        record = self.find(deployment_id)
        if record.status != dp.DEPLOYMENT_STATUS_PENDING:
            word = dp.DeploymentStatus.Name(record.status).removeprefix("DEPLOYMENT_STATUS_").lower()
            raise RefusedError(
                f"cannot cancel {deployment_id}: it is over ({word})",
                reason="NOT_CANCELLABLE",
                hint=f"undo it: headgate rollback {deployment_id}",
            )
        self.fail(
            record,
            HeadgateError("cannot go on: it was cancelled before it changed anything", reason="CANCELLED"),
        )
        return deployment_id

    def confirm(self, deployment_id: str) -> str:
        """Keep one that would be taken back otherwise."""
        record = self.find(deployment_id)
        if record.HasField("confirmed_at"):
            return deployment_id
        if not awaits_confirmation(record):
            raise RefusedError(
                f"cannot confirm {deployment_id}: nobody has to confirm it",
                reason="NOT_AWAITING_CONFIRMATION",
                hint=f"look at it: headgate show {deployment_id}",
            )
        record.confirmed_at.GetCurrentTime()
        record.confirmed_by = self._user
        self._tell(record)
        return deployment_id

    def expire(self, deployment_id: str) -> None:
        """Take back one that nobody has confirmed."""
        record = self.records[deployment_id]
        if record.environment not in self._environments.places or not awaits_confirmation(record):
            return
        undo = self.begin(
            self._environments.find(record.environment), dp.RollbackRequest(deployment_id=deployment_id)
        )
        undo.trigger, undo.deployed_by = dp.DEPLOYMENT_TRIGGER_AUTO_ROLLBACK, "auto-rollback"
        undo.reason = f"{deployment_id}: NOT_CONFIRMED"
        self.carry_out(undo)

    def clear(self, place: Place) -> str:
        """Remove what was deployed and nobody changed since, as a deployment."""
        record = self.begin(place, dp.DeployRequest(reason="the environment is deleted with its files"))
        live = self._environments.live(place)
        self._apply(place, record, step_to({}, place.managed, live, prune=True))
        return record.deployment_id

    def plan(self, request: dp.PlanDeploymentRequest) -> dp.PlanDeploymentResponse:
        """Tell what a deployment would change."""
        place = self._environments.find(request.environment)
        live, edits = self._environments.live(place), []
        answer = dp.PlanDeploymentResponse(environment=request.environment)
        try:
            step = self._forward(place, dp.DeployRequest(config_files=request.config_files), check=False)
            self._check_safe(place, dp.DeployRequest(), step.managed)
        except HeadgateError as error:
            answer.blocked.CopyFrom(
                dp.DeploymentError(reason=error.reason, message=error.message, hint=error.hint)
            )
            step = step_to(self._environments.wanted(place), place.managed, live, prune=True)
        answer.config_version = version(step.managed)
        answer.changes.CopyFrom(step.changes)
        for path, new in sorted(step.left.items()):
            if not request.no_diff:
                answer.diffs.add(path=path, unified=unified(path, step.found[path], new))
        edits = drifted(place.managed, live)
        shown = Step(
            {path: place.managed[path] for path in edits}, {path: live.get(path) for path in edits}, {}
        )
        answer.drifted.extend([*shown.changes.modified, *shown.changes.removed])
        return answer

    def due(self, place: Place) -> bool:
        """Tell whether auto-sync has something to do; notes a halt, and that a hold lifts."""
        message, wanted = place.message, self._environments.wanted(place)
        if not message.auto_sync or message.sync.HasField("pause") or wanted == place.managed:
            return False
        if any(awaits_confirmation(each) for each in self.newest_first(message.name)):
            return False
        if place.failed is not None and place.failed[1] == wanted:
            return False
        if message.sync.HasField("hold"):
            if any(wanted.get(path) == content for path, content in place.rejected.items()):
                return False
            message.sync.ClearField("hold")
        try:
            self._check_safe(place, dp.DeployRequest(), wanted)
        except HeadgateError as error:
            if message.sync.halt.reason != error.reason:
                message.sync.halt.reason, message.sync.halt.message = error.reason, error.message
                message.sync.halt.since.GetCurrentTime()
                self._environments.told(place)
            return False
        return True

    def _step(self, place: Place, record: dp.ConfigDeployment) -> Step:
        order = self.orders[record.deployment_id]
        if isinstance(order, dp.RollbackRequest | dp.RestoreRequest):
            target = self.find(order.deployment_id)
            undone = self._undone(order, target)
            history = self.applied[target.deployment_id]
            managed = history.before if isinstance(order, dp.RollbackRequest) else history.step.managed
            record.rollback_info.target_deployment_id = target.deployment_id
            record.rollback_info.undone.extend(each.deployment_id for each in undone)
            steps = [self.applied[each.deployment_id].step for each in undone]
            return step_back(steps, managed, self._environments.live(place))
        if isinstance(order, dp.AdoptDriftRequest):
            return self._adopted(place, order)
        return self._forward(place, order or dp.DeployRequest(), check=True)

    def _forward(self, place: Place, order: dp.DeployRequest, *, check: bool) -> Step:
        wanted, live = self._environments.wanted(place), self._environments.live(place)
        if order.config_files:
            named = [_relative(name, place.message.sources) for name in order.config_files]
            if missing := [name for name in named if name not in wanted]:
                raise HeadgateError(
                    f"cannot deploy {missing[0]}: there is no such file",
                    reason="FILE_NOT_FOUND",
                    paths=missing,
                )
            wanted = {**place.managed, **{name: wanted[name] for name in named}}
        elif not place.message.sources:
            raise HeadgateError(
                f"cannot deploy {place.message.name}: it subscribes to no source, and no files were named",
                reason="NOTHING_TO_DEPLOY",
            )
        elif check:
            self._check_safe(place, order, wanted)
        policies = place.message.policies
        edits = drifted(place.managed, live)
        if edits and policies.drift == ep.DRIFT_POLICY_REFUSE:
            raise HeadgateError(
                f"cannot deploy to {place.message.name}: {edits[0]} was edited", reason="DRIFTED", paths=edits
            )
        return step_to(wanted, place.managed, live, prune=policies.prune or not policies.HasField("prune"))

    def _check_safe(self, place: Place, order: dp.DeployRequest, wanted: Tree) -> None:
        name = place.message.name
        for source in place.message.sources:
            if source not in self._environments.sources:
                raise HeadgateError(f"cannot deploy from {source}: it is missing", reason="SOURCE_MISSING")
        if place.managed and not wanted and not order.allow_empty:
            raise HeadgateError(
                "cannot deploy: the sources hold no file any more",
                reason="SOURCE_EMPTY",
                hint=f"if that is right: headgate deploy {name} --allow-empty",
            )
        if wanted and removes_most(place.managed, wanted) and not order.allow_mass_removal:
            raise HeadgateError(
                "cannot deploy: more than half of the managed files would be removed",
                reason="MASS_REMOVAL",
                hint=f"if that is right: headgate deploy {name} --allow-mass-removal",
            )

    def _adopted(self, place: Place, order: dp.AdoptDriftRequest) -> Step:
        live = self._environments.live(place)
        asked = [_relative(path, [place.message.config_path]) for path in order.paths]
        edits = [
            path
            for path in drifted(place.managed, live)
            if not asked or any(path == each or path.startswith(f"{each}/") for each in asked)
        ]
        if not edits:
            raise RefusedError(
                f"cannot adopt {place.message.name}: everything there is as it was deployed",
                reason="NOT_DRIFTED",
            )
        kept = {path: content for path, content in place.managed.items() if path not in edits}
        managed = kept | {path: live[path] for path in edits if path in live}
        return Step(
            {path: place.managed[path] for path in edits}, {path: live.get(path) for path in edits}, managed
        )

    def _check_confirmed(self, name: str) -> None:
        waits = next((each for each in self.newest_first(name) if awaits_confirmation(each)), None)
        if waits is not None:
            raise RefusedError(
                f"cannot deploy to {name}: {waits.deployment_id} waits to be confirmed",
                reason="AWAITS_CONFIRMATION",
                hint=f"keep it: headgate confirm {waits.deployment_id}; or undo it",
            )

    def _undone(
        self, order: dp.RollbackRequest | dp.RestoreRequest, target: dp.ConfigDeployment
    ) -> list[dp.ConfigDeployment]:
        """Return what an order undoes, newest first."""
        restore, name = isinstance(order, dp.RestoreRequest), target.deployment_id
        verb = "return to" if restore else "roll back"
        if not restore and target.status == dp.DEPLOYMENT_STATUS_ROLLED_BACK:
            raise RefusedError(
                f"cannot {verb} {name}: {target.rollback_info.rolled_back_by} has undone it already",
                reason="ALREADY_ROLLED_BACK",
                hint=f"to bring its state back: headgate restore {name}",
            )
        if target.status not in REACHED:
            raise RefusedError(
                f"cannot {verb} {name}: the target never had its state",
                reason="NOT_REACHED",
                hint="choose one that succeeded: headgate deployments",
            )
        later = [
            each
            for each in self.newest_first(target.environment)
            if each.sequence > target.sequence and each.status in REACHED
        ]
        standing = [each.deployment_id for each in self._standing(later, target.sequence)]
        if isinstance(order, dp.RollbackRequest) and standing and not order.include_later:
            raise RefusedError(
                f"cannot roll back {name}: {len(standing)} later deployment(s) stand on it",
                reason="LATER_DEPLOYMENTS",
                hint=f"undo them too: headgate rollback {name} --include-later",
                paths=standing,
            )
        return later if restore else [*later, target]

    def _standing(
        self, newest_first: Iterable[dp.ConfigDeployment], sequence: int
    ) -> Iterable[dp.ConfigDeployment]:
        """Yield those in force; a rollback of nothing but later ones cancels out with them."""
        cancelled: set[str] = set()
        for record in newest_first:
            undone = record.rollback_info.undone
            if record.deployment_id not in cancelled:
                cancelled.update(undone)
                if not undone or any(self.records[each].sequence <= sequence for each in undone):
                    yield record

    def _apply(self, place: Place, record: dp.ConfigDeployment, step: Step) -> None:
        record.config_version = version(step.managed)
        record.changes.CopyFrom(step.changes)
        record.progress.CopyFrom(
            dp.Progress(step="apply", files_done=len(step.left), files_total=len(step.left))
        )
        self._tell(record)
        self.applied[record.deployment_id] = Applied(step, place.managed)
        live = self._environments.live(place)
        for path, content in step.left.items():
            if content is None:
                live.pop(path, None)
            else:
                live[path] = content
        place.managed, place.failed = step.managed, None
        self._hold(place, record, step)
        sync = place.message.sync
        sync.ClearField("halt")
        sync.last_deployment_id = sync.current_deployment_id = record.deployment_id
        sync.deployed_version = record.config_version
        sync.last_success_at.GetCurrentTime()
        record.status = dp.DEPLOYMENT_STATUS_SUCCESS
        if record.HasField("confirm_within") and step.left:
            record.confirm_by.GetCurrentTime()
            record.confirm_by.FromDatetime(
                record.confirm_by.ToDatetime() + record.confirm_within.ToTimedelta()
            )
        for name in record.rollback_info.undone:
            self._mark_undone(self.records[name], record)
        self._end(record)

    def _hold(self, place: Place, record: dp.ConfigDeployment, step: Step) -> None:
        if record.kind == dp.DEPLOYMENT_KIND_DEPLOY:
            place.rejected = {}
        elif record.kind == dp.DEPLOYMENT_KIND_ADOPT:
            wanted = self._environments.wanted(place)
            place.rejected = {path: wanted.get(path) for path in step.left}
        else:
            place.rejected = {}
            for name in reversed(record.rollback_info.undone):
                place.rejected = {**place.rejected, **self.applied[name].step.left}
        place.message.sync.ClearField("hold")
        if place.rejected:
            hold = ep.Hold(deployment_id=record.deployment_id, paths=sorted(place.rejected))
            hold.since.GetCurrentTime()
            place.message.sync.hold.CopyFrom(hold)

    def _mark_undone(self, undone: dp.ConfigDeployment, by: dp.ConfigDeployment) -> None:
        if undone.status == dp.DEPLOYMENT_STATUS_SUCCESS:
            undone.status = dp.DEPLOYMENT_STATUS_ROLLED_BACK
            undone.rollback_info.rolled_back_by = by.deployment_id
            undone.rollback_info.rolled_back_at.GetCurrentTime()
            self._tell(undone)

    def _end(self, record: dp.ConfigDeployment) -> None:
        record.ClearField("progress")
        record.finished_at.GetCurrentTime()
        self._environments.find(record.environment).message.sync.last_deployment_id = record.deployment_id
        self._tell(record)

    def _tell(self, record: dp.ConfigDeployment) -> None:
        self._feed.publish("deployments", ep.WATCH_EVENT_KIND_UPDATED, brief(record))

    def _free_id(self, name: str) -> str:
        taken, number = name, 1
        while taken in self.records:
            number += 1
            taken = f"{name}_{number}"
        return taken


def awaits_confirmation(record: dp.ConfigDeployment) -> bool:
    """Tell whether a deployment is taken back unless somebody confirms it."""
    asked = record.HasField("confirm_by") and not record.HasField("confirmed_at")
    return asked and record.status == dp.DEPLOYMENT_STATUS_SUCCESS


def _check_span(span: Duration) -> None:
    if not 1 <= span.seconds + span.nanos / 1e9 <= _LONGEST_CONFIRMATION:
        raise InvalidRequestError("deploy", [Fault("confirm_within", "must be between 1 second and 7 days")])


def brief(record: dp.ConfigDeployment) -> dp.ConfigDeployment:
    """Return a deployment with counts in place of the lists of files."""
    message = dp.ConfigDeployment()
    message.CopyFrom(record)
    for kind in ("added", "modified", "removed", "settings_changed"):
        message.changes.ClearField(kind)
    return message


def _check_names(order: dp.DeployRequest | dp.AdoptDriftRequest) -> None:
    field, names = (
        ("config_files", order.config_files)
        if isinstance(order, dp.DeployRequest)
        else ("paths", order.paths)
    )
    wrong = [
        Fault(f"{field}[{index}]", f"is not a path to a file ({name!r:.200})")
        for index, name in enumerate(names)
        if not name or ".." in name.split("/")
    ]
    if wrong:
        raise InvalidRequestError("take the files named", wrong)


def _relative(name: str, roots: Iterable[str]) -> str:
    return next((name.removeprefix(f"{root}/") for root in roots if name.startswith(f"{root}/")), name)
