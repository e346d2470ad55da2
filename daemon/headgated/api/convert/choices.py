"""The protocol's enums beside the model's: what a word of the model is called on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from headgate.v1 import daemon_pb2, deployment_pb2, environment_pb2
from headgated.core import deployment, environment
from headgated.core.tree import Kind
from headgated.engine.views import SyncState

A = TypeVar("A")
B = TypeVar("B")

TYPES = {
    environment.EnvironmentType.DEVELOPMENT: environment_pb2.ENVIRONMENT_TYPE_DEVELOPMENT,
    environment.EnvironmentType.STAGING: environment_pb2.ENVIRONMENT_TYPE_STAGING,
    environment.EnvironmentType.PRODUCTION: environment_pb2.ENVIRONMENT_TYPE_PRODUCTION,
    environment.EnvironmentType.TESTING: environment_pb2.ENVIRONMENT_TYPE_TESTING,
}
UNDEFINED = {
    environment.UndefinedPolicy.KEEP: environment_pb2.UNDEFINED_POLICY_KEEP,
    environment.UndefinedPolicy.ERROR: environment_pb2.UNDEFINED_POLICY_ERROR,
}
STRATEGIES = {
    environment.Strategy.IN_PLACE: environment_pb2.STRATEGY_IN_PLACE,
    environment.Strategy.ATOMIC: environment_pb2.STRATEGY_ATOMIC,
}
DRIFT = {
    environment.DriftPolicy.REPORT: environment_pb2.DRIFT_POLICY_REPORT,
    environment.DriftPolicy.HEAL: environment_pb2.DRIFT_POLICY_HEAL,
    environment.DriftPolicy.REFUSE: environment_pb2.DRIFT_POLICY_REFUSE,
}
SYNC_STATES = {
    SyncState.UNKNOWN: environment_pb2.SYNC_STATE_UNKNOWN,
    SyncState.SYNCED: environment_pb2.SYNC_STATE_SYNCED,
    SyncState.OUT_OF_SYNC: environment_pb2.SYNC_STATE_OUT_OF_SYNC,
    SyncState.DEPLOYING: environment_pb2.SYNC_STATE_DEPLOYING,
    SyncState.HELD: environment_pb2.SYNC_STATE_HELD,
    SyncState.HALTED: environment_pb2.SYNC_STATE_HALTED,
    SyncState.PAUSED: environment_pb2.SYNC_STATE_PAUSED,
    SyncState.FAILING: environment_pb2.SYNC_STATE_FAILING,
}
STATUSES = {
    deployment.DeploymentStatus.PENDING: deployment_pb2.DEPLOYMENT_STATUS_PENDING,
    deployment.DeploymentStatus.IN_PROGRESS: deployment_pb2.DEPLOYMENT_STATUS_IN_PROGRESS,
    deployment.DeploymentStatus.SUCCESS: deployment_pb2.DEPLOYMENT_STATUS_SUCCESS,
    deployment.DeploymentStatus.FAILED: deployment_pb2.DEPLOYMENT_STATUS_FAILED,
    deployment.DeploymentStatus.ROLLED_BACK: deployment_pb2.DEPLOYMENT_STATUS_ROLLED_BACK,
}
DEPLOYMENT_KINDS = {
    deployment.DeploymentKind.DEPLOY: deployment_pb2.DEPLOYMENT_KIND_DEPLOY,
    deployment.DeploymentKind.ROLLBACK: deployment_pb2.DEPLOYMENT_KIND_ROLLBACK,
    deployment.DeploymentKind.RESTORE: deployment_pb2.DEPLOYMENT_KIND_RESTORE,
    deployment.DeploymentKind.ADOPT: deployment_pb2.DEPLOYMENT_KIND_ADOPT,
}
TRIGGERS = {
    deployment.Trigger.REQUEST: deployment_pb2.DEPLOYMENT_TRIGGER_REQUEST,
    deployment.Trigger.AUTO_SYNC: deployment_pb2.DEPLOYMENT_TRIGGER_AUTO_SYNC,
    deployment.Trigger.AUTO_ROLLBACK: deployment_pb2.DEPLOYMENT_TRIGGER_AUTO_ROLLBACK,
}
FILE_KINDS = {
    Kind.FILE: deployment_pb2.FILE_KIND_FILE,
    Kind.DIRECTORY: deployment_pb2.FILE_KIND_DIRECTORY,
    Kind.SYMLINK: deployment_pb2.FILE_KIND_SYMLINK,
}
WATCH_MODES = {
    "events": daemon_pb2.WATCH_MODE_EVENTS,
    "polling": daemon_pb2.WATCH_MODE_POLLING,
    "absent": daemon_pb2.WATCH_MODE_ABSENT,
}
EVENT_KINDS = {
    "updated": environment_pb2.WATCH_EVENT_KIND_UPDATED,
    "deleted": environment_pb2.WATCH_EVENT_KIND_DELETED,
}


def received(sent: Mapping[A, B]) -> dict[B, A]:
    """Return the table the other way round."""
    return {there: here for here, there in sent.items()}
