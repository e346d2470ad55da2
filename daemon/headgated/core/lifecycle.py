"""How a deployment's record moves from one status to the next. The only ways there are."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from headgated.core.deployment import ConfigDeployment, DeploymentError, DeploymentStatus, RollbackInfo
from headgated.core.errors import RefusedError

_NEXT = {
    DeploymentStatus.PENDING: {DeploymentStatus.IN_PROGRESS, DeploymentStatus.FAILED},
    DeploymentStatus.IN_PROGRESS: {DeploymentStatus.SUCCESS, DeploymentStatus.FAILED},
    DeploymentStatus.SUCCESS: {DeploymentStatus.ROLLED_BACK},
    DeploymentStatus.FAILED: set(),
    DeploymentStatus.ROLLED_BACK: set(),
}


def _move(record: ConfigDeployment, status: DeploymentStatus) -> ConfigDeployment:
    if status not in _NEXT[record.status]:
        raise RefusedError(
            f"cannot make {record.deployment_id} {status}: it is {record.status}", reason="ILLEGAL_TRANSITION"
        )
    return replace(record, status=status, progress=None)


def start(record: ConfigDeployment, now: datetime) -> ConfigDeployment:
    """Return the record with its work begun."""
    return replace(_move(record, DeploymentStatus.IN_PROGRESS), started_at=now)


def succeed(record: ConfigDeployment, now: datetime) -> ConfigDeployment:
    """Return the record with its work done."""
    return replace(_move(record, DeploymentStatus.SUCCESS), finished_at=now, error=None)


def fail(record: ConfigDeployment, error: DeploymentError, now: datetime) -> ConfigDeployment:
    """Return the record with what went wrong."""
    return replace(_move(record, DeploymentStatus.FAILED), finished_at=now, error=error)


def confirm(record: ConfigDeployment, by: str, now: datetime) -> ConfigDeployment:
    """Return the record as confirmed; one that was confirmed already stays as it is.

    Raises:
        RefusedError: NOT_AWAITING_CONFIRMATION.
    """
    if record.confirmed_at is not None:
        return record
    if not record.awaits_confirmation:
        raise RefusedError(
            f"cannot confirm {record.deployment_id}: it is {record.status}, and nobody has to confirm it",
            reason="NOT_AWAITING_CONFIRMATION",
            hint="look at it: headgate show " + record.deployment_id,
        )
    return replace(record, confirmed_at=now, confirmed_by=by)


def undo(record: ConfigDeployment, by: str, now: datetime) -> ConfigDeployment:
    """Return the record as undone by the rollback `by`; one that was undone already stays as it is."""
    if record.status == DeploymentStatus.ROLLED_BACK:
        return record
    info = replace(record.rollback_info or RollbackInfo(), rolled_back_by=by, rolled_back_at=now)
    if record.status == DeploymentStatus.FAILED and record.applied_at is not None:
        # It was applied and did not work: that it failed says more than that it was taken back.
        return replace(record, rollback_info=info)
    return replace(_move(record, DeploymentStatus.ROLLED_BACK), rollback_info=info)
