"""Deployments as the protocol has them."""

from __future__ import annotations

from collections.abc import Iterable

from headgate.v1 import deployment_pb2 as wire
from headgated.api.convert import choices
from headgated.api.convert.values import ANSWER_ROOM, duration, text, timestamp
from headgated.core import deployment as model
from headgated.core.paths import escape
from headgated.core.tree import Entry, Kind
from headgated.engine.views import PlanView

_DIFFS_ROOM = ANSWER_ROOM // 2
_LEFT_OUT = "left out: the answer would be too large; plan fewer files"
_BRIEF_PATHS = 10
_STEP_OUTPUT = 64 * 1024
"""Characters of what a step printed that are sent; the record has all."""


def deployment_message(record: model.ConfigDeployment) -> wire.ConfigDeployment:
    """Return a deployment whole, its lists cut only where it could not be sent otherwise."""
    message = brief_message(record)
    for shown, step in zip(message.steps, record.steps, strict=True):
        shown.output = text(step.output[:_STEP_OUTPUT])
    message.changes.CopyFrom(_changes_message(record.changes))
    if record.error is not None:
        message.error.CopyFrom(_error_message(record.error))
    return _fitted(message)


def brief_message(record: model.ConfigDeployment) -> wire.ConfigDeployment:
    """Return a deployment with counts in place of the lists of files, and without what its steps printed."""
    return wire.ConfigDeployment(
        deployment_id=record.deployment_id,
        environment=record.environment,
        kind=choices.DEPLOYMENT_KINDS[record.kind],
        config_version=record.config_version,
        status=choices.STATUSES[record.status],
        deployed_at=timestamp(record.deployed_at),
        deployed_by=text(record.deployed_by),
        config_files=map(text, record.config_files),
        changes=_counts_message(record.changes),
        rollback_info=_rollback_message(record.rollback_info),
        error=None if record.error is None else _error_message(record.error, _BRIEF_PATHS),
        sequence=record.sequence,
        trigger=choices.TRIGGERS[record.trigger],
        reason=text(record.reason),
        on_behalf_of=text(record.on_behalf_of),
        started_at=timestamp(record.started_at),
        finished_at=timestamp(record.finished_at),
        attempts=record.attempts,
        progress=_progress_message(record.progress),
        steps=[_step_message(step) for step in record.steps],
        applied_at=timestamp(record.applied_at),
        confirm_by=timestamp(record.confirm_by),
        confirmed_at=timestamp(record.confirmed_at),
        confirmed_by=text(record.confirmed_by),
        confirm_within=duration(record.confirm_within or None),
    )


def plan_message(plan: PlanView) -> wire.PlanDeploymentResponse:
    """Return a plan; diffs are left out, with a note, from where the answer would be too large."""
    message = wire.PlanDeploymentResponse(
        environment=plan.environment,
        config_version=plan.config_version,
        changes=_changes_message(plan.changes),
        drifted=map(_change_message, plan.drifted),
        blocked=None if plan.blocked is None else _error_message(plan.blocked),
    )
    room = _DIFFS_ROOM
    for diff in plan.diffs:
        shown = wire.FileDiff(path=text(diff.path), unified=text(diff.unified), note=text(diff.note))
        if shown.ByteSize() > room:
            shown = wire.FileDiff(path=text(diff.path), note=_LEFT_OUT)
        room -= shown.ByteSize()
        message.diffs.append(shown)
    _cut(message, message.changes, ANSWER_ROOM)
    return message


def _fitted(message: wire.ConfigDeployment) -> wire.ConfigDeployment:
    _cut(message, message.changes, ANSWER_ROOM)
    return message


def _cut(
    whole: wire.ConfigDeployment | wire.PlanDeploymentResponse, changes: wire.Changes, room: int
) -> None:
    """Halve the longest list until `whole` fits into `room` bytes, saying how much is left out."""
    files = (changes.added, changes.modified, changes.removed)
    while whole.ByteSize() > room:
        longest = max(files, key=len)
        if len(changes.settings_changed) > len(longest):
            del changes.settings_changed[len(changes.settings_changed) // 2 :]
        elif longest:
            keep = len(longest) // 2
            changes.omitted_count += len(longest) - keep
            del longest[keep:]
        else:
            return


def _changes_message(changes: model.Changes) -> wire.Changes:
    message = _counts_message(changes)
    message.added.extend(map(_change_message, changes.added))
    message.modified.extend(map(_change_message, changes.modified))
    message.removed.extend(map(_change_message, changes.removed))
    message.settings_changed.extend(map(_setting_message, changes.settings_changed))
    return message


def _counts_message(changes: model.Changes) -> wire.Changes:
    return wire.Changes(
        added_count=changes.added_count,
        modified_count=changes.modified_count,
        removed_count=changes.removed_count,
        unchanged_count=changes.unchanged_count,
        omitted_count=changes.omitted_count,
        notes=map(text, changes.notes),
    )


def _change_message(change: model.FileChange) -> wire.FileChange:
    return wire.FileChange(
        path=text(change.path),
        before=_state_message(change.before),
        after=_state_message(change.after),
        drifted=change.drifted,
    )


def _state_message(entry: Entry | None) -> wire.FileState | None:
    if entry is None:
        return None
    return wire.FileState(
        kind=choices.FILE_KINDS[entry.kind],
        mode=entry.mode,
        size=len(entry.target) if entry.kind is Kind.SYMLINK else entry.size,
        digest=f"sha256:{entry.digest.hex()}" if entry.digest else "",
        link_target=escape(entry.target),
        uid=entry.uid,
        gid=entry.gid,
    )


def _setting_message(change: model.SettingChange) -> wire.SettingChange:
    old, new = change.old, change.new
    return wire.SettingChange(
        path=text(change.path),
        key=text(change.key),
        old=None if old is None else text(old),
        new=None if new is None else text(new),
    )


def _rollback_message(info: model.RollbackInfo | None) -> wire.RollbackInfo | None:
    if info is None:
        return None
    return wire.RollbackInfo(
        target_deployment_id=info.target_deployment_id,
        undone=info.undone,
        rolled_back_by=info.rolled_back_by,
        rolled_back_at=timestamp(info.rolled_back_at),
    )


def _error_message(error: model.DeploymentError, most: int | None = None) -> wire.DeploymentError:
    paths: Iterable[str] = map(text, error.paths[:most])
    return wire.DeploymentError(
        reason=error.reason, message=text(error.message), hint=text(error.hint), paths=paths
    )


def _step_message(step: model.StepResult) -> wire.StepResult:
    return wire.StepResult(
        step=step.step,
        name=step.name,
        ok=step.ok,
        message=text(step.message),
        seconds=step.seconds,
        attempts=step.attempts,
    )


def _progress_message(progress: model.Progress | None) -> wire.Progress | None:
    if progress is None:
        return None
    return wire.Progress(step=progress.step, files_done=progress.files_done, files_total=progress.files_total)
